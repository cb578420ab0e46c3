from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ebpflab import toolchain
from ebpflab.errors import ToolMissingError


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("EBPFLAB_CLANG", "EBPFLAB_LIBBPF"):
        monkeypatch.delenv(variable, raising=False)
    toolchain._looked_up.cache_clear()


def program(folder: Path, name: str, prints: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)
    return path


def glob_that_refuses(folder: Path) -> Callable[[Path, str], Iterator[Path]]:
    # Python's own answer to an ordinary user; root, who may run these tests, is never refused.
    real = Path.glob

    def glob(self: Path, pattern: str) -> Iterator[Path]:
        if self == folder:
            raise PermissionError(13, "Permission denied", str(folder))
        return real(self, pattern)

    return glob


def test_clang_without_a_number_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = program(tmp_path, "clang", "Debian clang version 14.0.6")
    program(tmp_path, "clang-19", "clang version 19.1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolchain.find_clang() == plain


def test_the_newest_numbered_clang_is_taken_by_number_and_not_by_alphabet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (9, 13, 17):
        program(tmp_path, f"clang-{number}", f"clang version {number}.0.0")
    program(tmp_path, "clang-tidy", "no compiler at all")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolchain.find_clang().name == "clang-17"


def test_a_folder_on_path_that_may_not_be_entered_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, open_ = tmp_path / "secret", tmp_path / "open"
    for folder in (secret, open_):
        folder.mkdir()
        program(folder, "clang-15", "clang version 15.0.0")
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **more: secret != Path(path) and real(path, mode, **more))
    monkeypatch.setattr(Path, "glob", glob_that_refuses(secret))
    monkeypatch.setenv("PATH", f"{secret}:{tmp_path / 'none'}:{open_}")
    assert toolchain.find_clang() == open_ / "clang-15"


def test_a_clang_too_old_for_btf_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    program(tmp_path, "clang", "clang version 10.0.1")
    monkeypatch.setattr(toolchain, "_numbered_clangs", lambda: iter(()))
    with pytest.raises(ToolMissingError, match="clang was not found"):
        toolchain.find_clang()


def test_a_tool_that_came_since_is_found_and_one_that_went_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError):
        toolchain.find_bpftrace()
    came = program(tmp_path, "bpftrace", "bpftrace v0.23.5")
    assert toolchain.find_bpftrace() == came
    came.unlink()
    with pytest.raises(ToolMissingError):
        toolchain.find_bpftrace()


def test_the_environment_overrides_what_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = program(tmp_path, "my-clang", "clang version 21.1.0")
    library = tmp_path / "libbpf.so.1.5.0"
    library.touch()
    monkeypatch.setenv("EBPFLAB_CLANG", str(mine))
    monkeypatch.setenv("EBPFLAB_LIBBPF", str(library))
    assert (toolchain.find_clang(), toolchain.find_libbpf()) == (mine, library)
    versions = {tool.name: tool.version for tool in toolchain.tools()}
    assert (versions["clang"], versions["libbpf"]) == ("21.1.0", "1.5.0")


FINDERS = {
    "EBPFLAB_CLANG": toolchain.find_clang,
    "EBPFLAB_LIBBPF": toolchain.find_libbpf,
    "EBPFLAB_LIBBCC": toolchain.find_libbcc,
}


@pytest.mark.parametrize("variable", FINDERS)
def test_an_override_that_names_no_file_is_an_error_with_a_hint(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/no/such/file")
    find = FINDERS[variable]
    with pytest.raises(ToolMissingError, match=f"{variable} names /no/such/file") as caught:
        find()
    assert "unset" in str(caught.value.hint)
    broken = [tool for tool in toolchain.tools() if tool.hint and variable in tool.hint]
    assert [tool.path for tool in broken] == [None]


def test_looking_for_everything_runs_no_program_until_a_version_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs: list[object] = []
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: runs.append(a) or real(*a, **k))
    toolchain._version.cache_clear()
    toolchain._output.cache_clear()
    linker = next(tool for tool in toolchain.tools() if tool.name == "linker")
    assert runs == []
    assert (linker.version is not None) == bool(runs) == (linker.path is not None)


@pytest.mark.skipif(shutil.which("ldconfig", path="/usr/sbin:/sbin") is None, reason="ldconfig is the referee")
@pytest.mark.parametrize("name", ["libbpf.so.1", "libbcc.so.0"])
def test_a_library_is_the_file_that_the_dynamic_linker_would_take(name: str) -> None:
    cached = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    lines = [line.split(" => ")[1] for line in cached.splitlines() if line.strip().startswith(f"{name} ")]
    if not lines:
        pytest.skip(f"{name} is not installed")
    found = toolchain.find_libbpf() if name == "libbpf.so.1" else toolchain.find_libbcc()
    assert found.samefile(lines[0])


