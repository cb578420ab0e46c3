"""Where the programs, libraries and headers of the BPF toolchain are, and how to get the missing ones.

Looking is cheap: files are looked for, and nothing is run until a version is asked for. Nothing is imported
from outside the standard library, because ``make`` runs this module before anything is installed.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ToolMissingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

OLDEST_CLANG = 11  # the first one whose BTF holds what CO-RE needs of it

# How each package manager installs; the first one found on PATH is the machine's.
_INSTALL = {
    "apt": ("apt-get", "install", "-y", "--no-install-recommends"),
    "dnf": ("dnf", "install", "-y"),
    "pacman": ("pacman", "-S", "--needed", "--noconfirm"),
    "zypper": ("zypper", "--non-interactive", "install"),
    "apk": ("apk", "add"),
}

# The package that holds each tool; a dash where the distribution needs or has none.
_PACKAGES = """
    tool             apt              dnf             pacman             zypper             apk
    clang            clang            clang           clang              clang              clang
    libbpf           libbpf-dev       libbpf          libbpf             libbpf1            libbpf
    libbpf-headers   libbpf-dev       libbpf-devel    libbpf             libbpf-devel       libbpf-dev
    kernel-headers   linux-libc-dev   kernel-headers  linux-api-headers  linux-glibc-devel  linux-headers
    linker           binutils         binutils        binutils           binutils           binutils
    bcc              python3-bpfcc    python3-bcc     python-bcc         python3-bcc        py3-bcc
    libbcc           libbpfcc         bcc             bcc                libbcc0            bcc
    bpftrace         bpftrace         bpftrace        bpftrace           bpftrace           bpftrace
    chromium         chromium         chromium        chromium           chromium           chromium
    venv             python3-venv     -               -                  -                  -
"""


def _package_table(text: str) -> dict[str, dict[str, str]]:
    header, *rows = (line.split() for line in text.strip().splitlines())
    return {row[0]: {m: p for m, p in zip(header[1:], row[1:], strict=True) if p != "-"} for row in rows}


@dataclass(frozen=True)
class Tool:
    """One part of the toolchain on this machine.

    ``path`` is None where it is missing, and ``hint`` then says what to do; ``required`` is False for what a
    ``%%bpf`` cell can do without, and ``packages`` maps each package manager to the package that holds it. What is
    ``wanted`` is installed with the required ones, since notebooks of the package use it, and may fail to be.
    """

    name: str
    path: Path | None
    needed_for: str
    required: bool
    packages: Mapping[str, str]
    hint: str | None = None
    wanted: bool = False

    @property
    def version(self) -> str | None:
        """The version as the tool itself states it, or None; programs are run once to ask them."""
        return _version(self.name, self.path) if self.path else None


def find_clang() -> Path:
    """Return the newest usable clang: ``EBPFLAB_CLANG``, else ``clang``, else the newest ``clang-N``.

    Raises
    ------
    ToolMissingError
        If there is none that is at least version 11; the hint is the command that installs one.
    """
    return _find("clang")


def find_libbpf() -> Path:
    """Return libbpf's shared library: ``EBPFLAB_LIBBPF``, else ``libbpf.so.1``, else ``libbpf.so.0``.

    Raises
    ------
    ToolMissingError
        If it is in none of the folders where the dynamic linker looks.
    """
    return _find("libbpf")


def find_libbpf_headers() -> Path:
    """Return the include folder that holds ``bpf/bpf_helpers.h``, or raise ToolMissingError."""
    return _find("libbpf-headers")


def find_uapi_headers() -> tuple[Path, ...]:
    """Return the include folders of the kernel's user-space headers, the one with ``asm/`` first.

    On Debian, ``linux/bpf.h`` and ``asm/types.h`` lie in different folders, and clang's BPF target looks in
    only one of them.

    Raises
    ------
    ToolMissingError
        If there is no ``linux/bpf.h``.
    """
    common = _find("kernel-headers")
    multiarch = common / _multiarch()
    return (multiarch, common) if (multiarch / "asm").is_dir() else (common,)


def find_bcc() -> Path:
    """Return the folder of BCC's Python package without importing it, or raise ToolMissingError.

    PyPI's package of the same name is something else and is passed over.
    """
    return _find("bcc")


def find_libbcc() -> Path:
    """Return BCC's shared library: ``EBPFLAB_LIBBCC``, else ``libbcc.so.0``, or raise ToolMissingError."""
    return _find("libbcc")


def find_bpftrace() -> Path:
    """Return the path of bpftrace, or raise ToolMissingError."""
    return _find("bpftrace")


def find_linker() -> Path:
    """Return the path of ``ld.lld`` or ``ld``, or raise ToolMissingError."""
    return _find("linker")


def find_chromium() -> Path:
    """Return the path of Chromium or Chrome, or raise ToolMissingError."""
    return _find("chromium")


