# What stays in the notebook: text and HTML with the last numbers, rows and plot, beside the widget while it lives.

from __future__ import annotations

import time
import uuid
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from IPython import display, get_ipython

from ..views import Look, document
from . import frames
from .frames import Frames
from .pace import TwinPace
from .wire import Wire

if TYPE_CHECKING:
    from ..session import Session
    from ..views.monitor import Monitor, Numbers

WIDGET_TYPE = "application/vnd.jupyter.widget-view+json"
VIEW_TYPE = "application/vnd.ebpflab.view+json"  # read by our extension of JupyterLab
_PLOT_AFTER = 1.0  # seconds: the first plot takes long, and must not hold up the first rows
_ALONE_AFTER = 5.0  # seconds within which a page would have said hello, if there were one
ipython = cast("Any", display)  # its functions have no types


class Kept:
    """The outputs in which a view is displayed, and the text and HTML in them."""

    def __init__(self, session: Session, monitor: Monitor, drawn: Frames, wire: Wire) -> None:
        self._session, self._monitor, self._drawn, self._wire = session, monitor, drawn, wire
        self._pace = TwinPace()
        self._id = ""  # of all displays, so that one message brings them up to date
        self._shown = 0.0
        self._told: Any = None
        self._about: tuple[str, Look] = ("", Look())
        self._updated = False  # since it was displayed
        self._missed = False  # whether a page came that may have an older one, from its file
        self._widget = False  # whether the displays have it
        self._bare = True  # whether some page may have ipywidgets and not our extension
        self._texts: dict[str, str] = {}

    @property
    def until(self) -> float:
        """Seconds until it may have to be brought up to date."""
        return self._pace.until() if self._id else float("inf")

    @property
    def _plots(self) -> bool:
        return time.monotonic() - self._shown >= _PLOT_AFTER and frames.ready()

    def document(self, numbers: Numbers, look: Look) -> document.Twin:
        """Return what a view shows, for those who have no widget."""
        return document.twin(self._session, look, numbers, self._drawn.plot, self._monitor.history())

    def show(self, numbers: Numbers, look: Look, model: str) -> None:
        """Display it, with the widget of this model, or without one."""
        if not self._id:
            # That of the widget: when its page was loaded again, our extension knows by it what belongs to it.
            self._id, self._shown = model or uuid.uuid4().hex, time.monotonic()
            self._bare = not _alone()
            self._pace.shown()
        if numbers.state == "closed":  # nothing will bring a plot later
            self._drawn.draw_plot(numbers, look, now=True)
        self._told, self._widget, self._updated = _gist(numbers, look), bool(model), False
        self._about = numbers.state, _shown(look)
        bundle = self._bundle(numbers, look, model)
        self._wire.now(lambda: ipython.display(bundle, raw=True, display_id=self._id))

    def missed(self) -> None:
        """Note that a page came: what was published before it did not reach it."""
        self._missed = self._updated

    def refresh(self, numbers: Numbers, look: Look, model: str, lab: Collection[bool]) -> None:
        """Bring it up to date when that is due and something is new.

        `lab` says of every page whether our extension is there: other front ends would make the widget anew.
        """
        if not self._id:
            return
        missed, self._missed = self._missed, False
        new = missed or self._told != _gist(numbers, look)
        if numbers.state == "closed":  # there may be no later turn
            if new:
                self.end(numbers, look, model, lab)
            return
        self._meet(lab)
        about, before = (numbers.state, _shown(look)), self._about
        if about != before:
            self._about = about
            self._pace.shown()
        if missed or about[0] != before[0] or not self._pace.until():
            self._pace.looked()
            if all(lab) and (new or (self._plots and self._drawn.plot is None)):
                self.publish(numbers, look, model)

    def end(self, numbers: Numbers, look: Look, model: str, lab: Collection[bool]) -> None:
        """Publish the end of the session; where nothing keeps a widget from being empty later, without one."""
        self._meet(lab)
        alone = not lab and time.monotonic() - self._shown >= _ALONE_AFTER
        self.publish(numbers, look, "" if alone or not all(lab) else model)

    def leave(self, numbers: Numbers, look: Look) -> None:
        """Take the widget out of all displays, without waiting or drawing a plot."""
        if self._id and self._widget:
            kept = self._texts if self._told == _gist(numbers, look) else {}
            bundle = kept or self._bundle(numbers, look, "")
            self._wire.now(lambda: ipython.update_display(bundle, raw=True, display_id=self._id))

    def publish(self, numbers: Numbers, look: Look, model: str) -> None:
        """Bring all displays up to date now; without `model` they lose the widget."""
        if not self._id:
            return
        closed = numbers.state == "closed"
        if closed or self._plots:
            self._drawn.draw_plot(numbers, look, now=closed)
        bundle = self._bundle(numbers, look, model)
        if self._wire.send(lambda: ipython.update_display(bundle, raw=True, display_id=self._id)):
            self._told, self._widget = _gist(numbers, look), bool(model)
            self._updated, self._missed = True, False

    def _bundle(self, numbers: Numbers, look: Look, model: str) -> dict[str, Any]:
        made = self.document(numbers, look)
        self._texts = {"text/plain": made.text(), "text/html": made.html()}
        if not model:
            return self._texts
        about = {"version_major": 2, "version_minor": 1, "model_id": model}
        widget = {WIDGET_TYPE: about} if self._bare else {}
        return {**self._texts, **widget, VIEW_TYPE: {"model_id": model}}

    def _meet(self, lab: Collection[bool]) -> None:
        # Our extension needs no type but ours: a notebook that is saved now has no widget that others would miss.
        self._bare = self._bare and not (lab and all(lab))


def _alone() -> bool:
    # nbconvert and papermill take no input. They keep the widget's state, and nbconvert would show a widget with
    # nothing in it instead of our HTML.
    kernel = getattr(get_ipython(), "kernel", None)
    parent = kernel.get_parent("shell") if kernel is not None else {}
    return parent.get("content", {}).get("allow_stdin") is False


def _gist(numbers: Numbers, look: Look) -> tuple[Any, ...]:
    return (numbers.state, frames.signature(numbers), _shown(look))


def _shown(look: Look) -> Look:
    # What text and HTML show of it: neither the tab nor what only a page knows.
    return replace(look, tab="table", map="", program="", dark=False, width=760, scale=1.0)
