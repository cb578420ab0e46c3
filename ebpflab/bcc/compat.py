# What other kernels call what this kernel has: macros that BTF decides on, so that older programs compile.

from __future__ import annotations

import re
from collections.abc import Iterator

from ..btf import Btf, Kind, Member


def macros(btf: Btf) -> Iterator[tuple[str, str]]:
    # Name and definition of each.
    yield from _dentry(btf)
    for enum in btf.of_kind(Kind.ENUM, Kind.ENUM64):
        for value in enum.values:
            # include/linux/blk_types.h and gfp_types.h name bits in an enum, and the masks in macros.
            if value.name.startswith("__REQ_"):
                yield _define(value.name[2:], f"(1ULL << {value.name})")
            elif found := re.fullmatch(r"_(__GFP_\w+)_BIT", value.name):
                yield _define(found[1], f"((gfp_t)(1UL << {value.name}))")


def _dentry(btf: Btf) -> Iterator[tuple[str, str]]:
    # The name inside a dentry was char d_iname[DNAME_INLINE_LEN], and is a union since 6.14.
    members = _members(btf, "dentry")
    if inline := members.get("d_iname"):
        yield _define("DNAME_INLINE_LEN", str(btf.sizeof(inline.type_id)))
    elif short := members.get("d_shortname"):
        yield _define("DNAME_INLINE_LEN", str(btf.sizeof(short.type_id)))
        yield _define("d_iname", "d_shortname.string")


def _members(btf: Btf, tag: str) -> dict[str, Member]:
    found = btf.find(tag, Kind.STRUCT)
    return {member.name: member for member in found.members} if found else {}


def _define(name: str, text: str) -> tuple[str, str]:
    return name, f"#define {name} {text}\n"
