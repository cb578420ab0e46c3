"""Workloads of the tools that this folder's test_tools.py counts."""

from __future__ import annotations

import contextlib
import os

OPENS = 1009


@contextlib.contextmanager
def opens():
    """Open a file again and again."""

    def make():
        for _ in range(OPENS):
            os.close(os.open("/proc/self/stat", os.O_RDONLY))

    yield {"vars": {"pid": os.getpid()}}, make


WORKLOADS = {"opensnoop": opens}
