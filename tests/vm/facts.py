"""What a kernel says of itself below /sys and /proc, taken from a guest once, for compilers on the host.

BCC and its tools ask the kernel while they compile: for the formats of tracepoints, the names of functions, and which
may be probed. :func:`within` lets a command on the host find a guest's answers in their places.
"""

from __future__ import annotations

import gzip
import hashlib
import shlex
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import VmError
from .image import Image, locked
from .machine import Job, Machine, run

# Modules that tools of BCC look into, if the kernel has them.
MODULES = ("ext4", "xfs", "btrfs", "nfs", "kvm", "md_mod")
# Place in the kernel -> name in the folder of facts.
_PLACES = {
    "/sys/kernel/btf": "btf",
    "/sys/kernel/tracing": "tracing",
    "/sys/kernel/debug": "debug",
    "/proc/kallsyms": "kallsyms",
    "/proc/config.gz": "config.gz",
    "/sys/devices/system/cpu/possible": "possible",
    "/sys/devices/system/cpu/online": "online",
}
_SECONDS = 180


def gather(machine: Machine) -> Path:
    """Return the folder with a kernel's facts; ask the kernel first, if need be.

    Raises
    ------
    VmError
        When the machine does not boot, or does not answer.

    Examples
    --------
    >>> (gather(Machine(prepare(find("6.12"), print))) / "tracing/events/sched/sched_switch/format").exists()
    True
    """
    image = machine.image
    recipe = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    kept = image.folder / "facts"
    with locked(kept):  # not the image's own folder: the machine takes that lock
        folder = kept / f"{image.digest}-{machine.cpus}-{recipe}"
        if not folder.is_dir():
            for old in (path for path in kept.iterdir() if path.is_dir()):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=kept, prefix="asking-") as job:
                part = Path(job) / "part"
                _ask(machine, Path(job))
                with tarfile.open(Path(job) / "facts.tar") as archive:
                    archive.extractall(part)
                _complete(part, image)
                part.rename(folder)
    return folder


def _ask(machine: Machine, folder: Path) -> None:
    modules = "\n".join(f"modprobe -q {name}" for name in MODULES)
    command = f"{modules}\n{shlex.join([sys.executable, '-m', 'tests.vm.facts', '/vmjob/facts.tar'])}"
    said: list[bytes] = []
    status = run(machine, Job(command, folder, folder / "console.log", _SECONDS), said.append)
    if status:
        raise VmError(f"{machine.image.version} does not say what it has: {b''.join(said).decode().strip()}")


def _complete(folder: Path, image: Image) -> None:
    # What stands beside the kernel in its packages, and the older place of tracefs.
    config = image.folder / f"tree/boot/config-{image.version}"
    if not config.exists():  # Debian's packages of Linux 7.3 have it beside the modules
        config = image.folder / f"tree/usr/lib/modules/{image.version}/config"
    (folder / "config.gz").write_bytes(gzip.compress(config.read_bytes()))
    (folder / "debug/tracing").symlink_to("/sys/kernel/tracing")
    (folder / "version").write_text(image.version)


def within(facts: Path, command: Sequence[str]) -> list[str]:
    """Return a command line that runs a command where a guest's facts stand in the places of this kernel's.

    It takes root: the places are covered in a mount namespace of the command's own.

    Parameters
    ----------
    facts
        The folder of :func:`gather`.
    command
        What to run. ``uname -r`` still tells this kernel's version; the guest's is in the file ``version``.
    """
    covered = [place for place in _PLACES if Path(place).exists()]
    mounts = [f"mount --bind {shlex.quote(str(facts / _PLACES[place]))} {place}" for place in covered]
    script = " && ".join([*mounts, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *command]


def _files() -> Iterator[tuple[str, Path]]:
    events = Path("/sys/kernel/tracing/events")
    yield from ((str(p.relative_to("/sys/kernel")), p) for p in events.glob("*/*/format"))
    yield "tracing/available_filter_functions", Path("/sys/kernel/tracing/available_filter_functions")
    yield "debug/kprobes/blacklist", Path("/sys/kernel/debug/kprobes/blacklist")
    yield from ((f"btf/{p.name}", p) for p in Path("/sys/kernel/btf").iterdir())
    yield "kallsyms", Path("/proc/kallsyms")
    yield from ((name, Path("/sys/devices/system/cpu", name)) for name in ("possible", "online"))


def main(archive: Path) -> None:
    """Write the facts of the running kernel to an archive: the guest's side."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive, "w") as tar:
        copy = Path(folder, "file")
        for name, path in _files():
            copy.write_bytes(path.read_bytes())  # files of the kernel do not know their size
            tar.add(copy, name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
