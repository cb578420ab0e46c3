# Which functions of the kernel and of its modules are made for BPF programs to call (kfuncs).
#
# A kernel built with pahole 1.27 or later says so in its BTF, by a declaration tag. Older ones do not, but
# where /proc/kallsyms lists data, it has the names of the sets that kfuncs are declared in: the macros
# BTF_SET8_START and BTF_ID_FLAGS of include/linux/btf_ids.h make a symbol for every set and every member.

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..btf import Btf, Kind
from . import kernel_btf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_KALLSYMS = Path("/proc/kallsyms")

_HEADER = struct.Struct("=HBBIIIII")  # of include/uapi/linux/btf.h
_SYMBOL = re.compile(r"\S+ \S (?:__BTF_ID__(?P<sort>set8|set|func)__)?(?P<name>\w+)\S*(?:\s+\[(?P<module>\w+)\])?")
_TAG = "bpf_kfunc"


class Kfunc(NamedTuple):
    # `btf_id` is its type id, in the BTF of the kernel or of a module.
    name: str
    btf_id: int
    module: str = ""


def kfuncs(kernel: Btf) -> list[Kfunc]:
    # Every kfunc of the kernel, whose BTF is *kernel*, and of its loaded modules.
    found = list(_tagged(kernel, 0, ""))
    members = {} if found else _listed_members()
    found += _named(kernel, 0, "", members)
    own, *others = sorted(kernel_btf.DIRECTORY.iterdir(), key=lambda path: (path.name != "vmlinux", path.name))
    strings = _parts(own.read_bytes())[1] if found and others else b""
    for path in others if found else ():
        module = _split(path.read_bytes(), strings)
        found += [*_tagged(module, len(kernel), path.name), *_named(module, len(kernel), path.name, members)]
    return found


def _listed_members() -> dict[str, list[str]]:
    if not _KALLSYMS.exists():
        return {}
    with _KALLSYMS.open(encoding="ascii", errors="replace") as lines:
        return set_members(lines)


def set_members(lines: Iterable[str]) -> dict[str, list[str]]:
    # The members of sets of kfuncs by module ("" is the kernel), from the lines of /proc/kallsyms.
    members: dict[str, list[str]] = {}
    current = None
    for line in lines:
        # Nearly all lines are of no interest, and there are hundreds of thousands.
        if "__BTF_ID__" not in line and current is None:
            continue
        symbol = _SYMBOL.match(line)
        sort, name = (symbol["sort"], symbol["name"]) if symbol else (None, "")
        if sort in ("set8", "set"):
            # Before Linux 6.0 kfuncs were in sets like any other, and only the set's name tells.
            current = name if sort == "set8" or "kfunc" in name else None
        elif sort == "func" and current is not None and symbol:
            members.setdefault(symbol["module"] or "", []).append(re.sub(r"__\d+$", "", name))
        elif name != current:  # a set has two symbols
            current = None
    return members


def _tagged(btf: Btf, first: int, module: str) -> Iterator[Kfunc]:
    for tag in btf.of_kind(Kind.DECL_TAG):
        if tag.name == _TAG and tag.component < 0:
            yield Kfunc(btf[tag.type_id - first].name, tag.type_id, module)


def _named(btf: Btf, first: int, module: str, members: dict[str, list[str]]) -> Iterator[Kfunc]:
    functions = ((name, btf.find(name, Kind.FUNC)) for name in dict.fromkeys(members.get(module, ())))
    yield from (Kfunc(name, function.id + first, module) for name, function in functions if function)


def _split(data: bytes, base: bytes) -> Btf:
    # A module's BTF goes on where the kernel's ends, type ids as well as strings. Read with the kernel's strings
    # before its own, its names come out right; its type ids start at 1 and are too small by those of the kernel.
    types, strings = _parts(data)
    strings = base + strings
    header = _HEADER.pack(0xEB9F, 1, 0, _HEADER.size, 0, len(types), len(types), len(strings))
    return Btf.parse(header + types + strings)


def _parts(data: bytes) -> tuple[bytes, bytes]:
    # The type section and the string section.
    _, _, _, size, type_start, type_size, string_start, string_size = _HEADER.unpack_from(data)
    return data[size + type_start :][:type_size], data[size + string_start :][:string_size]
