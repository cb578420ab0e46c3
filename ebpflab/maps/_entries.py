# All entries of a map at once, as arrays of bytes: in batches where the kernel has them, else key by key.

from __future__ import annotations

import errno
import itertools
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import _bpfmaps
from ._descriptor import Descriptor, closed
from .facts import Facts

_BATCH_BYTES = 4 << 20
_LEAST = 64  # entries of a batch
# What a kernel says that has no batches for this type, or that lost its way among changing entries.
_NO_BATCH = (_bpfmaps.NOT_SUPPORTED, errno.EOPNOTSUPP, errno.EINVAL, errno.EINTR, errno.EAGAIN)


class Entries(NamedTuple):
    keys: NDArray[np.uint8]  # (entries, bytes of a key)
    values: NDArray[np.uint8]  # (entries, bytes of a value, of all CPUs)
    clock_offset_ns: int  # from CLOCK_MONOTONIC to UTC
    complete: bool = True  # False if so much was deleted meanwhile that reading was given up


def read(facts: Facts, descriptor: Descriptor, *, batched: bool = True) -> Entries:
    # Raises OSError. An entry that is there all the time is in it once, others may be.
    assert facts.key is not None
    if batched and facts.type.batched:
        try:
            return _by_batches(facts, facts.key.size, descriptor)
        except OSError as error:
            if error.errno not in _NO_BATCH:
                raise
    return _by_keys(facts, facts.key.size, descriptor)


def clock_offset() -> int:
    return time.time_ns() - time.monotonic_ns()


def _by_batches(facts: Facts, key_size: int, descriptor: Descriptor) -> Entries:
    room = max(_LEAST, min(facts.max_entries, _BATCH_BYTES // (key_size + facts.stride)))
    parts = []
    with descriptor as fd:
        for part in _bpfmaps.batches(fd, key_size, facts.stride, room, facts.lookup_flags):
            if descriptor.closed:
                raise closed(facts.name)
            parts.append(part)
    keys, values = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Entries(keys, values, clock_offset())


def some(facts: Facts, descriptor: Descriptor, most: int) -> Entries:
    # A few entries, without reading the rest. Raises OSError.
    assert facts.key is not None
    return _by_keys(facts, facts.key.size, descriptor, most)


def _by_keys(facts: Facts, key_size: int, descriptor: Descriptor, most: int | None = None) -> Entries:
    keys, values = [], []
    walk = _Walk(facts, key_size, descriptor)
    with descriptor as fd:
        for key in itertools.islice(walk.keys(fd), most):
            try:
                values.append(_bpfmaps.lookup(fd, key, facts.stride, facts.lookup_flags))
            except OSError as error:
                if error.errno != errno.ENOENT:  # deleted since, or an empty place of an array
                    raise
            else:
                keys.append(key)
    shape = len(keys), -1 if keys else key_size
    return Entries(
        np.frombuffer(b"".join(keys), np.uint8).reshape(shape),
        np.frombuffer(b"".join(values), np.uint8).reshape(len(keys), facts.stride),
        clock_offset(),
        walk.complete,
    )


class _Walk:
    # From key to key. When the current key is deleted, the kernel goes on at the first one: keys that were seen are
    # passed over, and a map in which that happens all the time is given up at last.
    def __init__(self, facts: Facts, key_size: int, descriptor: Descriptor) -> None:
        self._facts, self._key_size, self._descriptor = facts, key_size, descriptor
        self.complete = True

    def keys(self, fd: int) -> Iterator[bytes]:
        seen: set[bytes] = set()
        key: bytes | None = None
        for _ in range(8 * self._facts.max_entries + 1024):
            if self._descriptor.closed:
                raise closed(self._facts.name)
            key = _bpfmaps.next_key(fd, key, self._key_size)
            if key is None:
                return
            if key not in seen:
                seen.add(key)
                yield key
        self.complete = False


def keys_of(facts: Facts, descriptor: Descriptor) -> list[bytes]:
    # The keys alone, also of a map whose values the kernel does not show.
    assert facts.key is not None
    with descriptor as fd:
        return list(_Walk(facts, facts.key.size, descriptor).keys(fd))
