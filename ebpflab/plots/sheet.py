"""Figures for a thread of their own: no pyplot, no change of rcParams, and a PNG that is small enough to be sent."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, NamedTuple

from . import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text
    from PIL import Image

DOTS = 100  # of an inch at scale 1, where a dot is a CSS pixel
_PAD = 0.06  # inches around everything
_COLOURS = (256, 96, 40)  # of a palette; fewer make a smaller file
_SMALLER = 0.8  # what does not fit then has so many dots in each direction, again and again


class Ink(NamedTuple):
    """The colours of words and lines on a ground; words have a contrast of at least 4.5 : 1, lines of 3 : 1.

    That is WCAG 2.2, 1.4.3 and 1.4.11. It holds for grounds that are as light or dark as those of notebooks.
    """

    ground: str
    text: str
    muted: str
    lost: str
    line: str


LIGHT = Ink("#ffffff", "#1f2328", "#57606a", "#a84300", "#868e96")
DARK = Ink("#111111", "#e6e6e6", "#b0b7bf", "#ff9447", "#7d858d")


class Sheet:
    """Where one plot is drawn: axes as high as it asks for, then a PNG.

    Parameters
    ----------
    width
        CSS pixels.
    scale
        Dots in a CSS pixel.
    ink
        The colours of words and lines.
    ground
        The colour of the ground; without it, it is transparent.
    most
        The greatest height, CSS pixels.

    Examples
    --------
    >>> sheet = Sheet(760)
    >>> png = histogram.draw(frame, "took", ax=sheet) and sheet.png(40_000)
    """

    def __init__(self, width: int, scale: float = 1.0, ink: Ink = LIGHT, *, ground: str = "", most: int = 640) -> None:
        self.width, self.scale, self.ink, self.ground, self.most = width, scale, ink, ground, most
        self.height = 0
        self._figure: Figure | None = None

    def __call__(self, height: float) -> Axes:
        """Return axes on a new figure of this height in inches."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.height = min(round(height * DOTS), self.most)
        size, colour = (self.width / DOTS, self.height / DOTS), self.ground or "none"
        self._figure = Figure(size, dpi=DOTS * self.scale, facecolor=colour, layout=_margins())
        FigureCanvasAgg(self._figure)
        ax = style.dress(self._figure.add_subplot())
        # Plots choose outlines and shades by the ground; it is not drawn itself.
        ax.set_facecolor(self.ink.ground)
        return ax

    def png(self, most: int) -> bytes:
        """Return what was drawn in at most that many bytes.

        The colours are those of a palette; where that is not enough, there are fewer of them and then fewer dots.
        """
        from PIL import Image

        assert self._figure is not None, "nothing was drawn"
        recolour(self._figure, self.ink)
        canvas: Any = self._figure.canvas
        canvas.draw()
        whole = Image.fromarray(_array(canvas))
        image = whole
        while True:
            for colours in _COLOURS:
                found = _packed(image, colours)
                if len(found) <= most:
                    return found
            size = (max(round(image.width * _SMALLER), 1), max(round(image.height * _SMALLER), 1))
            image = whole.resize(size, Image.Resampling.LANCZOS)


def recolour(figure: Figure, ink: Ink) -> None:
    """Give words and lines the colours of an ink, whatever colours the user's rcParams gave them."""
    for ax in figure.axes:
        ax.patch.set_visible(False)
        for each in (ax.xaxis, ax.yaxis):
            each.set_tick_params(which="both", color=ink.line, labelcolor=ink.text, grid_color=ink.line)
            each.label.set_color(ink.text)
        for spine in ax.spines.values():
            spine.set_edgecolor(ink.line)
        for text in _texts(ax):
            _colour(text, ink)


def _colour(text: Text, ink: Ink) -> None:
    # Words on a coloured box stay as they are; pale ones get a colour that is no paler than it may be.
    if text.get_color() == style.ON_COLOUR:
        return
    pale = (text.get_alpha() or 1) < 1
    text.set_color(ink.lost if text.get_color() == style.LOST else ink.muted if pale else ink.text)
    text.set_alpha(None)


def _texts(ax: Axes) -> list[Text]:
    from matplotlib.text import Text

    found = [child for child in ax.get_children() if isinstance(child, Text)]
    legend = ax.get_legend()
    return found if legend is None else [*found, *legend.get_texts(), legend.get_title()]


def _margins() -> Any:
    # Makes room for the words around the axes. Where there is one plot that takes one look at their size;
    # constrained layout, which solves equations, takes several times as long.
    from matplotlib.layout_engine import LayoutEngine

    class Margins(LayoutEngine):
        _adjust_compatible = True
        _colorbar_gridspec = True
        done = False

        def execute(self, figure: Any) -> None:
            if self.done:
                return
            self.done = True
            box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
            now = figure.subplotpars
            left, bottom = now.left + (_PAD - box.x0) / width, now.bottom + (_PAD - box.y0) / height
            right, top = now.right + (width - _PAD - box.x1) / width, now.top + (height - _PAD - box.y1) / height
            if left >= right or bottom >= top:
                return
            ax = figure.axes[0]
            x, y = (each.label.get_position()[at] - ax.bbox.min[at] for each, at in ((ax.yaxis, 0), (ax.xaxis, 1)))
            figure.subplots_adjust(left, bottom, right, top)
            # Where the labels are, seen from the corner of the axes, they stay: they need not be placed again.
            ax.yaxis.set_label_coords(x / ax.bbox.width, 0.5)
            ax.xaxis.set_label_coords(0.5, y / ax.bbox.height)

    return Margins()


def _array(canvas: Any) -> Any:
    import numpy as np

    return np.asarray(canvas.buffer_rgba())


def _packed(image: Image.Image, colours: int) -> bytes:
    from PIL import Image

    written = io.BytesIO()
    image.quantize(colours, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(written, "PNG")
    return written.getvalue()
