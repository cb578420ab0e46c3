"""A flame graph as one SVG that can be searched and zoomed, by mouse and keys, in a browser and below a notebook cell.

Without its script it is still whole: every box, name and tooltip is plain SVG. Of all boxes one is in the tab order,
as the items of a tree are (https://www.w3.org/WAI/ARIA/apg/patterns/treeview/); arrow keys go from one to the next.
"""

from __future__ import annotations

import zlib
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from .flame_tree import Box, Space, boxes

if TYPE_CHECKING:
    from collections.abc import Callable

    from .flame_tree import Frame

# The hue tells the space, and stays apart from the other one for colour-blind eyes; the shade tells neighbours apart.
SHADES: dict[Space, tuple[str, ...]] = {
    "kernel": ("#6aabdf", "#7fb8e6", "#94c4ea", "#a9d0ee", "#bedcf3"),
    "user": ("#eb9d3a", "#f0a94b", "#f4b966", "#f7c980", "#f9d79b"),
    "": ("#c4c9cf", "#d0d4d9"),
}
WIDTH, ROW, LETTER = 1200, 17, 6.65  # pixels: the picture, a row, a letter of 11 px
_TOP, _BOTTOM, _EDGE = 52, 8, 10

_HERE = Path(__file__).parent


class Svg(str):
    """The text of an SVG, which notebooks show as the picture it is.

    Examples
    --------
    >>> Path("flame.svg").write_text(flame.svg(s.events.df(), "kernel"))
    18211
    """

    __slots__ = ()

    def _repr_html_(self) -> str:
        return str(self)


def shade(name: str, space: Space) -> str:
    """Return the colour of a function as ``#rrggbb``: always the same for the same name and space."""
    shades = SHADES[space]
    return shades[zlib.crc32(name.encode("utf-8", "replace")) % len(shades)]


def clean(name: str) -> str:
    """Return a name without what XML cannot hold, and without what would turn the text around it."""
    return name if name.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def shorten(name: str, letters: int) -> str:
    """Return as much of a name as fits into so many letters; "" if that would not tell anything."""
    if len(name) <= letters:
        return name
    return f"{name[: letters - 1]}\N{HORIZONTAL ELLIPSIS}" if letters > 2 else ""


def render(root: Frame, title: str, amount: Callable[[float], str], note: str, nothing: str) -> Svg:
    """Return a tree as SVG.

    Parameters
    ----------
    root
        What :func:`~ebpflab.plots.flame_tree.fold` returned.
    title
        The line above the picture.
    amount
        How a weight is shown, such as ``1,021 events``.
    note
        The smaller line above the picture.
    nothing
        What a picture without boxes says.
    """
    drawn, _ = boxes(root)
    rows = 1 + max((box.row for box in drawn), default=2)
    height = _TOP + rows * ROW + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ebpflab-flame" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="group" aria-label="{_text(title)}, {_text(note)}"'
        f' data-edge="{_EDGE}" data-full="{WIDTH - 2 * _EDGE}" data-letter="{LETTER}">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{(_HERE / 'flame.css').read_text('utf-8')}</style>",
        f'<text class="about title" x="{_EDGE}" y="22">{_text(title)}</text>',
        *_legend({box.frame.space for box in drawn}),
        '<text class="about small note" x="910" y="46" role="status" aria-live="polite"></text>',
        f'<text class="about small" x="180" y="42">{_text(note)}</text>',
    ]
    if not drawn:
        parts.append(f'<text class="about small" x="{WIDTH // 2}" y="{_TOP + 20}">{_text(nothing)}</text>')
    keys = "functions and what they call; arrow keys walk, Enter zooms, Escape shows all"
    parts += [
        f'<g class="boxes" role="tree" aria-label="{keys}">',
        *(_box(box, root.total, amount) for box in drawn),
        "</g>",
    ]
    if drawn:
        parts.append(f"<script>\n{(_HERE / 'flame.js').read_text('utf-8')}</script>")
    return Svg("\n".join([*parts, "</svg>\n"]))


def _box(box: Box, whole: float, amount: Callable[[float], str]) -> str:
    full = WIDTH - 2 * _EDGE
    x, width = box.left / whole, (box.right - box.left) / whole
    name, top = clean(box.frame.name), _TOP + box.row * ROW
    own = f", {amount(box.frame.own)} in itself" if 0 < box.frame.own < box.frame.total else ""
    space = f" ({box.frame.space})" if box.frame.space else ""
    return (
        f'<g class="box" role="treeitem" aria-level="{box.row + 1}"'
        f' data-name="{_text(name)}" data-row="{box.row}" data-x="{x:.9g}" data-w="{width:.9g}">'
        f"<title>{_text(name)}{space}\n{_text(amount(box.frame.total))}, {100 * width:.2f} %{_text(own)}</title>"
        f'<rect x="{_EDGE + x * full:.2f}" y="{top}" width="{max(width * full - 0.5, 0.2):.2f}" height="{ROW - 1}"'
        f' rx="1" fill="{shade(box.frame.name, box.frame.space)}"/>'
        f'<text x="{_EDGE + x * full + 3:.2f}" y="{top + 12}">'
        f"{_text(shorten(name, int((width * full - 6) / LETTER)))}</text></g>"
    )


def _legend(spaces: set[Space]) -> list[str]:
    parts, x = [], _EDGE
    for space in ("user", "kernel"):
        if space in spaces:
            parts.append(f'<rect x="{x}" y="31" width="12" height="12" rx="1" fill="{SHADES[space][1]}"/>')
            parts.append(f'<text class="about small" x="{x + 17}" y="42">{space}</text>')
            x += 75
    return parts


def _text(value: str) -> str:
    return escape(clean(value))
