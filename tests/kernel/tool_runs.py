"""Running the tools of bpf_src/ in tests: a fixture, and what the tools' workloads look like.

A module ``workloads_*.py`` here has a dictionary ``WORKLOADS``: for each of its tools a context manager that sets
something up and yields how to load the tool (arguments of :func:`ebpflab.load`) and a function that makes its events.
The benchmark of what tools cost (``python -m benchmarks tools``) runs the same ones.
"""

from __future__ import annotations

import os

import pytest

import ebpflab
from ebpflab.errors import AttachError, HookNotFoundError, KernelSupportError


@pytest.fixture
def tool():
    """Load a tool, and close it afterwards.

    In a virtual machine a test is skipped where the kernel lacks the tool's hook; here only one that says it may.
    """
    loaded = []

    def loading(name, *, may_lack=False, **options):
        try:
            session = ebpflab.load(name, **options)
        except (KernelSupportError, HookNotFoundError, AttachError) as error:
            lacks = not isinstance(error, AttachError) or error.what.endswith("only for one process")  # before 5.15
            if not (lacks and (may_lack or os.environ.get("EBPFLAB_VM"))):
                raise
            pytest.skip(f"not in this kernel: {error.what}")
        loaded.append(session)
        return session

    yield loading
    for session in loaded:
        session.close()
