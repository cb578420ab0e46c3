"""Loss counters over the sections that clang made of ``data/btf/globals.c``."""

from __future__ import annotations

import os
import struct

import pytest
from sections import CPUS, DATA, FakeHandle, offset_of

from ebpflab.btf import Btf
from ebpflab.losses import LossCounters, Losses


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


# --- Over time ------------------------------------------------------------------------------------------------

SECOND = 1_000_000_000
MIB = 1 << 20


class Watched:
    """Losses whose counters and clock the test turns."""

    def __init__(self, cpus=2):
        self.counts, self.now = [0] * cpus, 0
        self.losses = Losses(lambda: list(self.counts), clock=lambda: self.now)

    def at(self, seconds, *lost, received=0):
        self.now = int(seconds * SECOND)
        self.counts = [a + b for a, b in zip(self.counts, lost or [0] * len(self.counts), strict=True)]
        self.losses.look(received)


@pytest.fixture
def watched():
    return Watched()


def test_a_gap_lies_between_the_last_look_without_loss_and_the_one_that_found_it(watched):
    watched.at(1, received=100)
    watched.at(2, 3, 4, received=250)
    watched.at(3, received=300)
    watched.at(4, 0, 11, received=400)
    assert watched.losses.gaps() == [(1 * SECOND, 2 * SECOND, 250, (3, 4)), (3 * SECOND, 4 * SECOND, 400, (0, 11))]
    assert (watched.losses.total(), watched.losses.per_cpu()) == (18, (3, 15))


def test_the_frame_of_gaps_has_a_row_for_each_cpu_that_lost(watched):
    watched.at(1)
    watched.at(2, 3, 4, received=250)
    watched.at(3, 0, 11, received=400)
    frame = watched.losses.df()
    assert list(frame.columns) == ["start", "end", "row", "cpu", "lost"]
    assert frame[["row", "cpu", "lost"]].values.tolist() == [[250, 0, 3], [250, 1, 4], [400, 1, 11]]
    assert str(frame["start"].dtype) == "datetime64[ns, UTC]"
    assert frame["start"].astype("int64").tolist() == [SECOND, SECOND, 2 * SECOND]


def test_a_frame_without_gaps_has_the_same_columns(watched):
    frame = watched.losses.df()
    assert len(frame) == 0
    assert str(frame["end"].dtype) == "datetime64[ns, UTC]"


def test_losses_of_one_moment_are_one_gap(watched):
    for step in range(7):
        watched.at(1 + step / 100, 1, 0, received=step)
    (first, *later) = watched.losses.gaps()
    assert (first.end - first.start) < 2 * SECOND
    assert sum(sum(gap.lost) for gap in (first, *later)) == 7
    assert len(later) <= 1


def test_memory_stays_bounded_however_long_records_are_lost(watched):
    for step in range(20_011):
        watched.at(1 + step, 1, 2, received=step)
        watched.at(1.5 + step, received=step)
    gaps = watched.losses.gaps()
    assert len(gaps) <= 4096
    assert sum(gap.lost[0] for gap in gaps) == 20_011
    assert sum(gap.lost[1] for gap in gaps) == 2 * 20_011
    assert [gap.start for gap in gaps] == sorted(gap.start for gap in gaps)


def test_where_nobody_counts_nothing_is_known():
    losses = Losses(lambda: None)
    losses.look(5)
    assert (losses.total(), losses.gaps(), losses.advice("events", MIB, 32)) == (None, [], "")


def test_the_advice_is_a_size_that_would_have_held_the_worst_stretch(watched):
    watched.at(1)
    watched.at(1.5, 10, 0)
    watched.at(2)
    watched.at(4, 1_000_000, 500_000)  # two seconds without a look
    watched.at(4.001, 7, 0)
    said = watched.losses.advice("events", 64 * MIB, 56)
    # 64 MiB and 1,500,007 records of 56 bytes are 144 MiB: the next power of two is 256 MiB.
    assert said == (
        "1,500,007 records were lost within 2 s: 256MiB would have held them, 64MiB did not: --buffer events=256MiB"
    )


def test_no_buffer_is_advised_to_a_reader_that_is_too_slow(watched):
    watched.at(1)
    for step in range(1000):
        watched.at(1 + step, 10_000_000, 0)
    said = watched.losses.advice("events", 64 * MIB, 56)
    assert "filter or add up in the program" in said
    assert "--buffer" not in said


def test_no_advice_without_a_loss(watched):
    watched.at(1)
    assert watched.losses.advice("events", 64 * MIB, 56) == ""
