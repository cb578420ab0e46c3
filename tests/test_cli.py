from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from ebpflab import cli, demo, health, toolchain
from ebpflab.errors import EbpflabError
from ebpflab.health import Report, Row
from ebpflab.inspectors import kernel

ROOT = Path(__file__).resolve().parents[1]


def tool(name: str, path: Path | None) -> toolchain.Tool:
    return toolchain.Tool(name, path, "x", name != "venv", {}, None if path else "apt-get install -y it")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A Debian without clang and tracefs; what is "run" is noted, and mends it."""
    state: dict[str, Any] = {"clang": None, "tracefs": None, "ran": [], "mends": True, "exit": 0}

    def run(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        state["ran"].append(command)
        if state["mends"] and command[:2] == ["apt-get", "install"]:
            state["clang"] = Path("/usr/bin/clang")
        if state["mends"] and command[0] == "mount":
            state["tracefs"] = Path("/sys/kernel/tracing")
        return subprocess.CompletedProcess(command, state["exit"])

    everything = kernel.Facts(release="6.1.0", capabilities=frozenset(kernel.CAPABILITIES))
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(toolchain, "package_manager", lambda: "apt")
    monkeypatch.setattr(toolchain, "tools", lambda: [tool("clang", state["clang"]), tool("venv", Path("/x"))])
    monkeypatch.setattr(kernel, "tracefs_path", lambda: state["tracefs"])
    monkeypatch.setattr(kernel, "facts", lambda: everything)
    return state


INSTALL = ["apt-get", "install", "-y", "--no-install-recommends", "clang"]
MOUNT = ["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"]


def test_setup_installs_what_is_missing_and_mounts_tracefs(machine: dict[str, Any]) -> None:
    assert cli.main(["setup", "--mount"]) == 0
    assert machine["ran"] == [["apt-get", "update"], INSTALL, MOUNT]


def test_setup_has_nothing_to_do_the_second_time(machine: dict[str, Any]) -> None:
    cli.main(["setup", "--mount"])
    machine["ran"].clear()
    assert cli.main(["setup", "--mount"]) == 0
    assert machine["ran"] == []


def test_setup_mounts_nothing_unasked(machine: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["setup"]) == 0
    assert MOUNT not in machine["ran"]
    assert "mount -t tracefs tracefs /sys/kernel/tracing" in capsys.readouterr().out


def test_a_dry_run_prints_the_commands_and_runs_none(
    machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["setup", "--dry-run", "--mount"]) == 0
    assert machine["ran"] == []
    printed = capsys.readouterr().out
    assert all(" ".join(command) in printed for command in (["apt-get", "update"], INSTALL, MOUNT))


def test_a_user_who_is_not_root_is_told_the_sudo_command(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["setup"]) == 1
    assert machine["ran"] == []
    assert f"sudo apt-get update && sudo {' '.join(INSTALL)}" in capsys.readouterr().err


def wanted(path: Path | None) -> toolchain.Tool:
    return toolchain.Tool("libbcc", path, "x", False, {}, None if path else "apt-get install -y it", wanted=True)


def test_setup_installs_what_notebooks_use_as_well_and_goes_on_without_it(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state: dict[str, Path | None] = {"libbcc": None}
    monkeypatch.setattr(toolchain, "tools", lambda: [tool("clang", Path("/x")), wanted(state["libbcc"])])
    assert cli.main(["setup"]) == 0
    assert machine["ran"] == [["apt-get", "update"], [*INSTALL[:-1], "libbpfcc"]]
    printed = capsys.readouterr().out
    assert "going on without libbcc: still missing after the installation: libbcc" in printed
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["setup"]) == 0
    assert "going on without libbcc: installing packages needs root" in capsys.readouterr().out
    state["libbcc"] = Path("/usr/lib/libbcc.so.0")
    machine["ran"].clear()
    assert cli.main(["setup"]) == 0
    assert machine["ran"] == []
    assert "going on without" not in capsys.readouterr().out


def test_where_packages_may_be_lacking_it_goes_on_and_says_so(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["setup", "--may-lack"]) == 0
    printed = capsys.readouterr().out
    assert "going on without clang: installing packages needs root" in printed
    assert " ".join(INSTALL) in printed
    assert machine["ran"] == []
    monkeypatch.setattr(toolchain, "tools", lambda: [tool("venv", None)])
    assert cli.main(["setup", "--may-lack"]) == 1  # without it there is nothing to run


def test_an_installation_that_fails_is_one_error_and_exit_code_1(
    machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    machine["exit"] = 100
    assert cli.main(["setup"]) == 1
    assert "apt-get failed with exit code 100" in capsys.readouterr().err


def test_an_installation_that_mends_nothing_is_noticed(
    machine: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    machine["mends"] = False
    assert cli.main(["setup"]) == 1
    assert "still missing after the installation: clang" in capsys.readouterr().err


@pytest.mark.parametrize(("state", "code"), [("ok", 0), ("warning", 0), ("unknown", 0), ("missing", 1)])
def test_doctor_exits_with_1_if_something_needed_is_missing(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = (Row("clang", state, "detail"), Row("BCC", "missing", "optional", None, needed=False))
    monkeypatch.setattr(health, "doctor", lambda: Report(rows))
    assert cli.main(["doctor", "--json"]) == code
    printed = json.loads(capsys.readouterr().out)
    assert (printed["ok"], [row["state"] for row in printed["rows"]]) == (code == 0, [state, "missing"])
    assert cli.main(["doctor"]) == code
    assert "clang" in capsys.readouterr().out


def test_an_error_is_its_text_on_stderr_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ebpflab", "lab", str(tmp_path / "none")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{tmp_path / 'none'} is not a folder\n"


def test_lab_becomes_jupyterlab_on_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, command: became.append(command) or sys.exit(0))
    for user in (0, 1000):
        monkeypatch.setattr(os, "geteuid", lambda user=user: user)
        with pytest.raises(SystemExit):
            cli.main(["lab", str(tmp_path)])
    line = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={tmp_path}"]
    assert became == [[*line, "--allow-root"], line]


def test_an_installed_package_lends_its_notebooks_and_keeps_the_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = tmp_path / "site-packages" / "ebpflab" / "notebooks"
    shipped.mkdir(parents=True)
    (shipped / "00.ipynb").write_text("shipped")
    (shipped / "01.ipynb").write_text("shipped")
    monkeypatch.setattr(demo, "notebooks_folder", lambda: shipped)
    monkeypatch.chdir(tmp_path)
    mine = cli._own_notebooks()
    (mine / "00.ipynb").write_text("edited")
    cli._own_notebooks()
    assert [(mine / name).read_text() for name in ("00.ipynb", "01.ipynb")] == ["edited", "shipped"]


# Stands for a session with events in the notebook's kernel: the demo asks whatever calls itself a Session.
SESSION = """
import sys, types
import pandas as pd

