"""The kernels that the tests run on, and where they are kept."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from . import VmError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build/vm"


@dataclass(frozen=True)
class Kernel:
    """One kernel: where Debian keeps it, and what it needs on its command line.

    ``sources`` are suites with a pattern of the version in a package's name, best first: backports drop their
    older kernels in time.
    """

    name: str
    sources: tuple[tuple[str, str], ...]
    append: str = ""

    @property
    def folder(self) -> Path:
        return cache() / self.name


TABLE = (
    # Debian 11 leaves "bpf" out of the list of security modules: LSM programs would attach there and never fire.
    Kernel("5.10", (("bullseye-security", r"5\.10\.\d+-\d+-amd64"),), append="lsm=lockdown,yama,bpf"),
    Kernel("6.1", (("bookworm", r"6\.1\.\d+-\d+-amd64"), ("bookworm-security", r"6\.1\.\d+-\d+-amd64"))),
    Kernel(
        "6.12", (("bookworm-backports", r"6\.12\.\d+\+deb12(\.\d+)?-amd64"), ("trixie", r"6\.12\.\d+\+deb13-amd64"))
    ),
    Kernel("6.18", (("trixie-backports", r"6\.18\.\d+\+deb13(\.\d+)?-amd64"),)),
    Kernel("7.3", (("trixie-backports", r"7\.3\.\d+\+deb13(\.\d+)?-amd64"),)),
)


def find(name: str) -> Kernel:
    """Return the kernel of that name.

    Raises
    ------
    VmError
        When there is none, with the nearest names.

    Examples
    --------
    >>> find("6.12").sources[0][0]
    'bookworm-backports'
    """
    for kernel in TABLE:
        if kernel.name == name:
            return kernel
    names = [kernel.name for kernel in TABLE]
    near = difflib.get_close_matches(name, names) or names
    raise VmError(f"there is no kernel {name!r} in tests/vm/kernels.py; perhaps {', '.join(near)}")


def cache() -> Path:
    """Return the directory of packages, images and saved machines: ``$EBPFLAB_VM_CACHE``, or build/vm/kernels.

    Examples
    --------
    >>> find("6.12").folder == cache() / "6.12"
    True
    """
    override = os.environ.get("EBPFLAB_VM_CACHE")
    return Path(override).resolve() if override else RESULTS / "kernels"
