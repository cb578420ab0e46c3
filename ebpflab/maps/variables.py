"""Global variables of a program as a mapping."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from ..btf import Btf
from ..btf_program import variables
from ..engines.base import Handle
from ..errors import CellError, DecodeError, MapError, SessionError
from ..similar import nearest
from ._values import TextNode
from .codec import Codec, sized, typed

_SECTIONS = (".rodata", ".data", ".bss")
_LOSS_SECTION = ".data.ebpflab"  # the prelude's, see ebpflab.losses
_BPF_F_MMAPABLE = 1 << 10


@dataclass(frozen=True)
class _Variable:
    section: str
    offset: int
    codec: Codec
    c_type: str

    @property
    def place(self) -> slice:
        return slice(self.offset, self.offset + self.codec.size)


class _Section:
    # The bytes of one section: libbpf's initial image before load, the map's own pages after it.
    def __init__(self, handle: Handle, name: str) -> None:
        self._handle, self._name = handle, name
        self._pages: mmap.mmap | None = None
        self._closed = False

    def bytes(self) -> memoryview:
        pages = self._pages  # another thread may close meanwhile, and libbpf's image goes with the object
        if pages is None and self._closed:
            raise _closed()
        return memoryview(pages) if pages is not None else self._handle.initial(self._name)

    def map_pages(self, fd: int, size: int) -> None:
        # A copy of the descriptor is not needed: a mapping holds its own reference to the map.
        length = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        writable = not self._name.startswith(".rodata")
        self._pages = mmap.mmap(fd, length, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0))

    def close(self) -> None:
        self._closed = True
        self._pages = None  # the mapping goes when the last thread that reads it lets go


_OWN = ("_sections", "_variables", "_state")  # attributes that are no variables of the program


class Variables(MutableMapping[str, Any]):
    """The global variables of a session: ``s.vars["limit"] = 10``, or ``s.vars.limit = 10``.

    Variables of ``.data`` and ``.bss`` can be read and written at any time; ``const volatile`` ones
    (``.rodata``) are set before the program is loaded and are constants to the verifier from then on.
    Scalars are Python numbers and bools, arrays of ``char`` are str, other arrays tuples, structs records: see
    :mod:`ebpflab.maps.codec`. What is read is a copy, so a struct is assigned as a whole, and fields that are left
    out become 0: ``s.vars["config"] = {"pid": 1}``. Programs may run meanwhile, and see it half written. A variable
    that has the name of a mapping's method, such as ``values``, is found in brackets only.

    Raises
    ------
    KeyError
        For a name that the program does not define; as an attribute, AttributeError.
    MapError
        When a value does not fit the variable's type.
    SessionError
        When a constant is written after load, or the session is closed.

    Examples
    --------
    >>> s.vars["min_ns"] = 1_000_000
    >>> s.vars["dropped"]
    0
    """

    def __init__(self, handle: Handle, btf: Btf) -> None:
        self._sections: dict[str, _Section] = {}
        self._variables: dict[str, _Variable] = {}
        self._state = "open"
        for info in handle.maps():
            base = next((s for s in _SECTIONS if info.name == s or info.name.startswith(s + ".")), None)
            if not info.internal or base is None or info.name.startswith((_LOSS_SECTION, ".rodata.str")):
                continue
            self._sections[info.name] = _Section(handle, info.name)
            for name, type_id, offset, size in variables(btf, info.name):
                self._variables[name] = _Variable(info.name, offset, _codec(btf, type_id, size), btf.c_type(type_id))

    def loaded(self, handle: Handle) -> None:
        # From here on the kernel's copy is the real one.
        for info in handle.maps():
            if info.name in self._sections and info.flags & _BPF_F_MMAPABLE and info.fd is not None:
                self._sections[info.name].map_pages(info.fd, info.value_size)
        self._state = "loaded"

    def close(self) -> None:
        self._state = "closed"
        for section in self._sections.values():
            section.close()

    def __getitem__(self, name: str) -> Any:
        variable = self._find(name)
        return variable.codec.decode(bytes(self._bytes(variable)[variable.place]))

    def __setitem__(self, name: str, value: Any) -> None:
        variable = self._find(name)
        if self._state == "loaded" and variable.section.startswith(".rodata"):
            raise SessionError(
                f"{name} is a constant of the loaded program",
                hint=f"set it at load: ebpflab.load(..., vars={{'{name}': ...}}) or %%bpf --var {name}=...",
            )
        self._bytes(variable)[variable.place] = _pack(name, variable, value)

    def __delitem__(self, name: str) -> None:
        raise SessionError("global variables of a program cannot be deleted")

    def __getattr__(self, name: str) -> Any:
        # Asked for what the class does not have; notebooks ask every object for a dozen names of their own.
        if name in _OWN:
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
            return
        try:
            self[name] = value
        except KeyError as error:
            raise AttributeError(error.args[0]) from None

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        if self._state == "closed":
            return "<variables of a closed session>"
        return (
            "\n".join(f"{v.c_type} {name} = {self[name]!r}  ({v.section})" for name, v in self._variables.items())
            or "<none>"
        )

    def _find(self, name: str) -> _Variable:
        if name not in self._variables:
            near = nearest(name, list(self._variables))
            raise KeyError(
                f"the program has no global variable {name!r}" + (f"; did you mean {', '.join(near)}?" if near else "")
            )
        return self._variables[name]

    def _bytes(self, variable: _Variable) -> memoryview:
        if self._state == "closed":
            raise _closed()
        return self._sections[variable.section].bytes()


def _closed() -> SessionError:
    return SessionError("the session is closed", hint="read variables before close(), or load the cell again")


def set_before_load(variables_: Variables, values: Mapping[str, Any]) -> None:
    """Set the variables of ``--var``; raises CellError for a name or a value that does not fit."""
    for name, value in values.items():
        try:
            variables_[name] = value
        except KeyError as error:
            known = ", ".join(variables_) or "none"
            raise CellError(str(error.args[0]), hint=f"global variables of this cell: {known}") from None
        except MapError as error:
            hint = error.hint or "give a value of the variable's C type"
            raise CellError(f"--var {name}={value!r}: {error.what}", hint=hint) from None


def _codec(btf: Btf, type_id: int, size: int) -> Codec:
    try:
        return typed(btf, type_id)
    except DecodeError:  # a type that no column can show, such as a flexible array; its bytes can be read
        return sized(size)


def _pack(name: str, variable: _Variable, value: Any) -> bytes:
    data = variable.codec.encode(value, name)
    if isinstance(variable.codec.node, TextNode) and data[-1]:
        # In a map such text may be a key that is compared; a program reads a variable up to its NUL.
        raise MapError(f"{name}: {value!r} does not fit into {variable.c_type} with the NUL that ends it")
    return data
