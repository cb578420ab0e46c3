"""Loss counters over the sections that clang made of ``data/btf/globals.c``."""

from __future__ import annotations

import os
import struct

import pytest
from sections import CPUS, DATA, FakeHandle, offset_of

from ebpflab.btf import Btf
from ebpflab.losses import LossCounters


@pytest.fixture(scope="module")
def btf():
    return Btf.parse((DATA / "globals.BTF").read_bytes())


@pytest.fixture
def handle():
    made = FakeHandle()
    yield made
    made.close()


COUNTERS_AT = 128 + 4 + 4  # struct ebpflab_loss up to `lost`
SITES = {"site_a": "events", "site_b": "events", "site_c": "others", "site_d": "?"}


def lose(handle, site, *counts):
    section, offset = offset_of(site)
    os.pwrite(handle.fds[section], struct.pack(f"<{CPUS}Q", *counts), offset + COUNTERS_AT)


@pytest.fixture
def counters(handle, btf):
    handle.load()
    made = LossCounters(handle, btf, ["events", "others"], prelude=True)
    yield made
    made.close()


def test_nothing_is_lost_at_first(counters):
    assert [counters.of(name) for name in ("events", "others")] == [0, 0]
    assert counters.per_cpu("events") == [0] * CPUS


def test_losses_are_added_up_by_buffer_and_cpu_over_all_call_sites(counters, handle):
    lose(handle, "site_a", 1, 2, 3, 4)
    lose(handle, "site_b", 10, 0, 0, 2**40)
    lose(handle, "site_c", 0, 0, 500, 0)
    assert counters.per_cpu("events") == [11, 2, 3, 4 + 2**40]
    assert counters.of("events") == 20 + 2**40
    assert counters.of("others") == 500


def test_a_site_that_does_not_name_its_buffer_counts_to_each(counters, handle):
    lose(handle, "site_d", 0, 7, 0, 0)
    assert (counters.of("events"), counters.of("others")) == (7, 7)


def test_with_one_buffer_every_site_is_its_own(handle, btf):
    handle.load()
    counters = LossCounters(handle, btf, ["only_one"], prelude=True)
    for site in SITES:
        lose(handle, site, 1, 0, 0, 0)
    assert counters.of("only_one") == 4
    counters.close()


def test_the_last_counts_stay_after_close(counters, handle):
    lose(handle, "site_a", 1, 2, 3, 4)
    lose(handle, "site_d", 0, 0, 0, 7)
    counters.close()
    lose(handle, "site_a", 9, 9, 9, 9)
    counters.close()
    assert (counters.of("events"), counters.per_cpu("events")) == (17, [1, 2, 3, 11])
    assert counters.of("others") == 7


def test_a_buffer_without_a_site_keeps_what_unknown_sites_lost_after_close(handle, btf):
    handle.load()
    counters = LossCounters(handle, btf, ["events", "silent"], prelude=True)
    lose(handle, "site_d", 0, 0, 0, 7)
    assert counters.of("silent") == 7
    counters.close()
    assert counters.of("silent") == 7


class WithoutSites(FakeHandle):
    def __init__(self):
        super().__init__()
        del self.images[".data.ebpflab"]


@pytest.mark.parametrize(("prelude", "lost"), [(True, 0), (False, None)])
def test_without_sites_nothing_was_lost_if_the_prelude_counts_and_else_nobody_knows(btf, prelude, lost):
    handle = WithoutSites()
    counters = LossCounters(handle, btf, ["events"], prelude=prelude)
    assert counters.of("events") == lost
    counters.close()
    assert counters.of("events") == lost
    handle.close()