def tools() -> list[Tool]:
    """Return every part of the toolchain, found or not, the necessary ones first.

    Examples
    --------
    >>> [tool.name for tool in tools() if tool.required and tool.path is None]
    []
    """
    return [_tool(name) for name in _PARTS]


def package_manager() -> str | None:
    """Return the machine's package manager: apt, dnf, pacman, zypper, apk, or None."""
    return next((name for name, command in _INSTALL.items() if shutil.which(command[0])), None)


def install_command(missing: Iterable[str], manager: str | None = None) -> list[str] | None:
    """Return the command that installs the tools named in *missing*, or None where no package is known.

    Examples
    --------
    >>> install_command(["clang", "libbpf"], manager="dnf")
    ['dnf', 'install', '-y', 'clang', 'libbpf']
    """
    manager = manager or package_manager()
    if manager is None:
        return None
    table = _package_table(_PACKAGES)
    packages = dict.fromkeys(table[name][manager] for name in missing if manager in table[name])
    return [*_INSTALL[manager], *packages] if packages else None


def install_hint(missing: Iterable[str], manager: str | None = None) -> str:
    """Return the same command as one line of text, with ``sudo`` for those who need it."""
    names = list(missing)
    command = install_command(names, manager)
    if command is None:
        return f"install {', '.join(names)} with this machine's package manager"
    return shlex.join(command if os.geteuid() == 0 else ["sudo", *command])


def clang_has_bpf_target(clang: Path) -> bool:
    """Tell whether this clang was built with the BPF back end (some vendors' are not)."""
    return re.search(r"^\s*bpfel\b", _output(clang, "-print-targets"), re.MULTILINE) is not None


def _tool(name: str) -> Tool:
    part, packages = _PARTS[name], _package_table(_PACKAGES)[name]
    try:
        path, hint = _find(name), None
    except ToolMissingError as error:
        path, hint = None, error.hint
    return Tool(name, path, part.needed_for, part.required, packages, hint, part.wanted)


def _find(name: str) -> Path:
    path = _located(name)
    if path is None:
        what = f"{name} was not found; it is needed for {_PARTS[name].needed_for}"
        raise ToolMissingError(what, hint=install_hint([name]))
    return path


def _located(name: str) -> Path | None:
    override = os.environ.get(_OVERRIDES.get(name, ""))
    if override:
        return _overridden(name, override)
    path = _looked_up(name, os.environ.get("PATH", ""), os.environ.get("LD_LIBRARY_PATH", ""))
    # A tool that was missing may have come since, and one that was there may have gone.
    if path is None or not os.access(path, os.F_OK):
        _looked_up.cache_clear()
        path = _looked_up(name, os.environ.get("PATH", ""), os.environ.get("LD_LIBRARY_PATH", ""))
    return path


@functools.lru_cache(maxsize=64)
def _looked_up(name: str, _path: str, _library_path: str) -> Path | None:
    return _PARTS[name].locate()


def _overridden(name: str, value: str) -> Path:
    path = Path(shutil.which(value) or value) if name == "clang" else Path(value)
    if not path.is_file() or not os.access(path, os.R_OK):
        variable = _OVERRIDES[name]
        found = "which is a folder" if path.is_dir() else "and there is no such file to read"
        what = f"{variable} names {value}, {found}"
        raise ToolMissingError(what, hint=f"correct {variable}, or unset it to let ebpflab look for {name}")
    return path


def _locate_clang() -> Path | None:
    plain = shutil.which("clang")
    candidates = [Path(plain)] if plain else []
    candidates += sorted(_numbered_clangs(), key=_clang_major, reverse=True)
    return next((c for c in candidates if _clang_major(c) >= OLDEST_CLANG), None)


def _numbered_clangs() -> Iterator[Path]:
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        # PATH may name folders that do not exist or that this user may not enter.
        if folder and os.access(folder, os.R_OK | os.X_OK):
            found = Path(folder).glob("clang-[0-9]*")
            yield from (c for c in found if c.name[6:].isdigit() and os.access(c, os.X_OK))


def _clang_major(path: Path) -> int:
    # Distributions install clang in a folder or under a name with its number: that saves running it.
    named = re.findall(r"/(?:llvm|clang)-?(\d+)(?=/|$)", str(path.resolve()))
    if named:
        return int(named[-1])
    return int((_version("clang", path) or "0").partition(".")[0])


def _locate_library(*names: str) -> Path | None:
    folders = list(dict.fromkeys(library_folders()))
    return next((f / name for name in names for f in folders if os.access(f / name, os.R_OK)), None)


