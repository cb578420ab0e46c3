"""Sequence and checksum over millions of records, and libbpf's own consumer as the oracle for some thousands.

``python -m benchmarks soak`` is the same with a thousand million.
"""

from __future__ import annotations

import ctypes
import struct

import numpy as np
import pytest

from benchmarks import soak
from benchmarks.producer import map_fd
from ebpflab.store import RecordStore

RECORDS = 10_000_019

# Sends one and the same sequence to two rings: lengths from 1 to 256 bytes, every 13th record thrown away.
TWINS = """
struct order { u32 count; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } left SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } right SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32);
	__type(value, u64[32]); } scratch SEC(".maps");
u64 number, left_refused, right_refused, discarded;

static int send(u32 i, void *unused)
{
	u32 zero = 0;
	u64 *words = bpf_map_lookup_elem(&scratch, &zero), n = number++;
	if (!words)
		return 1;
	if (n % 13 == 5) {
		void *a = bpf_ringbuf_reserve(&left, 24, 0), *b = bpf_ringbuf_reserve(&right, 24, 0);
		if (a)
			bpf_ringbuf_discard(a, 0);
		if (b)
			bpf_ringbuf_discard(b, 0);
		left_refused += !a;
		right_refused += !b;
		discarded += !!a;
		return 0;
	}
	for (int w = 0; w < 32; w++)
		words[w] = n * 0x9e3779b97f4a7c15 + w;
	words[0] = n;
	u64 length = 1 + ((n * n + n / 7) & 255);
	left_refused += !!bpf_ringbuf_output(&left, words, length, 0);
	right_refused += !!bpf_ringbuf_output(&right, words, length, 0);
	return 0;
}

SEC("syscall") int produce(struct order *order)
{
	bpf_loop(order->count, send, 0, 0);
	return 0;
}
"""


def test_ten_million_records_of_mixed_lengths_arrive_whole_in_order_and_once():
    result = soak.Soak(RECORDS).run()
    assert result["records"] >= RECORDS
    assert sum(result["lengths"].values()) == result["records"]
    assert set(result["lengths"]) == {40, 45, 64, 128}
    assert result["producers"] >= 3
    # Both rings were made to overflow, and each loss was counted (the run compares the counts).
    assert result["overflows"] >= 1
    assert all(lost > 0 for lost in result["lost"].values())
    assert result["tried"] == result["records"] + sum(result["lost"].values()) + result["discarded"]


def signed(numbers, producer=2):
    """Records of 40 bytes as the soak's program makes them, worked out in Python's own integers."""
    records, wrap = [], (1 << 64) - 1
    for number in numbers:
        payload = [(number * 77 + w) & wrap for w in range(2)]
        total = ((number ^ 40) * 0x9E3779B97F4A7C15) & wrap
        for word in (*payload, producer << 32):
            total = ((total ^ word) * 0x9E3779B97F4A7C15) & wrap
        records.append(struct.pack("<IIQQ2Q", producer, 0, number, total, *payload))
    return records


def audit(*batches):
    looking, store = soak.Audit(0), RecordStore()
    cursor = store.cursor()
    for batch in batches:
        out, lens = store.reserve(40 * len(batch))
        out[: 40 * len(batch)] = np.frombuffer(b"".join(batch), np.uint8)
        lens[: len(batch)] = 40
        store.commit(len(batch), 40 * len(batch), 0, 0.0)
        looking.look(cursor.read())
    return looking


def flipped(record, bit):
    changed = bytearray(record)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def test_the_audit_accepts_gaps_and_counts_them():
    looking = audit(signed(range(23)), signed([29, 30, 37]))
    assert looking.received.sum() == 26
    assert looking.missing[2] == 6 + 6


@pytest.mark.parametrize("bit", range(0, 320, 7))
def test_the_audit_notices_any_flipped_bit(bit):
    first, second = signed([0, 1])
    with pytest.raises(soak.Wrong):
        audit([first, flipped(second, bit)])


@pytest.mark.parametrize("numbers", [[0, 1, 1, 2], [0, 2, 1], [5, 3]])
def test_the_audit_notices_repeated_and_reordered_records(numbers):
    with pytest.raises(soak.Wrong):
        audit(signed(numbers))
    with pytest.raises(soak.Wrong):
        audit(*([record] for record in signed(numbers)))


class Oracle:
    """libbpf's own consumer on a ring: every record as bytes."""

    def __init__(self, fd):
        self.records = []
        self.lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
        self.lib.ring_buffer__new.restype = ctypes.c_void_p
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        self.callback = kind(self._take)
        self.ring = ctypes.c_void_p(self.lib.ring_buffer__new(fd, self.callback, None, None))
        assert self.ring

    def _take(self, _context, data, size):
        self.records.append(ctypes.string_at(data, size))
        return 0

    def consume(self):
        assert self.lib.ring_buffer__consume(self.ring) >= 0

    def close(self):
        self.lib.ring_buffer__free(self.ring)


def in_order(snapshot):
    merged = np.empty(len(snapshot), object)
    for length in snapshot.lengths():
        rows = [row.tobytes() for chunk in snapshot.chunks(length) for row in chunk.data]
        for place, row in zip(snapshot.order(length), rows, strict=True):
            merged[place] = row
    return merged.tolist()


def test_libbpfs_own_consumer_finds_the_same_bytes_in_the_same_order(load):
    session = load(TWINS, keep=1e6)
    ours, theirs = session.streams["left"], session.streams["right"]
    oracle = Oracle(map_fd(session, "right"))
    theirs.pause()
    try:
        # Some 1800 fit: after more than that both refuse, and the same records.
        for count in (1, 1009, 2503, 7, 1511, 2503, 997, 2503, 1, 1987):
            ours.pause()
            session.test_run(ctx=struct.pack("<I", count))
            oracle.consume()
            ours.resume()
            assert ours.wait(len(oracle.records), timeout=5)
    finally:
        oracle.close()
    assert session.vars["left_refused"] == session.vars["right_refused"] > 0
    assert len(oracle.records) + session.vars["discarded"] + session.vars["left_refused"] == session.vars["number"]
    with ours._store.snapshot() as snapshot:
        assert in_order(snapshot) == oracle.records
    assert len({len(record) for record in oracle.records}) > 100
    assert ours.stats()["discarded"] == session.vars["discarded"]
    assert ours.stats()["lost"] == session.vars["left_refused"]
