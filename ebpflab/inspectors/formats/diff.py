"""How the record of a tracepoint differs between two kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from .parser import Field


def compare(here: Sequence[Field], there: Sequence[Field]) -> pd.DataFrame:
    """Return the fields of two records side by side; see :meth:`ebpflab.inspectors.tracefs.Format.compare`.

    Examples
    --------
    >>> compare([Field("pid", "int", 8, 4, True)], [Field("pid", "int", 16, 4, True)])["change"].tolist()
    ['moved']
    """
    import pandas as pd

    ours, theirs = ({field.name: field for field in fields} for fields in (here, there))
    names = [*ours, *(name for name in theirs if name not in ours)]
    rows = [
        (name, change(ours.get(name), theirs.get(name)), _placed(ours.get(name)), _placed(theirs.get(name)))
        for name in names
    ]
    return pd.DataFrame(rows, columns=["field", "change", "here", "there"]).astype(str)


def change(here: Field | None, there: Field | None) -> str:
    """Return what became of a field on the way from here to there, in one word or several."""
    if here is None or there is None:
        return "added" if here is None else "removed"
    words = []
    if _type(here) != _type(there) or here.signed != there.signed:
        words.append("retyped")
    if here.size != there.size:
        words.append("resized")
    if here.offset != there.offset:
        words.append("moved")
    return ", ".join(words) or "same"


def _type(field: Field) -> str:
    # Kernels differ in where they write blanks.
    return "".join(field.type.split())


def _placed(field: Field | None) -> str:
    if field is None:
        return ""
    sign = "signed" if field.signed else "unsigned"
    what = field.type if "*" in field.type or "[" in field.type else f"{field.type} ({sign})"
    return f"{what} at {field.offset}, {field.size} bytes"