class Session:
    def __init__(self, rows):
        self.streams = {"events": Stream(rows)}

class Stream:
    def __init__(self, rows):
        self.rows = rows
    def stats(self):
        return {"received": self.rows}
    def df(self):
        return pd.DataFrame({"pid": range(1000, 1000 + self.rows)})

sys.modules["ebpflab.session"] = types.SimpleNamespace(Session=Session)
"""
BPF_CELL = "from IPython.core.magic import register_cell_magic\nregister_cell_magic('bpf')(lambda line, cell: None)"


def notebook(path: Path, *cells: str) -> Path:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    path.parent.mkdir(exist_ok=True)
    nbformat.write(book, path)
    return path


def test_the_demo_reports_what_the_sessions_captured_and_hides_its_own_cell(tmp_path: Path) -> None:
    source = notebook(
        tmp_path / "in" / "tour.ipynb",
        SESSION,
        "opens = Session(23); idle = Session(0)",
        BPF_CELL,
        "%%bpf x\nint a;\n",
    )
    before = source.read_bytes()
    result = demo.run(tmp_path / "new" / "tour.html", source)
    assert [(s.session, s.stream, s.received) for s in result.streams] == [("opens", "events", 23)]
    assert "1000" in result.streams[0].rows
    assert "1005" not in result.streams[0].rows
    assert str(result).startswith("23 kernel events captured")
    page = result.page.read_text()
    assert "_harvest" not in page
    assert '<span class="kt">int</span>' in page  # C's keyword class, which Python has not
    assert source.read_bytes() == before


def test_a_demo_that_captures_nothing_fails(tmp_path: Path) -> None:
    source = notebook(tmp_path / "in" / "idle.ipynb", SESSION, "idle = Session(0)")
    with pytest.raises(EbpflabError, match="no event was captured"):
        demo.run(tmp_path / "idle.html", source)


def test_a_failing_cell_is_named_with_its_error_and_shown_in_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook(tmp_path / "in" / demo.QUICKSTART, "x = 1", "# divide\nx / 0", "never = 1")
    monkeypatch.setattr(demo, "notebooks_folder", lambda: tmp_path / "in")
    page = tmp_path / "out.html"
    assert cli.main(["demo", "--output", str(page)]) == 1
    assert "cell 2 (# divide) failed: ZeroDivisionError: division by zero" in capsys.readouterr().err
    assert "ZeroDivisionError" in page.read_text()


def test_a_missing_notebook_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(EbpflabError, match="there is no notebook"):
        demo.run(tmp_path / "x.html", tmp_path / "none.ipynb")


def test_a_reader_who_has_read_enough_is_no_error():
    command = f"{sys.executable} -m ebpflab doctor | head -n 1"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[:2] == ["state", "detail"]
    assert done.stderr == ""
