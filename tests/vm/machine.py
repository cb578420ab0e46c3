"""One machine for one command: QEMU without KVM, restored from a state that was saved when it had just booted.

Booting takes seconds under emulation, restoring tenths of one. The state is saved before the host's files are
mounted, so nothing of the host is in it. The guest's side is init.sh.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from . import VmError, qemu
from .image import Image, locked

TIMED_OUT = 124  # as timeout(1) says
NO_ANSWER = 125  # the kernel panicked, or a command powered the machine off

_BOOT_SECONDS = 120
_KEPT_STATES = 4  # of a kernel: those last used
_COMMAND_LINE = (
    "console=ttyS0 quiet panic=-1 mitigations=off nokaslr tsc=reliable no_timer_check audit=0 "
    "random.trust_cpu=on init_on_alloc=0"
)


@dataclass(frozen=True)
class Machine:
    """A kernel on a kind of machine.

    ``append`` is added to the kernel's command line, ``memory`` is as QEMU takes it.
    """

    image: Image
    append: str = ""
    memory: str = "1G"
    cpus: int = 1

    def command(self, job: Path, console: Path) -> list[str]:
        """Return the command of QEMU but for its sockets.

        Parameters
        ----------
        job
            The folder that is /vmjob in the guest.
        console
            The file for the kernel's messages.
        """
        shares = {"host": (Path("/"), True), "modules": (self.image.modules, True), "job": (job, False)}
        command = [qemu.PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += ["-machine", "q35,smm=off", "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]
        command += ["-m", self.memory, "-smp", str(self.cpus)]
        command += ["-kernel", str(self.image.vmlinux), "-initrd", str(self.image.initrd)]
        command += ["-append", f"{_COMMAND_LINE} {self.append}"]
        command += ["-chardev", f"file,id=console,path={_escape(console)}", "-serial", "chardev:console"]
        for name, (path, read_only) in shares.items():
            options = f"path={_escape(path)},security_model=none,multidevs=remap{',readonly=on' * read_only}"
            command += ["-fsdev", f"local,id={name},{options}"]
            command += ["-device", f"virtio-9p-pci,fsdev={name},mount_tag={name}"]
        return command


@dataclass(frozen=True)
class Job:
    """What to run in a machine.

    ``command`` is for sh, ``folder`` is /vmjob in the guest, where it can write, ``console`` the file for the
    kernel's messages, ``timeout`` in seconds.
    """

    command: str
    folder: Path
    console: Path
    timeout: float
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def script(self) -> str:
        exports = [f"export {name}={shlex.quote(value)}" for name, value in self.env.items()]
        return "\n".join([*exports, f"cd {shlex.quote(str(Path.cwd()))} || exit 126", self.command])


def run(machine: Machine, job: Job, output: Callable[[bytes], object]) -> int:
    """Run a job in a machine of its own.

    The host's file system is ``/`` there, and what the job changes in it is gone afterwards.

    Parameters
    ----------
    machine, job
        Where to run, and what.
    output
        Called with each piece of what the command writes to stdout and stderr.

    Returns
    -------
    int
        The command's exit code, 124 when it took longer than the job's timeout, 125 when the machine ended before
        the command did.

    Raises
    ------
    VmError
        When QEMU is missing or does not start, or the guest does not boot.

    Examples
    --------
    >>> job = Job("exit 3", folder=Path("build/vm/job"), console=Path("build/vm/console.log"), timeout=60)
    >>> run(Machine(prepare(find("6.12"), print)), job, sys.stdout.buffer.write)
    3
    """
    state = saved_state(machine)
    job.folder.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    incoming = ["-incoming", f"exec:cat {shlex.quote(str(state))}"]
    with qemu.start([*machine.command(job.folder, job.console), *incoming]) as guest:
        guest.wait_for("query-status", "paused")
        guest.ask("cont")
        script = base64.b64encode(job.script.encode()).decode()
        guest.control.sendall(f"{time.time():.0f} {script}\n".encode())
        answer = guest.answer(job.timeout - (time.monotonic() - started), output)
    if answer is None:
        return TIMED_OUT
    return int(answer.removeprefix("exit ")) if answer else NO_ANSWER


def saved_state(machine: Machine) -> Path:
    """Return the file with the state of a machine that has booted; boot one and save it first, if need be.

    Raises
    ------
    VmError
        When QEMU is missing or does not start, or the guest does not boot.

    Examples
    --------
    >>> saved_state(Machine(prepare(find("6.12"), print))).exists()
    True
    """
    image = machine.image
    with locked(image.folder):
        path = image.folder / state_name(machine, qemu.version())
        if not path.exists():
            _save(machine, path)
        os.utime(path)
        states = sorted(image.folder.glob("state-*"), key=lambda state: state.stat().st_mtime)
        for old in states[:-_KEPT_STATES]:  # a hundred megabytes each
            old.unlink()
    return path


def state_name(machine: Machine, version: str) -> str:
    """Return a name that tells states apart by all that they depend on: no path of the host is in it.

    Parameters
    ----------
    machine
        Its image, and how it is made.
    version
        What QEMU says of itself.

    Examples
    --------
    >>> state_name(machine, "QEMU emulator version 7.2.22")
    'state-f6afc39d4de21664-ad7058e41eb6edb9'
    """
    image = replace(machine.image, folder=Path("/image"))
    command = replace(machine, image=image).command(Path("/job"), Path("/console"))
    digest = hashlib.sha256("\0".join([version, *command]).encode()).hexdigest()
    return f"state-{image.digest}-{digest[:16]}"


def _save(machine: Machine, path: Path) -> None:
    folder = path.parent / "empty"
    folder.mkdir(exist_ok=True)
    console = path.parent / "boot.log"
    part = path.with_name(f"part-{path.name}")
    with qemu.start(machine.command(folder, console)) as guest:
        answer = guest.answer(_BOOT_SECONDS, lambda piece: None)
        if answer != "ready":
            raise VmError(f"{machine.image.version} did not boot in {_BOOT_SECONDS} s; its messages are in {console}")
        time.sleep(0.5)  # let the guest come to rest: less to do after each restore
        guest.ask("stop")
        guest.ask("migrate-set-parameters", **{"max-bandwidth": 10**10})
        guest.ask("migrate", uri=f"exec:cat > {shlex.quote(str(part))}")
        guest.wait_for("query-migrate", "completed")
    part.rename(path)


def _escape(path: Path) -> str:
    # A comma separates QEMU's options, and two stand for one.
    return str(path.resolve()).replace(",", ",,")
