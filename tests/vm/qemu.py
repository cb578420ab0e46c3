"""A QEMU process and the three sockets that lead to it: its monitor, and the guest's control and output."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

from . import VmError

PROGRAM = "qemu-system-x86_64"
_PIECE = 1 << 16


class Qemu:
    """A running machine; `start` makes one.

    ``control`` carries one line each way: what to do, and how it ended.
    """

    def __init__(self, process: subprocess.Popen[bytes], ours: Sequence[socket.socket], messages: IO[bytes]) -> None:
        monitor, self.control, self._output = ours
        self._process = process
        self._messages = messages
        self._monitor = monitor.makefile("rwb")
        self._monitor.readline()  # a greeting
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """Send a command of the QEMU Machine Protocol, and return what it answers.

        Raises
        ------
        VmError
            When QEMU refuses, or is gone.
        """
        request = {"execute": command, "arguments": arguments}
        with contextlib.suppress(BrokenPipeError):  # the answer is missing, too
            self._monitor.write(json.dumps(request).encode() + b"\n")
            self._monitor.flush()
        for line in self._monitor:
            answer = json.loads(line)
            if "error" in answer:
                raise VmError(f"QEMU refuses {command}: {answer['error']['desc']}")
            if "return" in answer:  # and not an event
                return answer["return"]
        self._process.wait()
        self._messages.seek(0)
        raise VmError(f"QEMU ended: {self._messages.read().decode(errors='replace').strip() or 'without a word'}")

    def wait_for(self, command: str, *states: str) -> None:
        """Ask until QEMU reports one of these states.

        Raises
        ------
        VmError
            When it fails, or is not there in a minute.
        """
        deadline = time.monotonic() + 60
        while (status := self.ask(command).get("status")) not in states:
            if status == "failed" or time.monotonic() > deadline:
                raise VmError(f"QEMU answers {command} with {status} instead of {' or '.join(states)}")
            time.sleep(0.01)

    def answer(self, timeout: float, output: Callable[[bytes], object]) -> str | None:
        """Pass on what the guest writes until it answers with a line.

        Parameters
        ----------
        timeout
            In seconds.
        output
            Called with each piece of the guest's output.

        Returns
        -------
        str or None
            The line; empty when the machine ended without one; None when the time is up.
        """
        deadline, line = time.monotonic() + timeout, b""
        while not line.endswith(b"\n"):
            ready = select.select([self._output, self.control], [], [], max(deadline - time.monotonic(), 0))[0]
            if not ready:
                return None
            # The output first: all of it was on its way before the answer.
            if self._output in ready and (piece := self._output.recv(_PIECE)):
                output(piece)
            elif not (piece := self.control.recv(_PIECE)):
                break
            else:
                line += piece
        while select.select([self._output], [], [], 0)[0] and (piece := self._output.recv(_PIECE)):
            output(piece)
        return line.decode().strip()


@contextlib.contextmanager
def start(command: Sequence[str]) -> Iterator[Qemu]:
    """Run QEMU; it is killed on the way out.

    Parameters
    ----------
    command
        All but the monitor and the ports of virtio-serial.

    Raises
    ------
    VmError
        When QEMU is missing, or does not like the command.

    Examples
    --------
    >>> with start(machine.command(Path("job"), Path("console.log"))) as guest:
    ...     guest.answer(60, print)
    'ready'
    """
    with contextlib.ExitStack() as stack:
        pairs = [socket.socketpair() for _ in range(3)]
        for end in (end for pair in pairs for end in pair):
            stack.enter_context(end)
        theirs = [end.fileno() for _, end in pairs]
        messages = stack.enter_context(tempfile.TemporaryFile())
        try:
            process = subprocess.Popen(
                [*command, *_sockets(*theirs)],
                stdin=subprocess.DEVNULL,
                stdout=messages,
                stderr=messages,
                pass_fds=theirs,
            )
        except FileNotFoundError as error:
            raise _not_installed(command[0]) from error
        stack.callback(process.wait)
        stack.callback(process.kill)
        for _, end in pairs:
            end.close()  # so that the end of QEMU is the end of the stream
        yield Qemu(process, [end for end, _ in pairs], messages)


def _sockets(monitor: int, control: int, output: int) -> list[str]:
    options = ["-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"]
    options += ["-device", "virtio-serial-pci"]
    for name, number in {"control": control, "output": output}.items():
        options += ["-chardev", f"socket,id={name},fd={number}"]
        options += ["-device", f"virtserialport,chardev={name},name={name}"]
    return options


def version() -> str:
    """Return what QEMU says of itself.

    Raises
    ------
    VmError
        When it is not installed.

    Examples
    --------
    >>> version()[:21]
    'QEMU emulator version'
    """
    try:
        return subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError as error:
        raise _not_installed(PROGRAM) from error


def _not_installed(program: str) -> VmError:
    return VmError(f"{program} is not installed; `python -m tests.vm setup --install` installs it")
