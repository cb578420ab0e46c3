# Plots as lines of a terminal: bars, buckets as bpftrace prints them, and shades where a picture has colours.

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import EbpflabError
from ..formatting import number, time_span
from . import suiting
from ._lines import Line, Span, clean, cut, line, pad, sentence, width

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from ..session import Session
    from . import Look
    from .monitor import History

_LOOKED = 20_000  # newest rows that a plot counts; nothing here may grow with the rows held
_HEIGHT = 8
_FUNCTIONS = 10  # of a flame graph
_SPARKS = " ▁▂▃▄▅▆▇█"
_PARTS = ("", *"▏▎▍▌▋▊▉")
_SHADES = " ░▒▓█"
_LABEL = 24  # cells of a name beside its bar


def chart(session: Session, look: Look, history: History, room: int) -> list[Line]:
    # The plot of a look, or the sentence that says why there is none.
    if look.plot == "rate" and len(history.rate) and history.rate.any():
        return _rate(history.rate, history.step, "now", room)
    try:
        events = suiting.stream(session, look)
        frame = events.newest(_LOOKED)
        if not len(frame):
            return [_muted("no events yet")]
        found = suiting.columns(frame, events)
        column = suiting.column(look.plot, look.column, found) if look.plot != "rate" else ""
        weight = look.by if suiting.is_measure(look.by, found) else None
        return _DRAWN[look.plot](frame, column, weight, room)
    except EbpflabError as error:
        return [*sentence(error.what, "error", room), *sentence(error.hint or "", "muted", room)]


def _rate_of(frame: pd.DataFrame, _column: str, _weight: str | None, room: int) -> list[Line]:
    # Of events whose coming nobody watched.
    from ..plots import rate

    found = rate.counts(frame)
    if found is None:
        return [_muted("no event has a time")]
    return _rate(found.counts.sum(axis=0) * (1e9 / found.width), found.width * 1e-9, "the newest", room)


