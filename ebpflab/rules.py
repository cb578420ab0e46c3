"""How the bytes of one column become values, and what is shown of them: one :class:`Rule` for each kind of field.

:data:`MEANINGS` is the table to extend when a typedef is to mean something: it maps the typedef's name to a
function from the plain rule to a better one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from . import tables
from ._native.text import cutter as text_cutter
from .btf import Type
from .shown import Array, Coded, coded_bytes, coded_numbers, distinct_numbers, fixed_binary, fixed_lists

Cells = NDArray[np.uint8]  # (rows, bytes of one column)
Clock = NDArray[np.int64]  # (rows,): nanoseconds from CLOCK_MONOTONIC to UTC


Space = Literal["kernel", "user"]


class Reference(NamedTuple):
    """What a number stands for in the machine that it came from, as a :class:`Lookup` finds it."""

    what: Literal["stack", "address", "syscall"]
    space: Space = "kernel"


class Lookup(Protocol):
    """What the numbers of a record stand for in the machine that it came from.

    ``pids`` holds the process of each number, and is None where a record does not say; the kernel has none.
    """

    machine: str
    """The architecture, as ``uname -m`` has it."""

    def stacks(self, space: Space, ids: Array, pids: Array | None) -> Sequence[str]:
        """Return folded stacks, ``main;read;do_read``, for stack ids; for a negative id the error's name."""

    def addresses(self, space: Space, values: Array, pids: Array | None) -> Sequence[str]:
        """Return symbols, ``vfs_read+0x1f``, for addresses; hexadecimal what none is known of."""

    def remember(self, space: Space, ids: Array, pids: Array | None) -> None:
        """Keep what it takes to answer :meth:`stacks` for these ids later, when process or map may be gone."""


@dataclass(frozen=True)
class Rule:
    """How one column is decoded and shown.

    Attributes
    ----------
    kind
        One word for it: number, bool, enum, text, bytes, list, time, duration, address, port, name, stack or symbol.
    dtype, shape
        Of the decoded values: native byte order, and the shape that one row has.
    read
        Takes bytes (rows, size of the column) and clock offsets (rows,), gives values (may be a view).
    present
        Takes all values, gives what is shown of them: see :mod:`ebpflab.shown`.
    reference
        What a :class:`Lookup` can tell about the values; without one they are presented.
    """

    kind: str
    dtype: np.dtype[Any]
    read: Callable[[Cells, Clock], Array]
    present: Callable[[Array], Any] = lambda values: values
    shape: tuple[int, ...] = ()
    reference: Reference | None = None


def number(source: np.dtype[Any]) -> Rule:
    if source.kind == "b":  # any byte but 0 is true
        return Rule("bool", source, lambda cells, _: cells[:, 0] != 0)
    return Rule("number", source.newbyteorder("="), lambda cells, _: cells.view(source)[:, 0])


def numbers(source: np.dtype[Any], shape: tuple[int, ...]) -> Rule:
    def read(cells: Cells, _: Clock) -> Array:
        flat = cells != 0 if source.kind == "b" else cells.view(source)
        return flat.reshape(len(cells), *shape)

    return Rule("list", source.newbyteorder("="), read, fixed_lists, shape)


def bitfield(dtype: np.dtype[Any], shift: int, bits: int, big_endian: bool) -> Rule:
    # The bytes are one number of up to 72 bits, and shift counts from its lowest bit. Bits that a 64-bit word
    # loses on the left are above the field: shift is below 8 and the field has 64 bits at most.
    def read(cells: Cells, _: Clock) -> Array:
        value = np.zeros(len(cells), np.uint64)
        for i, byte in enumerate((cells[:, ::-1] if big_endian else cells).T):
            place = 8 * i - shift
            wide = byte.astype(np.uint64)
            value |= wide << np.uint64(place) if place >= 0 else wide >> np.uint64(-place)
        value &= np.uint64((1 << bits) - 1)
        if dtype.kind == "i":
            sign = np.uint64(1 << (bits - 1))
            value = (value ^ sign) - sign
        return value.astype(dtype)

    return Rule("bool" if dtype.kind == "b" else "number", dtype.newbyteorder("="), read)


