"""Maps without keys: queues, stacks and bloom filters."""

from __future__ import annotations

import contextlib
import errno
from typing import Any

from .. import _bpfmaps
from ._refusals import refused
from .bpfmap import BpfMap


class _Keyless(BpfMap):
    def __bool__(self) -> bool:
        return True  # len() is not known

    def _value(self, value: Any) -> bytes:
        with contextlib.ExitStack() as held:
            return self._encode_value(value, held)


class QueueMap(_Keyless):
    """A queue (first in, first out) or a stack (last in, first out) of values: ``push``, ``pop``, ``peek``.

    Examples
    --------
    >>> s.maps["jobs"].push({"pid": 17})
    >>> s.maps["jobs"].pop().pid
    17
    """

    def push(self, value: Any, *, force: bool = False) -> None:
        """Add a value.

        Parameters
        ----------
        value
            The value.
        force
            When it is full, drop the oldest value instead of raising MapError.
        """
        data = self._value(value)
        flags = _bpfmaps.EXIST if force else _bpfmaps.ANY
        self._call("write", value, lambda fd: _bpfmaps.update(fd, None, data, flags))

    def pop(self) -> Any:  # type: ignore[override]  # a queue has no keys
        """Take the next value away; raises IndexError when there is none."""
        return self._next(lambda fd: _bpfmaps.take(fd, None, self._facts.stride))

    def peek(self) -> Any:
        """Return the next value and leave it there; raises IndexError when there is none."""
        return self._next(lambda fd: _bpfmaps.lookup(fd, None, self._facts.stride))

    def clear(self) -> None:
        """Take all values away."""
        with contextlib.suppress(IndexError):
            for _ in range(self.max_entries):  # programs may add as fast as this takes
                self.pop()

    def _next(self, look: Any) -> Any:
        with self._fd as fd:
            try:
                return self._decode_value(look(fd))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    raise IndexError(f"{self.name} is empty") from None
                raise refused(self._facts, "read", error.errno or 0, fd) from None


class BloomFilter(_Keyless):
    """A set that may say yes by mistake, and never no: ``add(value)``, ``value in m``.

    Examples
    --------
    >>> s.maps["seen"].add(17); 17 in s.maps["seen"]
    True
    """

    def add(self, value: Any) -> None:
        """Add a value; it cannot be taken out again."""
        data = self._value(value)
        self._call("write", value, lambda fd: _bpfmaps.update(fd, None, data))

    def __contains__(self, value: object) -> bool:
        data = self._value(value)
        return self._call("read", value, lambda fd: _bpfmaps.holds(fd, data))