def _rate(rates: NDArray[Any], step: float, last: str, room: int) -> list[Line]:
    import numpy as np

    label = width(number(float(rates.max())))
    size = -(-len(rates) // max(room - label - 4, 1))  # so many steps share a bar
    rates, step = rates[len(rates) % size :].reshape(-1, size).mean(axis=1), step * size
    most = float(rates.max())
    eighths = np.ceil(rates * (8 * _HEIGHT / max(most, 1e-9))).astype(int).tolist()
    lines = [_title("events per second", f"highest {number(most)}/s")]
    for row in range(_HEIGHT - 1, -1, -1):
        bars = "".join(_SPARKS[min(max(each - 8 * row, 0), 8)] for each in eighths)
        scale = {_HEIGHT - 1: number(most), 0: "0"}.get(row, "")
        lines.append(line("  ", Span(pad(scale, label, right=True), "muted"), " ", Span(bars, "bar")))
    first = f"{time_span(len(rates) * step)} before"
    between = " " * max(len(rates) - width(first) - width(last), 1)
    return [*lines, line("  ", Span(f"{'':{label}} {first}{between}{last}", "muted"))]


def _hist(frame: pd.DataFrame, column: str, _weight: str | None, room: int) -> list[Line]:
    from ..plots import histogram

    found = histogram.counts(frame, column)
    if found is None:
        return [_muted(f"no values in {column}")]
    labels = [
        f"[{_edge(low, found)}, {_edge(high, found)})" for low, high in zip(found.edges, found.edges[1:], strict=False)
    ]
    counts = found.counts.sum(axis=0)
    first, last = int(counts.nonzero()[0][0]), int(counts.nonzero()[0][-1])
    unit = f" ({found.unit})" if found.unit else ""
    said = f"newest {len(frame):,} events"
    return [_title(f"{column}{unit}", said), *_bars(labels[first : last + 1], counts[first : last + 1], room, "@")]


def _edge(edge: float, found: Any) -> str:
    from ..plots import style

    return f"{edge:g}" if found.kind == "time" or not found.log2 or edge < 1 else style.binary(edge)


def _top(frame: pd.DataFrame, column: str, weight: str | None, room: int) -> list[Line]:
    from ..plots import top

    found = top.largest(frame, column, weight=weight)
    if found is None:
        return [_muted(f"no values in {column}")]
    what = f"{column} by sum of {weight}" if weight else f"most frequent {column}"
    rest = f", {found.distinct - len(found.names):,} others" if found.distinct > len(found.names) else ""
    shown = [_amount(value, found.kind) for value in found.amounts.tolist()]
    said = f"newest {len(frame):,} events{rest}"
    return [_title(what, said), *_bars(found.names, found.amounts, room, "█", shown)]


def _verdicts(frame: pd.DataFrame, column: str, _weight: str | None, room: int) -> list[Line]:
    from ..plots import verdicts

    found = verdicts.counts(frame, column)
    return [_title(column, f"newest {len(frame):,} events"), *_bars(found.names, found.packets, room, "█")]


def _heatmap(frame: pd.DataFrame, column: str, _weight: str | None, room: int) -> list[Line]:
    from ..plots import data, heatmap

    kind = data.numbers(frame, column).kind
    found = heatmap.cells(frame, column, bins=max(room - _LABEL, 8))
    labels = [_amount(edge, kind) for edge in found.value_edges[:-1].tolist()]
    most = int(found.counts.max())
    said = f"newest {len(frame):,} events, █ is {most:,}"
    rows = list(zip(labels, found.counts.T, strict=True))[::-1]
    return [_title(f"{column} over {_span(found.time_edges)}", said), *_shaded(rows, most)]


def _timeline(frame: pd.DataFrame, column: str, _weight: str | None, room: int) -> list[Line]:
    import numpy as np

    from ..plots import data

    at, valid = data.times(frame)
    groups = data.groups(data.pick(frame, column)[valid], 10)
    bins = max(room - _LABEL, 8)
    edges = np.linspace(at.min(), at.max() + 1, bins + 1)
    places = np.minimum(np.searchsorted(edges, at, side="right") - 1, bins - 1)
    cells = np.bincount(groups.codes * bins + places, minlength=len(groups.names) * bins)
    rows = cells.reshape(len(groups.names), bins)
    most = int(rows.max())
    said = f"newest {len(frame):,} events, █ is {most:,}"
    span = _span(edges.astype("datetime64[ns]"))
    return [_title(f"{column} over {span}", said), *_shaded(list(zip(groups.names, rows, strict=True)), most)]


def _flame(frame: pd.DataFrame, columns: list[str], weight: str | None, room: int) -> list[Line]:
    import numpy as np

    from ..plots import flame

    root, amount = flame.folded(frame, columns, weight)
    found = flame.heaviest(root)[:_FUNCTIONS]
    if not found:
        return [_muted("no event has a stack")]
    counts = np.array([own for _, own in found])
    texts = [f"{amount(own)} {own / root.total:.1%}" for _, own in found]
    picture = f"as a picture: .events.plot.flame_svg({columns!r})"
    title = _title("where stacks end", f"newest {len(frame):,} events")
    return [title, *_bars([name for name, _ in found], counts, room, "█", texts), _muted(picture)]


_DRAWN: dict[str, Callable[..., list[Line]]] = {
    "rate": _rate_of,
    "hist": _hist,
    "top": _top,
    "verdicts": _verdicts,
    "heatmap": _heatmap,
    "timeline": _timeline,
    "flame": _flame,
}


def _bars(labels: Any, counts: NDArray[Any], room: int, letter: str, texts: list[str] | None = None) -> list[Line]:
    texts = texts or [f"{int(count):,}" for count in counts]
    labels = [cut(clean(str(label)), _LABEL) for label in labels]
    wide, digits = max(map(width, labels)), max(map(width, texts))
    longest = max(min(room - wide - digits - 7, 52), 4)
    most = max(float(counts.max()), 1e-12)
    lines = []
    for label, count, text in zip(labels, counts.tolist(), texts, strict=True):
        bar = _bar(count * longest / most, letter)
        head = f"{pad(label, wide)} {pad(text, digits, right=True)} "
        lines.append(line("  ", head, Span("|", "muted"), Span(pad(bar, longest), "bar"), Span("|", "muted")))
    return lines


def _bar(long: float, letter: str) -> str:
    whole = int(long)
    return letter * whole + (_PARTS[int((long - whole) * 8)] if letter == "█" else "")


def _shaded(rows: list[tuple[str, NDArray[Any]]], most: int) -> list[Line]:
    # What is there at all can be seen: one event is a light shade, not none.
    wide = max(width(cut(clean(label), _LABEL - 6)) for label, _ in rows)
    lines = []
    for label, counts in rows:
        cells = "".join(_SHADES[-(-int(count) * 4 // max(most, 1))] for count in counts)
        name = pad(cut(clean(label), _LABEL - 6), wide, right=True)
        lines.append(line("  ", name, Span(" |", "muted"), Span(cells, "bar"), Span("|", "muted")))
    return lines


def _amount(value: float, kind: str) -> str:
    return time_span(value * 1e-9) if kind == "time" else number(value)


def _span(edges: NDArray[Any]) -> str:
    return time_span(float((edges[-1] - edges[0]).astype("timedelta64[ns]").astype("i8")) * 1e-9)


def _title(text: str, said: str) -> Line:
    return line("  ", Span(text, "strong"), "  ", Span(said, "muted"))


def _muted(text: str) -> Line:
    return line("  ", Span(text, "muted"))
