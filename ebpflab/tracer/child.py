# The process that becomes bpftrace: python -I -S child.py PARENT BPFTRACE ARGUMENT...
#
# The kernel is told to end it when the thread that started it ends, however that happens (PR_SET_PDEATHSIG, prctl(2)).
# This is done here and not between fork and exec of a process that has many threads; exec keeps it.

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h


def main() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != int(sys.argv[1]):  # it ended before the kernel was told
        sys.exit("the notebook's kernel is gone")
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - the path is toolchain's


if __name__ == "__main__":
    main()
