# What the verifier knows of a register or a stack slot, from the words of print_verifier_state(). They were
# `R1_w=inv(id=0,umax_value=31)` until Linux 5.15, and are `R1=scalar(umax=31)` today.

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

# The counts keep a mutilated line from costing the square of its length.
_VALUE = re.compile(r"\b(R\d{1,2}|fp-\d{1,4})(?:_\w+)?=((?:[^\s()]|\((?:[^()]|\([^()]{0,200}\)){0,900}\))*)")
_HEAD = re.compile(r"P?([a-zA-Z_]\w*?)?(?:\[\d+\])?([+-]?(?:0x[0-9a-f]+|\d+))?(?:\((.*)\))?$")
_FIELD = re.compile(r"(?:[^,()]|\([^()]*\))+")
_STATE = 16_000  # characters of one printed state
_MOST = 1200  # characters of one value

UNSIGNED = 2**64 - 1
_NAMES = {"umin_value": "umin", "umax_value": "umax", "smin_value": "smin", "smax_value": "smax"}


@dataclass(frozen=True)
class Value:
    # `kind` is the kernel's word (ctx, fp, map_value, pkt, scalar, ptr_...), without `_or_null`; "" for a stack slot
    # of plain bytes. Bounds are None where the log shows none, and both the number itself for a known number.
    words: str
    kind: str = ""
    maybe_null: bool = False
    offset: int = 0
    umin: int | None = None
    umax: int | None = None
    smin: int | None = None
    smax: int | None = None
    more: dict[str, str] = field(default_factory=dict)  # the other fields: id, ref_obj_id, map, ks, vs, sz, r ...

    @property
    def number(self) -> int | None:
        # The value of a known number.
        return self.umin if self.kind == "scalar" and self.umin == self.umax else None

    @property
    def unbounded(self) -> bool:
        # Whether a number, or what was added to a pointer, has no upper bound that a memory access could do with.
        low = self.smin is None and self.umin is None and self.umax is None
        return (self.umax is None or self.umax >= 2**29) or (self.smin is not None and self.smin < 0) or low

    @property
    def moved(self) -> bool:
        # Whether a number was added to a packet pointer that is not known: only then it has an id.
        return self.more.get("id", "0") != "0"

    @property
    def checked(self) -> int:
        # The bytes of a packet that were compared with its end.
        return _int(self.more.get("r", "0")) or 0


def _int(text: str) -> int | None:
    try:
        return int(text, 0) if len(text) < 25 else None
    except ValueError:
        return None


def registers(state: str) -> dict[str, str]:
    # The words of each register and slot in one printed state.
    return dict(_VALUE.findall(state[:_STATE]))


@lru_cache(maxsize=2048)
def value(words: str) -> Value:
    # The parsed form of one register's words.
    match = _HEAD.match(words, 0, _MOST)
    if match is None:
        return Value(words)
    name, number = match[1] or "", _int(match[2] or "")
    more = dict(_fields(match[3] or ""))
    kind = name.replace("_or_null", "")  # ptr_or_null_task_struct, map_value_or_null
    if kind in ("inv", "invP", "scalar", "") and words[:2] != "fp":  # P: known precisely
        kind = "scalar" if kind or number is not None else ""
    bounds = {key: _int(more.pop(key, "")) for key in ("umin", "umax", "smin", "smax")}
    if kind == "scalar" and number is not None:
        bounds = {"umin": number & UNSIGNED, "umax": number & UNSIGNED, "smin": number, "smax": number}
    offset = _int(more.pop("off", "")) or (number if kind != "scalar" else 0) or 0
    return Value(words, kind, "_or_null" in name, offset, **bounds, more=more)


def _fields(text: str) -> Iterator[tuple[str, str]]:
    # `smin=smin32=0` gives both names one value; `umax_value` is the old name of `umax`.
    for piece in _FIELD.findall(text):
        *names, what = piece.split("=")
        yield from ((_NAMES.get(name, name), what) for name in names)


def short(words: str) -> str:
    # The state of a register in a few words of English.
    found = value(words)
    if found.kind == "scalar":
        return _number(found)
    null = ", or NULL" if found.maybe_null else ""
    described = _POINTERS.get(found.kind)
    if described is None:
        described = f"pointer to struct {found.kind.partition('ptr_')[2]}" if "ptr_" in found.kind else found.kind
    if found.kind == "map_value" and "map" in found.more:
        described = f"value of map {found.more['map']}"
    if found.kind.startswith("pkt") and found.kind != "pkt_end":
        return f"packet + {found.offset}, {found.checked} bytes of it checked"
    if found.kind == "fp":
        return f"stack, fp{found.offset:+d}" if found.offset else "stack"
    return f"{described}{f' + {found.offset}' if found.offset else ''}{null}" or words


_POINTERS = {
    "ctx": "context",
    "map_ptr": "map",
    "map_value": "map value",
    "pkt_end": "end of the packet",
    "mem": "memory",
    "ringbuf_mem": "record of a ring buffer",
    "alloc_mem": "record of a ring buffer",
    "rdonly_mem": "read-only memory",
    "sock": "socket",
    "sock_common": "socket",
    "tcp_sock": "TCP socket",
    "func": "function",
}


def _number(found: Value) -> str:
    if found.number is not None:
        return str(found.smin)
    if found.umax is not None and found.umax < UNSIGNED:
        return f"number {found.umin or 0}..{found.umax}"
    if found.smax is not None or found.smin is not None:
        low = "" if found.smin is None else found.smin
        return f"number {low}..{'' if found.smax is None else found.smax}"
    return "number of any value"