def library_folders() -> Iterator[Path]:
    """Return the folders where the dynamic linker looks for libraries, in its order (ld.so(8))."""
    yield from (Path(f) for f in os.environ.get("LD_LIBRARY_PATH", "").split(":") if f)
    # What ld.so would do (ld.so(8)); its own cache is a private format.
    for conf in [Path("/etc/ld.so.conf"), *sorted(Path("/etc/ld.so.conf.d").glob("*.conf"))]:
        if os.access(conf, os.R_OK):
            lines = conf.read_text(errors="replace").splitlines()
            yield from (Path(line.strip()) for line in lines if line.startswith("/"))
    for prefix in ("/usr/local/lib", "/usr/lib", "/lib"):
        # A folder named after its bits comes first: plain /usr/lib may hold the other width.
        yield from (Path(prefix) / _multiarch(), Path(f"{prefix}64"), Path(prefix))


def _multiarch() -> str:
    return str(getattr(sys.implementation, "_multiarch", "") or f"{os.uname().machine}-linux-gnu")


def _locate_header(header: str) -> Path | None:
    folders = (Path("/usr/local/include"), Path("/usr/include"))
    return next((f for f in folders if os.access(f / header, os.R_OK)), None)


def _locate_bcc() -> Path | None:
    candidates: list[Path] = []
    try:
        spec = importlib.util.find_spec("bcc")
    except ValueError:  # a module made by hand, with no spec, stands in sys.modules
        spec = None
    if spec is not None:
        candidates += [Path(f) for f in spec.submodule_search_locations or ()]
    # A virtual environment does not see the distribution's own packages.
    for pattern in ("lib*/python3*/dist-packages/bcc", "lib*/python3*/site-packages/bcc"):
        candidates += sorted(Path("/usr").glob(pattern))
    return next((c for c in candidates if _is_bcc(c)), None)


def _is_bcc(folder: Path) -> bool:
    init = folder / "__init__.py"
    readable = os.access(folder / "libbcc.py", os.R_OK) and os.access(init, os.R_OK)
    return readable and "class BPF(" in init.read_text(errors="replace")


def _locate_program(*names: str) -> Path | None:
    found = next(filter(None, map(shutil.which, names)), None)
    return Path(found) if found else None


def _locate_venv() -> Path | None:
    spec = importlib.util.find_spec("ensurepip")
    return Path(spec.origin) if spec and spec.origin else None


@functools.lru_cache(maxsize=64)
def _version(name: str, path: Path) -> str | None:
    if name in ("libbpf", "libbcc"):
        return path.resolve().name.partition(".so.")[2] or None
    if name == "libbpf-headers":
        return _defined_version(path / "bpf/libbpf_version.h", "LIBBPF_MAJOR_VERSION", "LIBBPF_MINOR_VERSION")
    if name == "kernel-headers":
        names = ("LINUX_VERSION_MAJOR", "LINUX_VERSION_PATCHLEVEL", "LINUX_VERSION_SUBLEVEL")
        return _defined_version(path / "linux/version.h", *names)
    if name == "bcc":
        text = (path / "version.py").read_text() if (path / "version.py").is_file() else ""
        found = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", text)
        return found[1] if found else None
    if name == "venv":
        return ".".join(map(str, sys.version_info[:3]))
    found = re.search(r"\bv?(\d+(?:\.\d+)+)", _output(path, "--version"))
    return found[1] if found else None


def _defined_version(header: Path, *names: str) -> str | None:
    text = header.read_text() if header.is_file() else ""
    numbers = [re.search(rf"#define {name} (\d+)", text) for name in names]
    return ".".join(n[1] for n in numbers if n) or None


@functools.lru_cache(maxsize=64)
def _output(*command: str | Path) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""  # a file that cannot be run has no version: the caller says "unknown"
    return done.stdout


@dataclass(frozen=True)
class _Part:
    needed_for: str
    required: bool
    locate: Callable[[], Path | None]
    wanted: bool = False


_OVERRIDES = {"clang": "EBPFLAB_CLANG", "libbpf": "EBPFLAB_LIBBPF", "libbcc": "EBPFLAB_LIBBCC"}

_PARTS = {
    "clang": _Part("compiling cells", True, _locate_clang),
    "libbpf": _Part("loading and attaching programs", True, lambda: _locate_library("libbpf.so.1", "libbpf.so.0")),
    "libbpf-headers": _Part("bpf_helpers.h and its neighbours", True, lambda: _locate_header("bpf/bpf_helpers.h")),
    "kernel-headers": _Part("cells that include <linux/...>", True, lambda: _locate_header("linux/bpf.h")),
    "linker": _Part("compiling the native ring reader", True, lambda: _locate_program("ld.lld", "ld")),
    "libbcc": _Part("%%bpf cells in BCC's C", False, lambda: _locate_library("libbcc.so.0"), wanted=True),
    "bcc": _Part("BCC's own tools, to compare with", False, _locate_bcc),
    "bpftrace": _Part("%%bpftrace cells", False, lambda: _locate_program("bpftrace"), wanted=True),
    "chromium": _Part(
        "the browser tests",
        False,
        lambda: _locate_program("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    ),
    "venv": _Part("making a virtual environment", False, _locate_venv),
}
