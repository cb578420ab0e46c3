"""What QEMU boots: a kernel unpacked from its packages, and an initrd of busybox, a few modules and init.sh."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from . import VmError, formats
from .apt import Apt, newest
from .formats import Entry
from .kernels import Kernel, cache

_HERE = Path(__file__).parent
# What mounting the host's files needs; all other modules are loaded from there.
_MODULES = ("virtio_pci", "virtio_console", "9pnet_virtio", "9p", "overlay")
# The kernel starts modprobe in the initrd's root, and the modules are in the other one.
_MODPROBE = b'#!/bin/sh\nexec chroot /root /sbin/modprobe "$@"\n'


@dataclass(frozen=True)
class Image:
    """A kernel that is ready to boot.

    ``version`` is what ``uname -r`` says, ``digest`` tells images of different content apart.
    """

    folder: Path
    version: str
    digest: str

    @property
    def vmlinux(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd"

    @property
    def btf(self) -> Path:
        return self.folder / "btf"

    @property
    def modules(self) -> Path:
        return self.folder / "tree/lib/modules" / self.version


def cached(kernel: Kernel) -> Image | None:
    """Return the image of a kernel, if it was made, and by the code as it is now.

    Examples
    --------
    >>> cached(find("6.12")).version
    '6.12.94+deb12-amd64'
    """
    try:
        about = json.loads((kernel.folder / "image.json").read_text())
    except FileNotFoundError:
        return None
    return Image(kernel.folder, about["version"], about["digest"]) if about["recipe"] == _recipe() else None


def prepare(kernel: Kernel, say: Callable[[str], None]) -> Image:
    """Return the image of a kernel; download and make it first, if need be.

    Parameters
    ----------
    kernel
        A row of the table.
    say
        Told what takes long.

    Raises
    ------
    VmError
        When no suite has the kernel, the archive cannot be reached, or a package is not as expected.

    Examples
    --------
    >>> prepare(find("6.12"), print).vmlinux.exists()
    True
    """
    with locked(kernel.folder):  # another run may be preparing the same kernel
        if image := cached(kernel):
            return image
        tree = kernel.folder / "tree"
        if not tree.is_dir():
            say(f"{kernel.name}: downloading")
            _download(kernel, tree)
        say(f"{kernel.name}: making the image")
        return _make(kernel.folder, version_in(tree))


def _make(folder: Path, version: str) -> Image:
    tree = folder / "tree"
    vmlinux = formats.payload(_vmlinuz(tree, version).read_bytes())
    initrd = formats.archive(_entries(tree / "lib/modules" / version))
    digest = hashlib.sha256(vmlinux + initrd).hexdigest()[:16]
    image = Image(folder, version, digest)
    image.vmlinux.write_bytes(vmlinux)
    image.initrd.write_bytes(initrd)
    image.btf.write_bytes(formats.section(vmlinux, ".BTF"))
    about = {"version": version, "digest": digest, "recipe": _recipe()}
    (folder / "image.json").write_text(json.dumps(about))  # last: it says that all is there
    return image


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs from changing a folder at the same time; the folder is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def version_in(tree: Path) -> str:
    """Return the version of the one kernel in an unpacked tree.

    Raises
    ------
    VmError
        When there is none, or more than one.

    Examples
    --------
    >>> version_in(find("6.12").folder / "tree")
    '6.12.95+deb12-amd64'
    """
    found = [path.name for path in (tree / "lib/modules").glob("*")]
    if len(found) != 1:
        raise VmError(f"{tree} holds {len(found)} kernels instead of one; remove it to download it again")
    return found[0]


def _recipe() -> str:
    return hashlib.sha256(
        b"".join((_HERE / name).read_bytes() for name in ("init.sh", "image.py", "formats.py"))
    ).hexdigest()


def _download(kernel: Kernel, tree: Path) -> None:
    for suite, pattern in kernel.sources:
        apt = Apt(cache() / "apt" / suite, suite)
        apt.update()
        if version := newest(apt.names(), pattern):
            break
    else:
        suites = " or ".join(suite for suite, _ in kernel.sources)
        raise VmError(f"Debian has no kernel {kernel.name} in {suites} any more; change {_HERE}/kernels.py")
    packages, unpacked = kernel.folder / "packages", kernel.folder / "unpacked"
    for folder in (packages, unpacked):
        shutil.rmtree(folder, ignore_errors=True)
    for package in apt.download(version, packages):
        _run("dpkg-deb", "--extract", str(package), str(unpacked))
    if not (unpacked / "lib").exists():
        (unpacked / "lib").symlink_to("usr/lib")  # depmod looks in /lib
    _run("/usr/sbin/depmod", "--basedir", str(unpacked), version)
    shutil.rmtree(packages)
    unpacked.rename(tree)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise VmError(f"{' '.join(command)} failed: {done.stderr.strip()}")


def _vmlinuz(tree: Path, version: str) -> Path:
    places = [tree / f"boot/vmlinuz-{version}", tree / f"lib/modules/{version}/vmlinuz"]
    for place in places:
        if place.exists():
            return place
    raise VmError(f"the packages hold no kernel at {places[0]} or {places[1]}")


def _entries(modules: Path) -> Iterator[Entry]:
    busybox = shutil.which("busybox")
    if busybox is None:
        raise VmError("busybox is not installed; `python -m tests.vm setup --install` installs it")
    for name in ("bin", "sbin", "dev", "proc", "sys", "modules", "host", "tmpfs", "root"):
        yield formats.directory(name)
    yield Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    yield formats.program("bin/busybox", Path(busybox).read_bytes())
    yield Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox")
    yield formats.program("sbin/modprobe", _MODPROBE)
    yield formats.program("init", (_HERE / "init.sh").read_bytes())
    dependencies, builtin = ((modules / f"modules.{name}").read_text() for name in ("dep", "builtin"))
    for number, path in enumerate(formats.load_order(dependencies, builtin, _MODULES)):
        # Numbered, so that a glob gives the order.
        yield formats.program(f"modules/{number:02}.ko", formats.decompress((modules / path).read_bytes()))
