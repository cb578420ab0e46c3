"""What a C struct and an enumerator look like in Python."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any, ClassVar


class Record(tuple[Any, ...]):
    """A C struct read from a map or variable: an immutable tuple that knows the names of its fields.

    ``v.count`` and ``v["count"]`` read a field, whatever it is called; ``dict(v)`` has them by name. It equals a
    tuple of the same values and a dict of the same names and values, and can be a key of a dict. It is a copy:
    to change what the kernel has, assign the whole value, as in ``m[k] = {**m[k], "count": 0}``.

    Examples
    --------
    >>> s.maps["start"][1234]
    entry(ts=17382, cpu=1)
    """

    __slots__ = ()
    _name: ClassVar[str] = ""
    _fields: ClassVar[tuple[str, ...]] = ()

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._fields:
                raise KeyError(f"{self._name} has no field {key!r}: it has {', '.join(self._fields)}")
            return tuple.__getitem__(self, self._fields.index(key))
        return tuple.__getitem__(self, key)

    def __eq__(self, other: object) -> bool:
        return self._asdict() == other if isinstance(other, Mapping) else tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __repr__(self) -> str:
        return f"{self._name}({', '.join(f'{n}={v!r}' for n, v in self._pairs())})"

    def keys(self) -> tuple[str, ...]:
        """Return the names of the fields; that there are keys makes ``dict(v)`` and ``{**v}`` work."""
        return self._fields

    def _asdict(self) -> dict[str, Any]:
        return dict(self._pairs())

    def _pairs(self) -> Iterator[tuple[str, Any]]:
        return zip(self._fields, self, strict=True)


@functools.cache
def record_class(name: str, fields: tuple[str, ...]) -> type[Record]:
    # Fields are properties of a class of their own: `count` and `index` are methods of every tuple. A field called
    # like a method of Record itself can be read as v["keys"] only.
    own = {"keys", "_name", "_fields", "_asdict", "_pairs"}
    reading = {field: property(itemgetter(i)) for i, field in enumerate(fields) if field not in own}
    return type(name, (Record,), {"__slots__": (), "_name": name, "_fields": fields, **reading})


class Named(int):
    """A value of a C enum: an int that shows its name.

    Examples
    --------
    >>> s.vars["mode"], s.vars["mode"].name, s.vars["mode"] == 9
    (ALL (9), 'ALL', True)
    """

    name: str

    def __new__(cls, value: int, name: str) -> Named:
        made = super().__new__(cls, value)
        made.name = name
        return made

    def __repr__(self) -> str:
        return f"{self.name} ({int(self)})"
