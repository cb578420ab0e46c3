"""Compiling and loading the C of this package as one library, and the care that loading code as root takes.

The library is cached as ``~/.cache/ebpflab/native/<sha256>.so``; the name covers source, flags, compiler and
machine. It is only loaded from a directory that nobody but us (or root) could have written to.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from .. import cache
from ..errors import EbpflabError, ToolMissingError

SOURCES = tuple(Path(__file__).with_name(name) for name in ("ringwalk.c", "perfwalk.c", "merge.c", "text.c"))
FLAGS = ("-O2", "-shared", "-fPIC", "-ffreestanding", "-nostdlib")
_HINT = "apt install clang"


@functools.cache
def load() -> ctypes.PyDLL:
    """Return the compiled walkers, compiling them first if the cache does not hold them.

    Calls into it keep the GIL. A batch of a megabyte takes a fraction of a millisecond; to get the GIL back from
    a busy main thread takes five, so a reader that let go of it for every batch would starve.

    Raises
    ------
    ToolMissingError
        If no compiler is found, or it cannot make a library that this process can load.

    Examples
    --------
    >>> load().ebpflab_ringwalk
    <_FuncPtr object at 0x...>
    """
    compiler = find_compiler()
    if compiler is None:
        raise ToolMissingError("no C compiler for the event buffer reader (clang, cc, gcc)", hint=_HINT)
    try:
        return _load_from(cache.directory("native"), compiler)
    except ToolMissingError:
        raise
    except EbpflabError:
        # No home, or one that others can write to, is no reason to fail: a temporary directory will do.
        with tempfile.TemporaryDirectory(prefix="ebpflab-") as temporary:
            return _load_from(Path(temporary), compiler)


def find_compiler() -> Path | None:
    """Return the path of clang, else cc, else gcc, else None."""
    for name in ("clang", "cc", "gcc"):
        if found := shutil.which(name):
            return Path(found).resolve()
    return None


def _load_from(directory: Path, compiler: Path) -> ctypes.PyDLL:
    path = directory / f"{_key(compiler)}.so"
    if not path.exists():
        _compile(compiler, path)
    try:
        return ctypes.PyDLL(str(path))
    except OSError as error:
        # Most likely a directory mounted noexec.
        raise ToolMissingError(
            "the compiled event buffer reader cannot be loaded",
            details=[str(error)],
            hint=f"remove {path}, or point EBPFLAB_CACHE at a directory that allows execution",
        ) from error


def _key(compiler: Path) -> str:
    version = compiler.stat()
    parts = (str(compiler), str(version.st_size), str(version.st_mtime_ns), platform.machine(), *FLAGS)
    text = b"\0".join(source.read_bytes() for source in SOURCES)
    return hashlib.sha256("\0".join(parts).encode() + text).hexdigest()


def _compile(compiler: Path, path: Path) -> None:
    # Renamed into place: another process sees the whole library or none.
    handle, temporary = tempfile.mkstemp(suffix=".so", prefix=".building-", dir=path.parent)
    os.close(handle)
    try:
        command = [str(compiler), *FLAGS, "-o", temporary, *map(str, SOURCES)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise ToolMissingError(
                f"{compiler.name} could not build the event buffer reader",
                details=done.stderr.strip().splitlines()[:5],
                hint=_HINT,
            )
        Path(temporary).replace(path)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolMissingError(f"{compiler.name} could not be run: {error}", hint=_HINT) from error
    finally:
        Path(temporary).unlink(missing_ok=True)