def enum(number: Rule, core: Type, bits: int) -> Rule:
    # Enumerators are cut to the bits that a value has, since old compilers write -1 as 4294967295.
    mask, sign = (1 << bits) - 1, 1 << (bits - 1) if number.dtype.kind == "i" else 0
    names: dict[int, str] = {}
    for name, value in core.values:
        names.setdefault(((value & mask) ^ sign) - sign, name)  # of two names for a number, the first

    def present(values: Array) -> Coded:
        codes, distinct = distinct_numbers(values)
        return Coded.of(codes, [names.get(n, str(n)) for n in distinct.tolist()], names.values())

    return replace(number, kind="enum", present=present)


def text(width: int) -> Rule:
    def read(cells: Cells, _: Clock) -> Array:
        return text_cutter()(cells).view(f"S{width}")[:, 0]

    return Rule("text", np.dtype(f"S{width}"), read, lambda values: coded_bytes(values, _as_text))


def octets(width: int) -> Rule:
    return Rule("bytes", np.dtype(np.uint8), lambda cells, _: cells, fixed_binary, (width,))


# --- Meanings ----------------------------------------------------------------------------------------------


def _time(rule: Rule) -> Rule | None:
    def read(cells: Cells, clock: Clock) -> Array:
        ticks = rule.read(cells, clock)
        utc = ticks.astype(np.int64) + clock
        utc[ticks == 0] = np.iinfo(np.int64).min  # a time that was never set: NaT
        return utc.view("M8[ns]")

    return replace(rule, kind="time", dtype=np.dtype("M8[ns]"), read=read) if _wide(rule) else None


def _duration(rule: Rule) -> Rule | None:
    def read(cells: Cells, clock: Clock) -> Array:
        # Unsigned differences that went below 0 come out as the negative durations that they are.
        return rule.read(cells, clock).astype(np.int64).view("m8[ns]")

    return replace(rule, kind="duration", dtype=np.dtype("m8[ns]"), read=read) if _wide(rule) else None


def _wide(rule: Rule) -> bool:
    return rule.kind == "number" and rule.dtype in (np.int64, np.uint64)


def _integer(rule: Rule, *sizes: int) -> bool:
    return rule.kind == "number" and rule.dtype.kind in "iu" and rule.dtype.itemsize in sizes


def _ipv4(rule: Rule) -> Rule | None:
    # Network order whatever the machine's: the first byte in memory is the first of the text.
    if not (_integer(rule, 4) or rule.shape == (4,)):
        return None
    return replace(number(np.dtype(">u4")), kind="address", present=lambda v: coded_numbers(v, _dotted, by_number=True))


def _ipv6(rule: Rule) -> Rule | None:
    return _bytes_as_text(rule, 16, ipv6_text)


def _ip(rule: Rule) -> Rule | None:
    return _bytes_as_text(rule, 16, ip_text)


def _mac(rule: Rule) -> Rule | None:
    return _bytes_as_text(rule, 6, lambda address: address.hex(":"))


def _bytes_as_text(rule: Rule, width: int, name: Callable[[bytes], str]) -> Rule | None:
    if rule.shape != (width,) or rule.kind != "bytes":
        return None
    return replace(rule, kind="address", present=lambda values: coded_bytes(values, name, by_number=True))


def _port(rule: Rule) -> Rule | None:
    return replace(number(np.dtype(">u2")), kind="port") if _integer(rule, 2) else None


def _error(rule: Rule) -> Rule | None:
    def name(value: int) -> str:
        return tables.errors().get(abs(_signed(value, rule.dtype)), str(_signed(value, rule.dtype))) if value else "OK"

    return _named(rule, name)


def _signal(rule: Rule) -> Rule | None:
    return _named(rule, lambda value: tables.signals().get(value, str(value)))


def _system_call(rule: Rule) -> Rule | None:
    named = _named(rule, lambda value: tables.system_calls().get(value, str(value)))
    return named and replace(named, reference=Reference("syscall"))


