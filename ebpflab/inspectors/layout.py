"""The layout of structs that the kernel hands to programs, from the running kernel's BTF."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..btf import Btf, Kind
from ..errors import KernelSupportError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..btf import Type

_VMLINUX = Path("/sys/kernel/btf/vmlinux")


class Field(NamedTuple):
    """A member, also of an anonymous struct or union inside: offset and size in bytes.

    ``length`` is that of an array and 0 for anything else; ``bits`` is the width of a bitfield, which starts
    ``bit`` bits into the byte at ``offset``, and 0 for anything else.
    """

    name: str
    offset: int
    size: int
    length: int
    c_type: str
    declaration: str
    bit: int = 0
    bits: int = 0


@functools.lru_cache(maxsize=1)
def vmlinux() -> Btf:
    """Return the types of the running kernel, without those of its modules; read once.

    Raises
    ------
    KernelSupportError
        The kernel carries no BTF.
    PrivilegeError
        This process may not read it.
    """
    try:
        return Btf.parse(_VMLINUX.read_bytes())
    except FileNotFoundError:
        hint = "it takes a kernel built with CONFIG_DEBUG_INFO_BTF=y"
        raise KernelSupportError("this kernel carries no BTF", hint=hint) from None
    except PermissionError:
        cause = "CAP_DAC_READ_SEARCH"
        raise PrivilegeError(f"{_VMLINUX} cannot be read", cause=cause, hint=f"it takes {cause}") from None


def fields(btf: Btf, struct: Type) -> tuple[Field, ...]:
    """Return the members of a struct in order; those of anonymous structs and unions inside stand for these.

    Examples
    --------
    >>> btf = vmlinux()
    >>> [f.name for f in fields(btf, btf.find("xdp_md", Kind.STRUCT))][:2]
    ['data', 'data_end']
    """
    return tuple(_fields(btf, struct, 0))


def _fields(btf: Btf, struct: Type, base: int) -> Iterator[Field]:
    for member in struct.members:
        core = btf.strip(member.type_id)
        bit, bits = btf.bit_range(member)
        offset = base + bit // 8
        if not member.name and core.kind in (Kind.STRUCT, Kind.UNION):
            yield from _fields(btf, core, offset)
        elif member.name:
            length = core.length if core.kind is Kind.ARRAY else 0
            spelled, declared = btf.c_type(member.type_id), btf.c_type(member.type_id, member.name)
            yield Field(member.name, offset, btf.sizeof(member.type_id), length, spelled, declared, bit % 8, bits)
