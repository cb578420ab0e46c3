"""Maps whose values stand for something else: maps, programs, sockets, cgroups, network devices."""

from __future__ import annotations

import contextlib
import socket
import sys
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from ..errors import MapError
from ..similar import did_you_mean, nearest
from . import table
from ._entries import Entries
from ._handles import descriptor, packed
from .bpfmap import BpfMap
from .record import Record, record_class

if TYPE_CHECKING:
    import pandas as pd

_PROGRAM = record_class("program", ("id", "name"))


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


class _References(BpfMap):
    # Frames show what the references stand for, in columns of their own.
    _described: tuple[str, ...] = ()

    def _frame(self, entries: Entries) -> pd.DataFrame:
        import pandas as pd

        assert self._facts.key is not None
        keys = table.key_columns(self._facts.key, entries.keys)
        rows = [self._row(value.tobytes()) for value in entries.values]
        shown = {name: [row[i] for row in rows] for i, name in enumerate(self._described)}
        return pd.DataFrame(table.named(keys, {}, shown), index=pd.RangeIndex(len(rows)))

    @abstractmethod
    def _row(self, raw: bytes) -> tuple[Any, ...]:
        # What a frame shows of one value, in the order of `_described`.
        ...


class MapOfMaps(_References):
    """A map of maps: ``m[k]`` is the inner map, as a :class:`BpfMap`; assigning takes one, or a file descriptor.

    The inner maps have the types that the cell gives them: ``__array(values, struct { ... })``.

    Examples
    --------
    >>> s.maps["by_cpu"][0]["bash"]
    3
    """

    _described = ("map_id", "name", "type", "max_entries")

    @property
    def value_type(self) -> str:
        """What it holds: maps."""
        return "map"

    def _encode_value(self, value: Any, held: contextlib.ExitStack) -> bytes:
        if isinstance(value, BpfMap):
            return packed(held.enter_context(value._fd), self._facts.stride)
        return packed(descriptor(value, held, self.name, "map"), self._facts.stride)

    def _decode_value(self, raw: bytes) -> BpfMap:
        return self._maps._inner(self.name, _number(raw))

    def _row(self, raw: bytes) -> tuple[Any, ...]:
        inner = self._decode_value(raw)
        return _number(raw), inner.name, inner.type, inner.max_entries


class ProgArray(_References):
    """A map of programs for tail calls: assigning takes a program's name in the cell, or a file descriptor.

    ``m[k]`` is a record of the program's id and name.

    Examples
    --------
    >>> s.maps["jumps"][1] = "parse_udp"
    >>> s.maps["jumps"][1].name
    'parse_udp'
    """

    _described = ("id", "name")

    @property
    def value_type(self) -> str:
        """What it holds: programs."""
        return "program"

    def _encode_value(self, value: Any, held: contextlib.ExitStack) -> bytes:
        if isinstance(value, str):
            return packed(self._maps._program_fd(value), self._facts.stride)
        return packed(descriptor(value, held, self.name, "program of the cell"), self._facts.stride)

    def _decode_value(self, raw: bytes) -> Record:
        number = _number(raw)
        return _PROGRAM((number, self._maps._program_name(number)))

    def _row(self, raw: bytes) -> tuple[Any, ...]:
        return self._decode_value(raw)


class SocketMap(BpfMap):
    """A map of sockets: assigning takes a socket, or its file descriptor; ``m[k]`` is the socket's cookie.

    The kernel shows cookies (``getsockopt(SO_COOKIE)``) only if the values have 8 bytes: ``__type(value, __u64)``.

    Examples
    --------
    >>> s.maps["peers"][0] = connection
    """

    def _may(self, operation: str) -> None:
        super()._may(operation)
        if operation in ("read", "list") and self._facts.stride != 8:
            raise MapError(
                f"{self.name}: the kernel shows no sockets in values of {self._facts.stride} bytes",
                hint="make them 8 bytes to see socket cookies: __type(value, __u64)",
            )

    def _encode_value(self, value: Any, held: contextlib.ExitStack) -> bytes:
        return packed(descriptor(value, held, self.name, "socket"), self._facts.stride)


class CgroupArray(BpfMap):
    """A map of cgroups, for programs to compare with: assigning takes a path below /sys/fs/cgroup."""

    def _encode_value(self, value: Any, held: contextlib.ExitStack) -> bytes:
        return packed(descriptor(value, held, self.name, "cgroup's path", paths=True), self._facts.stride)


class DeviceMap(BpfMap):
    """A map of network devices to send packets to: assigning takes an index, or a name such as ``eth0``."""

    def _encode_value(self, value: Any, held: contextlib.ExitStack) -> bytes:
        if not isinstance(value, str):
            return super()._encode_value(value, held)
        try:
            index = socket.if_nametoindex(value)
        except OSError:
            names = [name for _, name in socket.if_nameindex()]
            hint = did_you_mean(nearest(value, names)) or f"devices are {', '.join(names)}"
            raise MapError(f"{self.name}: there is no network device {value!r}", hint=hint) from None
        assert self._facts.value is not None
        is_struct = hasattr(self._facts.value.node, "fields")  # struct bpf_devmap_val
        return super()._encode_value({"ifindex": index} if is_struct else index, held)
