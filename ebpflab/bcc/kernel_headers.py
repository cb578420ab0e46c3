"""Folders of real kernel headers, as distributions lay them out, and the compiler's options to read them.

A folder for building modules holds ``include/generated``, which the configuration of one kernel made, and either the
sources themselves or the way to them: Debian's Makefile includes that of ``linux-headers-VERSION-common``, kbuild
leaves a link ``source`` (Documentation/kbuild/kbuild.rst, ``KBUILD_OUTPUT``).
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import CellError
from . import library
from .tree import Tree

_SOURCE, _BUILD = "include/linux/kconfig.h", "include/generated/autoconf.h"
_RELEASE = re.compile(r'^#define UTS_RELEASE "([^"]*)"', re.MULTILINE)
_INCLUDED = re.compile(r"^\s*-?include\s+(\S+)/Makefile\s*$", re.MULTILINE)
_ARCHITECTURES = {"x86_64": "x86", "aarch64": "arm64", "riscv64": "riscv", "s390x": "s390", "ppc64le": "powerpc"}


@dataclass(frozen=True)
class KernelHeaders:
    """Headers of one kernel: ``source`` has those that were written, ``build`` those that its configuration made.

    ``release`` is what ``uname -r`` says under that kernel, or empty where the headers do not tell.
    """

    source: Path
    build: Path
    release: str

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the kernel's own build looks for headers, in its order (``LINUXINCLUDE`` in its Makefile)."""
        arch = f"arch/{_ARCHITECTURES.get(platform.machine(), platform.machine())}/include"
        below = [(arch, f"{arch}/generated"), ("include", "include")]
        below += [(f"{arch}/uapi", f"{arch}/generated/uapi"), ("include/uapi", "include/generated/uapi")]
        both = (folder for written, made in below for folder in (self.source / written, self.build / made))
        return tuple(dict.fromkeys(both))

    def tree(self, root: Path) -> Tree:
        """Write into an empty folder what BCC is to take for the kernel's headers: a way to these."""
        # Whichever is newer declares bpf(2): BCC's own headers name helpers that an older kernel does not have, and
        # the headers of a newer kernel name types that BCC's do not.
        own = (self.source / "include/uapi/linux/bpf.h").read_text(errors="replace")
        theirs = library.header("bpf.h")
        bpf = "#include <uapi/linux/bpf.h>\n" if _helpers(own) >= _helpers(theirs) else f'#line 1 "bpf"\n{theirs}'
        before = f'#include "{self.source / _SOURCE}"\n{bpf}\n#include <linux/ptrace.h>\n'
        path = root / _SOURCE
        path.parent.mkdir(parents=True)
        path.write_text(f"#ifndef EBPFLAB_WAY_H\n#define EBPFLAB_WAY_H\n{before}#endif\n")
        return Tree(root, tuple(f"-I{folder}" for folder in self.folders), before, "", ())

    @property
    def foreign(self) -> bool:
        """Whether they are not known to be the running kernel's."""
        return self.release != os.uname().release

    @property
    def identity(self) -> str:
        """A text that changes when the headers are replaced."""
        status = (self.build / _BUILD).stat() if (self.build / _BUILD).exists() else None
        return f"{self.source} {self.build} {self.release} {status and (status.st_size, status.st_mtime_ns)}"

    def __str__(self) -> str:
        return f"headers of {self.release or 'an unnamed kernel'} in {self.build}"


def find(folder: Path) -> KernelHeaders:
    """Return the headers that a folder stands for: ``/lib/modules/VERSION/build``, or either folder of a split tree.

    Parameters
    ----------
    folder
        One folder with all of them, the one with the configuration's, or the one that several configurations share.

    Raises
    ------
    CellError
        It holds no kernel headers, or only those that several kernels share and nothing says which is meant.

    Examples
    --------
    >>> find(Path("/usr/src/linux-headers-6.1.0-56-amd64")).release
    '6.1.0-56-amd64'
    """
    folder = Path(os.path.abspath(folder))  # noqa: PTH100 - as it is written: the name in a message is the user's
    written, made = (folder / _SOURCE).is_file(), (folder / _BUILD).is_file()
    if written:
        build = folder if made else _build_of(folder)
        return KernelHeaders(folder, build, _release(build))
    source = next((each for each in _sources_of(folder) if (each / _SOURCE).is_file()), None) if made else None
    if source is None:
        raise _no_headers(folder, made)
    return KernelHeaders(source, folder, _release(folder))


def _helpers(text: str) -> int:
    return len(re.findall(r"\bFN\(\w+", text))


def _sources_of(build: Path) -> Iterator[Path]:
    yield build / "source"
    makefile = build / "Makefile"
    text = makefile.read_text(errors="replace") if makefile.is_file() else ""
    for name in _INCLUDED.findall(text):
        yield build / name
        # Unpacked somewhere else, the other folder still lies beside this one.
        yield Path(os.path.realpath(build)).parent / Path(name).name
    yield build.parent / "source"  # in /lib/modules/VERSION, beside the link build


def _build_of(source: Path) -> Path:
    # A folder with nothing generated is one that kernels share, as Debian's "common": its neighbours tell.
    real = Path(os.path.realpath(source))
    found = [
        folder
        for folder in sorted(real.parent.iterdir())
        if folder != real
        and (folder / _BUILD).is_file()
        and any(Path(os.path.realpath(each)) == real for each in _sources_of(folder))
    ]
    running = [folder for folder in found if _release(folder) == os.uname().release]
    if len(found) > 1 and not running:
        names = ", ".join(str(folder) for folder in found)
        raise CellError(f"{source} is shared by the headers of {len(found)} kernels", hint=f"give one of {names}")
    return next(iter(running or found), source)


def _release(build: Path) -> str:
    path = build / "include" / "generated" / "utsrelease.h"
    found = _RELEASE.search(path.read_text(errors="replace")) if path.is_file() else None
    return found[1] if found else ""


def _no_headers(folder: Path, made: bool) -> CellError:
    here = f"/lib/modules/{os.uname().release}/build"
    if not folder.is_dir():
        what = f"{folder} is not a folder"
    elif made:
        what = f"{folder} holds only what a kernel's configuration made: the headers that belong to it are missing"
    else:
        what = f"{folder} holds no kernel headers: it has no {_SOURCE}"
    hint = (
        f"a folder for building modules has include/linux and include/generated, or a Makefile that leads to them, as "
        f"{here} is where the running kernel's headers are installed; without --headers the kernel's own types are used"
    )
    return CellError(what, hint=hint)
