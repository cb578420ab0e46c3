"""What this machine needs for the virtual ones, and how to install it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from . import VmError
from .apt import KEYRING
from .formats import is_static

# Program -> package, by Debian's and Ubuntu's names.
_PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "zstd": "zstd",
}
_INSTALL = ("apt-get", "install", "--yes", "--no-install-recommends")


def find(program: str) -> str | None:
    """Return the path of a program, also where a user's PATH leaves out the folders for root.

    Examples
    --------
    >>> find("depmod")
    '/usr/sbin/depmod'
    """
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def missing() -> list[str]:
    """Return the packages that are not installed yet.

    Examples
    --------
    >>> missing()
    []
    """
    packages = [package for program, package in _PROGRAMS.items() if find(program) is None]
    busybox = find("busybox")
    if busybox and not is_static(Path(busybox).read_bytes()):
        packages.append("busybox-static")  # Debian's other busybox needs libraries, which the initrd has not
    if not KEYRING.exists():
        packages.append("debian-archive-keyring")
    return packages


def install(packages: list[str]) -> None:
    """Install packages with apt-get.

    Raises
    ------
    VmError
        Where there is no apt-get, this user is not root, or apt-get fails.

    Examples
    --------
    >>> install(missing())
    """
    command = " ".join([*_INSTALL, *packages])
    if find("apt-get") is None:
        raise VmError(f"there is no apt-get here; install what Debian calls {' '.join(packages)}")
    if os.geteuid():
        raise VmError(f"only root can install packages: sudo {command}")
    for step in (["apt-get", "update"], [*_INSTALL, *packages]):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if subprocess.run(step, env=environment, check=False).returncode:
            raise VmError(f"{' '.join(step)} failed")
