"""How much a stream keeps, in rows, bytes or seconds, and how large a buffer is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import CellError

_DEFAULT_ROWS = 1_000_000
_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SECONDS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_HINT = "rows: 1e6; bytes: 200MB or 1GiB; age: 60s, 5m or 1h"


@dataclass(frozen=True)
class Keep:
    """A cap on what a store holds; with several caps the tightest one counts.

    Parameters
    ----------
    rows
        Records, at least 1.
    bytes
        Bytes of raw records, at least 1.
    seconds
        Age since arrival. On its own it does not bound memory: a fast stream holds rate * seconds records.

    Raises
    ------
    CellError
        If no cap is given, or one is not positive.

    Examples
    --------
    >>> Keep.parse("200MB")
    Keep(rows=None, bytes=200000000, seconds=None)
    """

    rows: int | None = None
    bytes: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        caps = [cap for cap in (self.rows, self.bytes, self.seconds) if cap is not None]
        if not caps or not all(cap > 0 for cap in caps):
            raise CellError("a stream has to keep something: rows, bytes or seconds above zero", hint=_HINT)

    @classmethod
    def parse(cls, text: str | int | float | Keep | None) -> Keep:
        """Read a cap as users write it: ``1e6``, ``"200MB"``, ``"60s"``; None is a million rows.

        Raises
        ------
        CellError
            If it cannot be read, with the forms that can.

        Examples
        --------
        >>> Keep.parse("1e6").rows
        1000000
        """
        if isinstance(text, Keep):
            return text
        if text is None:
            return cls(rows=_DEFAULT_ROWS)
        match = re.fullmatch(
            r"\s*(\d[\d_]*(?:\.\d*)?(?:[eE]\+?\d{1,3})?)\s*([A-Za-z]*)\s*", "" if text is True else str(text)
        )
        if match is None:
            raise CellError(f"cannot keep {text!r}", hint=_HINT)
        number, unit = float(match[1]), match[2]
        if number == float("inf"):
            raise CellError(f"cannot keep {text!r}: a cap has to be finite", hint=_HINT)
        if not unit:
            return cls(rows=int(number))
        if unit in _SECONDS:  # lower case only: "1M" could be a million, a megabyte or a minute
            return cls(seconds=number * _SECONDS[unit])
        if unit.lower() in _BYTES:
            return cls(bytes=int(number * _BYTES[unit.lower()]))
        raise CellError(f"cannot keep {text!r}: no unit is called {unit!r}", hint=_HINT)


def buffer_bytes(text: str | int) -> int:
    """Read the size of a buffer as users write it: ``"64MiB"``, ``"16MB"``, or a number of bytes.

    Raises
    ------
    CellError
        If it cannot be read.

    Examples
    --------
    >>> buffer_bytes("64MiB")
    67108864
    """
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d*)?)\s*([A-Za-z]*)\s*", str(text))
    unit = (match[2] or "b").lower() if match else ""
    if match is None or unit not in _BYTES or not float(match[1]):
        raise CellError(f"{text!r} is not the size of a buffer", hint="bytes: 64MiB, 16MB or 1048576")
    return int(float(match[1]) * _BYTES[unit])
