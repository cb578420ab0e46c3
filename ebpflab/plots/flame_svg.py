"""A flame graph as one SVG that can be searched and zoomed, in a browser and below a notebook cell.

Without its script it is still whole: every box, name and tooltip is plain SVG. The script holds neither ``<`` nor
``&``, so that it reads the same as XML (a saved file) and as HTML (a notebook's output).
"""

from __future__ import annotations

import zlib
from html import escape
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

_CSS = """\
.ebpflab-flame { max-width: 100%; height: auto; font: 11px "DejaVu Sans Mono", Menlo, Consolas, monospace;
  color: var(--jp-content-font-color1, var(--vscode-editor-foreground, #222)) }
.ebpflab-flame .about { fill: currentColor }
.ebpflab-flame .title { font: bold 15px system-ui, sans-serif }
.ebpflab-flame .small { font: 12px system-ui, sans-serif }
.ebpflab-flame .box text { fill: #111; pointer-events: none }
.ebpflab-flame .box:hover rect { stroke: #000; stroke-width: 1 }
.ebpflab-flame .under rect { fill: #d9dde1 }
.ebpflab-flame .hit rect { fill: #b3006b }
.ebpflab-flame .hit text { fill: #fff }
.ebpflab-flame .live .box, .ebpflab-flame .button { cursor: pointer }
.ebpflab-flame .button { text-decoration: underline }
.ebpflab-flame input { box-sizing: border-box; width: 100%; height: 22px; font: 12px system-ui, sans-serif }
"""

# Boxes know their place as data-x and data-w; a click spreads that place over the whole width.
_SCRIPT = """\
(() => {
const svg = document.currentScript.closest("svg"), NS = "http://www.w3.org/2000/svg";
const stage = svg.querySelector(".boxes"), note = svg.querySelector(".note"), EDGE = %(edge)d, FULL = %(full)d;
const all = Array.from(stage.children, g => ({ g, rect: g.querySelector("rect"), text: g.querySelector("text"),
  name: g.dataset.name, row: Number(g.dataset.row), x: Number(g.dataset.x), w: Number(g.dataset.w) }));
stage.classList.add("live");
let wanted = "", focus = all[0];
const inside = (a, b) => a.x >= b.x - 1e-9 ? b.x + b.w + 1e-9 >= a.x + a.w : false;
function zoom(to) {
  focus = to;
  for (const b of all) {
    const under = to.row > b.row ? inside(to, b) : false;
    const shown = under ? true : b.row >= to.row ? inside(b, to) : false;
    b.g.style.display = shown ? "" : "none";
    b.g.classList.toggle("under", under);
    if (!shown) continue;
    const width = under ? FULL : b.w / to.w * FULL, x = under ? EDGE : EDGE + (b.x - to.x) / to.w * FULL;
    b.rect.setAttribute("x", x);
    b.rect.setAttribute("width", Math.max(width - .5, .2));
    b.text.setAttribute("x", x + 3);
    const room = Math.floor((width - 6) / %(letter)s);
    b.text.textContent = room >= b.name.length ? b.name : room > 2 ? b.name.slice(0, room - 1) + "\\u2026" : "";
  }
  reset.style.display = to === all[0] ? "none" : "";
}
function search() {
  let end = -1, sum = 0, count = 0;
  let test = () => false;
  if (wanted) try { const r = new RegExp(wanted, "i"); test = n => r.test(n); }
    catch { const low = wanted.toLowerCase(); test = n => n.toLowerCase().includes(low); }
  const hits = all.filter(b => { const hit = test(b.name); b.g.classList.toggle("hit", hit); return hit; });
  hits.sort((a, b) => a.x - b.x || b.w - a.w);
  for (const b of hits) { count += 1; if (b.x + 1e-9 >= end) { sum += b.w; end = b.x + b.w; } }
  const found = count + (count === 1 ? " box, " : " boxes, ") + (100 * sum).toFixed(1) + " %% of all";
  note.textContent = wanted ? found : "";
}
function button(label, x, act) {
  const made = document.createElementNS(NS, "text");
  made.setAttribute("class", "about small button");
  made.setAttribute("x", x); made.setAttribute("y", 42);
  made.setAttribute("tabindex", 0); made.setAttribute("role", "button");
  made.textContent = label;
  made.addEventListener("click", act);
  made.addEventListener("keydown", e => { if (e.key === "Enter") act(); });
  svg.append(made);
  return made;
}
const reset = button("show all", 760, () => zoom(all[0]));
const holder = document.createElementNS(NS, "foreignObject");
for (const [k, v] of [["x", 910], ["y", 6], ["width", 280], ["height", 24]]) holder.setAttribute(k, v);
const field = document.createElementNS("http://www.w3.org/1999/xhtml", "input");
field.type = "search"; field.placeholder = "search functions (regular expression)";
field.setAttribute("aria-label", "search functions");
field.addEventListener("input", () => { wanted = field.value; search(); });
for (const kind of ["keydown", "keyup", "keypress"]) field.addEventListener(kind, e => e.stopPropagation());
holder.append(field);
svg.append(holder);
for (const b of all) b.g.addEventListener("click", () => zoom(b));
zoom(all[0]);
})();
"""


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


def shade(frame: Frame) -> str:
    """Return the colour of a function as ``#rrggbb``: always the same for the same name and space."""
    shades = SHADES[frame.space]
    return shades[zlib.crc32(frame.name.encode("utf-8", "replace")) % len(shades)]


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
        f' viewBox="0 0 {WIDTH} {height}">',
        f"<title>{_text(title)}</title>",
        f"<style>{_CSS}</style>",
        f'<text class="about title" x="{_EDGE}" y="22">{_text(title)}</text>',
        *_legend({box.frame.space for box in drawn}),
        '<text class="about small note" x="910" y="46"></text>',
        f'<text class="about small" x="180" y="42">{_text(note)}</text>',
    ]
    if not drawn:
        parts.append(f'<text class="about small" x="{WIDTH // 2}" y="{_TOP + 20}">{_text(nothing)}</text>')
    parts += ['<g class="boxes">', *(_box(box, root.total, amount) for box in drawn), "</g>"]
    if drawn:
        values = {"edge": _EDGE, "full": WIDTH - 2 * _EDGE, "letter": LETTER}
        parts.append(f"<script>\n{_SCRIPT % values}</script>")
    return Svg("\n".join([*parts, "</svg>\n"]))


def _box(box: Box, whole: float, amount: Callable[[float], str]) -> str:
    full = WIDTH - 2 * _EDGE
    x, width = box.left / whole, (box.right - box.left) / whole
    name, top = clean(box.frame.name), _TOP + box.row * ROW
    own = f", {amount(box.frame.own)} in itself" if box.frame.own and box.frame.children else ""
    space = f" ({box.frame.space})" if box.frame.space else ""
    return (
        f'<g class="box" data-name="{_text(name)}" data-row="{box.row}" data-x="{x:.9g}" data-w="{width:.9g}">'
        f"<title>{_text(name)}{space}\n{_text(amount(box.frame.total))}, {100 * width:.2f} %{_text(own)}</title>"
        f'<rect x="{_EDGE + x * full:.2f}" y="{top}" width="{max(width * full - 0.5, 0.2):.2f}" height="{ROW - 1}"'
        f' rx="1" fill="{shade(box.frame)}"/>'
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
