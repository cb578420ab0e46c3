"""A tool's answer: the frame and the picture that its header names, as expressions of a session ``s``.

The expressions are Python's, of attributes, keys and calls with plain values, such as
``s.maps["latency"].df().sort_values("count", ascending=False)``, and are walked instead of evaluated: what runs is
known from the text.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from ..errors import SessionError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from ..session import Session

_ROWS = "s.events.df()"
_ABSENT = "[EFAULT]"
_PLOT = "s.events.plot.rate()"


def rows(session: Session) -> pd.DataFrame:
    """Return what a session's tool answers, as a frame; of any other cell the events.

    Raises
    ------
    EbpflabError
        The session is closed, or has no events or more than one stream.
    """
    frame: pd.DataFrame = _value(_parsed(session.tool.rows if session.tool and session.tool.rows else _ROWS), session)
    return _without_absent(frame)


def _without_absent(frame: pd.DataFrame) -> pd.DataFrame:
    # A thread that was in user space has no stack in the kernel: bpf_get_stackid() says EFAULT, and that is no error.
    for name in frame.columns:
        column = frame[name]
        if hasattr(column, "cat"):
            if _ABSENT in column.cat.categories:
                frame[name] = column.cat.rename_categories({_ABSENT: ""})
        elif column.dtype.kind == "O":
            frame[name] = column.where(column != _ABSENT, "")
    return frame


def counted(session: Session) -> bool:
    """Tell whether the answer is counted in maps, and not a stream of events."""
    return session.tool is not None and "s.maps[" in session.tool.rows


def plot(session: Session, ax: Axes | None = None) -> Axes:
    """Draw the picture that suits a session's tool; of any other cell the rate of its events."""
    text = session.tool.plot if session.tool and session.tool.plot else _PLOT
    axes: Axes = _value(_parsed(text), session, {} if ax is None else {"ax": ax})
    return axes


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _value(node: ast.expr, session: Session, extra: dict[str, Any] | None = None) -> Any:
    # `extra` are arguments of the outermost call.
    if isinstance(node, ast.Name) and node.id == "s":
        return session
    if isinstance(node, ast.Attribute) and not node.attr.startswith("_"):
        return getattr(_value(node.value, session), node.attr)
    if isinstance(node, ast.Subscript):
        return _value(node.value, session)[_value(node.slice, session)]
    if isinstance(node, ast.Call):
        function = _value(node.func, session)
        named = {word.arg: _value(word.value, session) for word in node.keywords if word.arg}
        return function(*(_value(each, session) for each in node.args), **named, **(extra or {}))
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise SessionError(f"{ast.unparse(node)} is no expression for a tool's answer") from error