def _named(rule: Rule, name: Callable[[int], str]) -> Rule | None:
    if not _integer(rule, 1, 2, 4, 8):
        return None
    return replace(rule, kind="name", present=lambda values: coded_numbers(values, name))


def _refers(what: Literal["stack", "address"], space: Space) -> Callable[[Rule], Rule | None]:
    sizes, kind = ((4, 8), "stack") if what == "stack" else ((8,), "symbol")

    def meaning(rule: Rule) -> Rule | None:
        return replace(rule, kind=kind, reference=Reference(what, space)) if _integer(rule, *sizes) else None

    return meaning


_MAPPED = b"\0" * 10 + b"\xff\xff"  # RFC 4291, 2.5.5.2: IPv4-mapped IPv6 addresses

#: What the name of a typedef or struct says about its values. A meaning takes the rule of the bare type (that of
#: bytes for a struct) and returns a better one, or None if a type of that shape cannot mean it.
MEANINGS: dict[str, Callable[[Rule], Rule | None]] = {
    "ktime_t": _time,  # nanoseconds of CLOCK_MONOTONIC, as bpf_ktime_get_ns() returns
    "duration_t": _duration,  # nanoseconds
    "ipv4_t": _ipv4,
    "struct in_addr": _ipv4,
    "ipv6_t": _ipv6,
    "struct in6_addr": _ipv6,
    "ip_t": _ip,
    "mac_t": _mac,
    "port_t": _port,
    "errno_t": _error,
    "syscall_t": _system_call,
    "signal_t": _signal,
    "kernel_stack_t": _refers("stack", "kernel"),
    "user_stack_t": _refers("stack", "user"),
    "ksym_t": _refers("address", "kernel"),
    "usym_t": _refers("address", "user"),
    # Inspektor Gadget's names for the same things (its include/gadget/types.h). Its gadget_timestamp is another
    # clock, CLOCK_BOOTTIME.
    "gadget_errno": _error,
    "gadget_signal": _signal,
    "gadget_syscall": _system_call,
    "gadget_kernel_stack": _refers("stack", "kernel"),
}

#: What a typedef has to stand for besides: a port_t that somebody else defined is as likely to be in host order.
BASES = {"port_t": "__be16"}


def look_up(rule: Rule, distinct: Array, pids: Array | None, lookup: Lookup) -> Sequence[str]:
    # The texts of distinct numbers that refer to something.
    assert rule.reference is not None
    what, space = rule.reference
    if what == "stack":
        return lookup.stacks(space, stack_ids(distinct), pids)
    if what == "address":
        return lookup.addresses(space, distinct.astype(np.uint64), pids)
    known: Mapping[int, str] = tables.system_calls(lookup.machine)
    return [known.get(number, str(number)) for number in distinct.tolist()]


def stack_ids(values: Array) -> NDArray[np.int64]:
    # bpf_get_stackid() returns a negative error number; people keep it in unsigned fields, too.
    return values.view(f"i{values.dtype.itemsize}").astype(np.int64)


def ipv6_text(address: bytes) -> str:
    # RFC 5952; of its section 5 only the prefix that says that the rest is an IPv4 address.
    if address.startswith(_MAPPED):
        return f"::ffff:{ipaddress.IPv4Address(address[12:])}"
    return str(ipaddress.IPv6Address(address))


def ip_text(address: bytes) -> str:
    # An address of either family in the bytes of IPv6: who declares a member so wants to read 10.0.0.1.
    return ipv6_text(address).removeprefix("::ffff:") if address.startswith(_MAPPED) else ipv6_text(address)


def _dotted(number: int) -> str:
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _signed(value: int, dtype: np.dtype[Any]) -> int:
    # What a negative number is that was put into an unsigned field.
    bits = 8 * dtype.itemsize
    return value - (1 << bits) if value >> (bits - 1) > 0 else value


# --- Text --------------------------------------------------------------------------------------------------


def _as_text(cell: bytes) -> str:
    return cell.partition(b"\0")[0].decode("utf-8", "replace")
