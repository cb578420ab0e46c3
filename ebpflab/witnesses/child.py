# The process whose events are counted: python -I -S child.py PARENT DOOR call NAME COUNT
#                                       python -I -S child.py PARENT DOOR run PATH ARGUMENT...
#
# It goes into a UTS namespace of its own, by which whatever it does and starts is known, and waits at the door (a
# socket) until it is told to begin. The kernel ends it with the thread that started it, as in tracer/child.py.

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_CLONE_NEWUTS = 0x04000000  # include/uapi/linux/sched.h


def main() -> None:
    parent, door, what, *rest = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(parent):  # it ended before the kernel was told
        sys.exit("the process that asked for it is gone")
    if libc.unshare(_CLONE_NEWUTS) != 0:
        sys.exit(f"unshare(CLONE_NEWUTS): {os.strerror(ctypes.get_errno())}")
    os.set_inheritable(int(door), False)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and exec would hand that on
    calls = [getattr(os, rest[0])] * int(rest[1]) if what == "call" else []
    os.write(int(door), b"w")
    if not os.read(int(door), 1):
        os._exit(0)  # nobody is there any more, or only the namespace was wanted
    if what == "run":
        _become(rest[0], rest[1:])
    for call in calls:
        call()
    os._exit(0)  # what Python does at its end is not to be counted


def _become(path: str, arguments: list[str]) -> None:
    try:
        os.execv(path, arguments)  # noqa: S606 - the user's own command
    except OSError as error:
        os.write(2, f"{path}: {error.strerror}\n".encode())
        os._exit(126)  # as a shell says that a command cannot be run


if __name__ == "__main__":
    main()