@pytest.mark.parametrize("folder", ["usr/lib/x86_64-linux-gnu", "usr/lib64"], ids=["Debian", "Fedora"])
def test_bccs_library_is_found_where_distributions_put_it_by_any_python(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A Python that its user built knows no name for the architecture's folder.
    monkeypatch.setattr(sys.implementation, "_multiarch", None, raising=False)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "host", "6.1", "#1", "x86_64")))
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    folders = [tmp_path / each.relative_to("/") for each in toolchain.library_folders()]
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "libbcc.so.0.31.0").touch()
    (tmp_path / folder / "libbcc.so.0").symlink_to("libbcc.so.0.31.0")
    monkeypatch.setattr(toolchain, "library_folders", lambda: iter(folders))
    toolchain._looked_up.cache_clear()
    found = toolchain.find_libbcc()
    toolchain._looked_up.cache_clear()
    assert found == tmp_path / folder / "libbcc.so.0"
    assert toolchain._version("libbcc", found) == "0.31.0"


def test_what_notebooks_use_is_wanted_and_not_required() -> None:
    tools = {tool.name: tool for tool in toolchain.tools()}
    assert {name for name, tool in tools.items() if tool.wanted} == {"libbcc", "bpftrace"}
    assert not any(tool.required for tool in tools.values() if tool.wanted)


def test_bcc_is_known_by_its_files_and_not_by_its_name(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "__init__.py").write_text("def compile(): ...\n")
    real = tmp_path / "real"
    real.mkdir()
    (real / "__init__.py").write_text("class BPF(object):\n    pass\n")
    (real / "libbcc.py").touch()
    (real / "version.py").write_text("__version__ = '0.31.0'\n")
    assert [toolchain._is_bcc(folder) for folder in (other, real)] == [False, True]
    assert toolchain._version("bcc", real) == "0.31.0"


@pytest.mark.parametrize(
    ("manager", "command"),
    [
        ("apt", "apt-get install -y --no-install-recommends clang libbpf-dev python3-bpfcc"),
        ("dnf", "dnf install -y clang libbpf libbpf-devel python3-bcc"),
        ("pacman", "pacman -S --needed --noconfirm clang libbpf python-bcc"),
        ("zypper", "zypper --non-interactive install clang libbpf1 libbpf-devel python3-bcc"),
        ("apk", "apk add clang libbpf libbpf-dev py3-bcc"),
    ],
)
def test_each_distribution_gets_its_own_command(manager: str, command: str) -> None:
    missing = ["clang", "libbpf", "libbpf-headers", "bcc"]
    assert toolchain.install_command(missing, manager) == command.split()


def test_without_a_package_manager_there_is_no_command_but_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert toolchain.package_manager() is None
    assert toolchain.install_command(["clang"]) is None
    assert "clang" in toolchain.install_hint(["clang"])


def test_a_tool_without_a_package_gives_no_command() -> None:
    assert toolchain.install_command(["venv"], "dnf") is None


def test_the_hint_says_sudo_to_those_who_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert toolchain.install_hint(["clang"], "apk") == "sudo apk add clang"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert toolchain.install_hint(["clang"], "apk") == "apk add clang"


@pytest.mark.skipif(shutil.which("apt-cache") is None, reason="apt-cache is the referee")
def test_the_debian_package_names_exist_in_debian() -> None:
    names = sorted({tool.packages["apt"] for tool in toolchain.tools()})
    asked = subprocess.run(["apt-cache", "policy", *names], capture_output=True, text=True, check=True).stdout
    if "http" not in asked:
        pytest.skip("this machine has no package lists")
    candidates = dict(re.findall(r"^(\S+):\n(?:.*\n)*?  Candidate: (.*)$", asked, re.MULTILINE))
    assert sorted(name for name in names if candidates.get(name, "(none)") != "(none)") == names


def test_the_uapi_folders_are_what_clang_needs_to_compile_linux_bpf_h(tmp_path: Path) -> None:
    try:
        clang, folders = toolchain.find_clang(), toolchain.find_uapi_headers()
    except ToolMissingError as error:
        pytest.skip(str(error))
    command = [
        str(clang),
        "-target",
        "bpf",
        "-nostdinc",
        *(f"-I{f}" for f in folders),
        "-xc",
        "-fsyntax-only",
        "-",
    ]
    done = subprocess.run(command, input="#include <linux/bpf.h>\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("manager", "package"), [("apt", "libbpfcc"), ("dnf", "bcc"), ("zypper", "libbcc0")])
def test_bccs_library_alone_is_one_package(manager: str, package: str) -> None:
    command = toolchain.install_command(["libbcc"], manager)
    assert command is not None
    assert command[-1] == package
    assert not {"clang", "python3-bpfcc", "python3-bcc"} & set(command)
