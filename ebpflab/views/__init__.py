"""What a live view shows, without knowing where: numbers, rows, pictures and listings as plain values.

``jupyter.view`` puts them into a widget, :mod:`ebpflab.views.terminal` into a terminal.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ..errors import EbpflabError
from ..similar import did_you_mean, nearest

if TYPE_CHECKING:
    from ..session import Session

TABS = ("table", "plot", "maps", "code", "log")
_KINDS = {str: "a text", int: "a whole number", float: "a number", bool: "True or False"}
_GROUND = ("dark", "width", "scale")  # what only a page knows
PLOTS = ("rate", "hist", "top", "heatmap", "timeline", "flame", "verdicts")


@dataclass(frozen=True)
class Look:
    """What somebody looks at; a value, so that a change of it is seen by comparing.

    Attributes
    ----------
    tab
        ``table``, ``plot``, ``maps``, ``code`` or ``log``.
    stream
        Which stream the table and the plot show; empty for the first.
    rows
        How many rows the table shows, 1 to 200.
    filter
        Which rows, in the words of :func:`ebpflab.views.rows.newest`.
    sort, descending
        The column that orders the rows, empty for the newest first; and which way.
    plot, column, by
        Which plot, of which column, told apart by which other column; empty for what suits.
    map
        The map whose entries are shown; empty for the first.
    program
        The program whose code is shown; empty for the first.
    dark, width, scale
        Whether the ground is dark; pixels there are for a plot, and how many dots a pixel has.
    """

    tab: str = "table"
    stream: str = ""
    rows: int = 20
    filter: str = ""
    sort: str = ""
    descending: bool = True
    plot: str = "rate"
    column: str = ""
    by: str = ""
    map: str = ""
    program: str = ""
    dark: bool = False
    width: int = 760
    scale: float = 1.0

    def changed(self, **options: Any) -> Look:
        """Return this look with some options changed.

        Raises
        ------
        EbpflabError
            When there is no such option, tab or plot, or a value is not of its kind.

        Examples
        --------
        >>> Look().changed(plot="top", column="comm")
        """
        known = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        for name, value in options.items():
            if name not in known:
                raise _unknown("option", name, [each for each in known if each not in _GROUND])
            number = known[name] is float and isinstance(value, int)
            if not isinstance(value, known[name]) and not number:
                wanted = _KINDS[known[name]]
                raise EbpflabError(f"{name}={value!r} is not {wanted}", hint=f"give {wanted}", stage="view")
        # Who asks for a plot wants to see it.
        if "plot" in options and "tab" not in options:
            options["tab"] = "plot"
        new = replace(self, **options)
        for name, value, names in (("tab", new.tab, TABS), ("plot", new.plot, PLOTS)):
            if value not in names:
                raise _unknown(name, value, list(names))
        return replace(
            new,
            rows=min(max(new.rows, 1), 200),
            width=min(max(new.width, 240), 2000),
            scale=float(min(max(new.scale, 1.0), 3.0)),
        )


def view(session: Session, **options: Any) -> Any:
    """Return the live view of a session that suits the place: a widget in a notebook, else text.

    Raises
    ------
    EbpflabError
        When there is no such tab, stream, plot or column.

    Examples
    --------
    >>> view(s, plot="rate")
    """
    import ebpflab  # the front door: it alone knows whether there is a notebook

    from .entries import names as maps
    from .suiting import choices, misfit

    if not session.streams and not {"tab", "plot", "program"} & options.keys():
        options["tab"] = "maps" if maps(session) else "code"  # there will be no events
    look = Look().changed(**options)
    for kind, name, names in (
        ("stream", look.stream, list(session.streams)),
        ("map", look.map, list(maps(session))),
        ("program", look.program, [p.name for p in session._programs]),
    ):
        if name and name not in names:
            raise _unknown(kind, name, names)
    columns = [name for name, _ in choices(session, look)]
    for name in filter(None, (look.column, look.by, look.sort)):
        if columns and name not in columns:
            raise _unknown("column", name, columns)
    unfit = misfit(look, choices(session, look)) if options.keys() & {"plot", "column"} else None
    if unfit is not None:
        raise unfit
    return ebpflab._viewer(session, look)


def _unknown(kind: str, name: str, names: list[str]) -> EbpflabError:
    hint = did_you_mean(nearest(name, names)) or f"there are {', '.join(names) or 'none'}"
    return EbpflabError(f"there is no {kind} {name!r}", hint=hint, stage="view")
