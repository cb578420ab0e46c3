"""What every test shares: a cache of its own, and the promise that nothing outlives a test."""

from __future__ import annotations

import os
import sys
import threading

import hypothesis
import pytest

# How long one example takes says more about the machine than about the code.
hypothesis.settings.register_profile("ebpflab", deadline=None)
hypothesis.settings.load_profile("ebpflab")


@pytest.fixture(autouse=True, scope="session")
def private_cache(tmp_path_factory):
    # One for the whole run: the kernel's types are taken apart once, and the user's own cache stays as it was.
    if "EBPFLAB_VM" in os.environ:  # tests/vm filled one for this guest, on the host, where clang is quick
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("EBPFLAB_CACHE", raising=False)
        yield


@pytest.fixture(autouse=True)
def no_leftovers():
    yield
    if "ebpflab.session" in sys.modules:
        import ebpflab

        left = [session.name for session in ebpflab.sessions()]
        ebpflab.close_all()
        assert left == [], f"the test left live sessions: {left}"
    threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("ebpflab-")]
    assert threads == [], f"the test left threads: {threads}"
