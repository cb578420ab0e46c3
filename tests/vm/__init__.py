"""Stock Debian kernels under QEMU: the kernel tests on kernels that this machine does not run."""

from __future__ import annotations


class VmError(Exception):
    """What went wrong, in one sentence, and what to do about it."""
