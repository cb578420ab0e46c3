"""The live view as a widget: what a page asks for, drawn at its pace, and a twin that stays in the notebook."""

from __future__ import annotations

import atexit
import contextlib
import threading
import weakref
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from ..errors import EbpflabError
from ..registry import named
from ..views import Look
from ..views.monitor import Monitor
from . import actions, frames
from .frames import Frames
from .kept import Kept
from .pace import IDLE_SECONDS, Pace
from .wire import SPARE, Wire

if TYPE_CHECKING:
    from ..session import Session
    from ..views.monitor import Numbers

_PAGE = Path(__file__).with_name("page")
_SCRIPTS = ("tools", "head", "grid", "panels", "maps", "view")  # joined to one module: anywidget takes a single text
_PATIENCE = 0.1  # seconds that closing waits for a drawing under way
_ENDING_SECONDS = 0.02  # between looks at a session that is about to be closed
_DISPLAYED = ""  # the page that is displayed and has not said hello
_MOST_KNOWN = 100  # pages that are told apart from new ones
_GROUND = ("dark", "width", "scale")
_views: weakref.WeakSet[LiveView] = weakref.WeakSet()


class LiveView(anywidget.AnyWidget):
    """The live view of a session in a notebook; made by :meth:`ebpflab.session.Session.view`.

    One thread draws, a few times a second at most and only while a page shows the view. Data travels as custom
    messages with binary buffers; below the cell stays a twin in text and HTML that needs no kernel.

    Parameters
    ----------
    session
        Whose view it is; it may be closed, or a recording.
    look
        What is looked at first.

    Attributes
    ----------
    session : Session
        The session; closing the view leaves it as it is.
    look : ebpflab.views.Look
        What is looked at now.

    Examples
    --------
    >>> with s.view() as view:
    ...     view.show()
    """

    # Traits with a default are read when the first view is made, and nothing watches the files.
    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Session, look: Look | None = None) -> None:
        self.session = session
        self.look = look or Look()
        self._monitor = Monitor(session)
        self._pace, self._wire = Pace(), Wire()
        self._frames = Frames(session, self._monitor, self._pace)
        self._kept = Kept(session, self._monitor, self._frames, self._wire)
        # What handlers tell the drawing thread, behind one condition.
        self._told = threading.Condition()
        self._asked = self._greeted = self._ending = False
        self._pages: dict[str, bool] = {}  # those that show it, and whether our extension is there
        self._last_page: list[bool] = []  # whether it is there for the one that came last
        self._known: deque[str] = deque(maxlen=_MOST_KNOWN)
        self._notes: deque[tuple[str, str]] = deque(maxlen=8)
        self._thread: threading.Thread | None = None
        # One draws at a time: the thread or, when that has ended, who handles a message.
        self._drawing = threading.Lock()
        self._framed: Any = None
        self._over = False
        self._failure = ""
        super().__init__()
        # ipykernel 7.4 hands a page's words to the shell that sent last, here that of cells; its own is free meanwhile.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = lambda _data, subshell: subshell
        self._end = _End(self)
        with session._lock:
            session._guests.add(self._end)
        self._untyped.on_msg(LiveView._receive)
        _views.add(self)

    @traitlets.default("_esm")
    def _script(self) -> str:
        return "\n".join((_PAGE / f"{name}.js").read_text("utf-8") for name in _SCRIPTS)

    @traitlets.default("_css")
    def _style(self) -> str:
        return (_PAGE / "view.css").read_text("utf-8")

    def show(self, *, busy: bool = False) -> None:
        """Display it, once more if it was displayed before; all displays show the same.

        Parameters
        ----------
        busy
            The cell goes on running. Some front ends cannot say until its end that they show the view; with this
            it counts as shown.

        Examples
        --------
        >>> s.view().show()
        """
        numbers = self._monitor.look()
        with self._drawing:
            self._over = self._over or numbers.state == "closed"  # nothing will end while it is shown
            self._kept.show(numbers, self.look, self._model)
        if busy:
            with self._told:
                self._pages.setdefault(_DISPLAYED, False)
        self._start()

    def publish(self, *, final: bool = False) -> None:
        """Bring the text and HTML that stay in the notebook up to date, now.

        Parameters
        ----------
        final
            Leave nothing but these: no widget, wherever the notebook is opened.

        Examples
        --------
        >>> view.publish()
        """
        with self._drawing:
            self._kept.publish(self._monitor.look(), self.look, "" if final else self._model)

    def close(self) -> None:
        """End the view: its thread, its measuring, its place on the page. The session is left as it is.

        Examples
        --------
        >>> view.close()
        """
        # The garbage collector closes widgets as well, also those that could not be made.
        if "_end" not in vars(self) or self._wire.stopping.is_set():
            return
        with contextlib.ExitStack() as stack:
            stack.callback(self._untyped.layout.close)  # a model of its own
            stack.callback(self._untyped_super.close)
            stack.callback(self._monitor.close)
            stack.callback(self._halt)
            stack.callback(self._wire.close)
            # A page cannot show a widget without its model.
            self._kept.leave(self._monitor.look(), self.look)
        self._pages.clear()
        _views.discard(self)

    def __enter__(self) -> LiveView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return self._kept.document(self._monitor.look(), self.look).text()

    def _ipython_display_(self, **_options: Any) -> None:
        self.show()

    @property
    def _untyped(self) -> Any:
        return self

    @property
    def _untyped_super(self) -> Any:
        return super()

    @property
    def _model(self) -> str:
        # Empty when there is none any more.
        return "" if self._wire.stopping.is_set() else str(self.model_id)

    # --- what pages ask for

    def _receive(self, content: Any, _buffers: Any) -> None:
        # On the main thread, or on one of a subshell. Whatever goes wrong, the page is told.
        try:
            note = self._handle(content)
        except EbpflabError as error:
            note = ("error", f"{error.what}{f' ({error.hint})' if error.hint else ''}")
        except Exception as error:  # noqa: BLE001 - nobody is above that could do more than tell
            note = ("error", f"{content.get('do') if isinstance(content, dict) else content}: {error!r}"[:300])
            frames.note(self.session, note[1], "error")
        if note is not None:
            self._notes.append(note)
        if note is not None or self._asked:
            self._wake()

    def _handle(self, content: dict[str, Any]) -> tuple[str, str] | None:
        asked = content["do"]
        if asked == "seen":
            with self._told:
                self._pace.seen(int(content["number"]))
        elif asked == "bye":
            with self._told:
                self._pages.pop(str(content["view"]), None)
                self._told.notify_all()
        elif asked == "hello":
            self._hello(content)
        elif asked == "look":
            with self._told:
                self.look = actions.looked(self.look, {k: v for k, v in content.items() if k != "do"})
                self._asked = True
        else:
            # The frames go on meanwhile, if it takes long.
            told = actions.act(self.session, self.look, content)
            with self._told:
                self._asked = True
            return "ok", told
        return None

    def _hello(self, content: dict[str, Any]) -> None:
        ground: dict[str, Any] = {name: content[name] for name in _GROUND if name in content}
        with self._told:
            self.look = actions.looked(self.look, ground)
            page = str(content["view"])[:100]
            self._pages.pop(_DISPLAYED, None)
            self._pages[page] = lab = bool(content.get("lab"))
            self._last_page = [lab]
            if page not in self._known:  # else it was only out of sight
                self._known.append(page)
                self._kept.missed()
            self._pace.arrived()
            self._asked = self._greeted = True
        self._start()

    # --- the thread that draws

    def _start(self) -> None:
        with self._told:
            over = self._over or self._wire.stopping.is_set() or self.session.state == "closed"
            if over or self._thread is not None:
                return
            frames.prepare()
            name = f"ebpflab-view-{self.session.name}"
            self._thread = threading.Thread(target=self._run, name=name, daemon=True)
            self._thread.start()

    def _wake(self) -> None:
        with self._told:
            alone = self._thread is None
            self._told.notify_all()
        if alone and not self._wire.stopping.is_set():
            self._turn()

    def _halt(self) -> None:
        self._wire.stopping.set()
        with self._told:
            thread = self._thread
            self._told.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_PATIENCE)

    def _run(self) -> None:
        while not self._wire.stopping.is_set():
            well = self._turn()
            if self._over or (not well and self.session.state == "closed"):
                break
            with self._told:
                if not (self._asked or self._notes or self._wire.stopping.is_set()):
                    self._told.wait(self._rest() if well else IDLE_SECONDS)
        with self._told:
            self._thread = None
            late = self._asked or bool(self._notes)
        if self._replaced():
            self.close()  # nobody can reach it any more, and what it holds is large
        elif late and not self._wire.stopping.is_set():
            self._turn()

    def _rest(self) -> float:
        # Until something may have to be done.
        if self._ending:
            return _ENDING_SECONDS
        frame = self._pace.until_frame(changing=True) if self._pages else IDLE_SECONDS
        return max(0.02, min(frame, self._kept.until, IDLE_SECONDS))

    def _replaced(self) -> bool:
        # The cell ran again, and its new session has the name.
        return self.session.state == "closed" and named(self.session.name) not in (None, self.session)

    def _turn(self) -> bool:
        # One look at the session, and the messages that are due. False when it failed.
        try:
            with self._drawing:
                self._draw()
        except Exception as error:  # noqa: BLE001 - the thread has to outlive what one turn meets
            failure, self._failure = self._failure, f"the view failed: {error!r}"[:300]
            if failure != self._failure:
                self._notes.append(("error", self._failure))
                frames.note(self.session, self._failure, "error")
            return False
        return True

    def _draw(self) -> None:
        with self._told:
            asked, greeted, pages = self._asked, self._greeted, bool(self._pages)
            lab = [there for page, there in self._pages.items() if page != _DISPLAYED] or self._last_page
            self._asked = self._greeted = False
        while self._notes:
            tone, text = self._notes.popleft()
            self._say({"kind": "note", "tone": tone, "text": text})
        self._monitor.measure(pages and not self._pace.away)
        numbers = self._monitor.look()
        over = numbers.state == "closed"
        last = over and not self._over
        if greeted:
            self._frames.forget()
        if asked or last:
            self._pace.ask()
        changing = frames.signature(numbers) != self._framed
        if pages and (asked or last or not self._pace.until_frame(changing)):
            if asked and self.look.tab == "plot":
                self._frame(numbers, quick=True)  # drawing takes longer than an answer should
            self._frame(numbers)
        if pages and (last or (over and greeted)):
            self._say({"kind": "over"})
        if last:
            self._kept.end(numbers, self.look, "" if self._replaced() else self._model, lab)
        else:
            self._kept.refresh(numbers, self.look, self._model, lab)
        self._over = over

    def _frame(self, numbers: Numbers, *, quick: bool = False) -> None:
        # First the permission, then the drawing: what is sent is not older than it has to be.
        if not self._wire.wait(SPARE):
            return
        message = self._frames.message(numbers, self.look, quick=quick)
        self._framed = frames.signature(numbers)
        if message is not None:
            self._say(*message, spare=SPARE)

    def _say(self, content: dict[str, Any], buffers: list[bytes] | None = None, spare: int = 0) -> None:
        self._wire.send(lambda: self._untyped.send(content, buffers), spare)


class _End:
    # What a session closes when it ends: the view stays, its thread has a last frame to draw.
    def __init__(self, view: LiveView) -> None:
        self._view = weakref.ref(view)

    def close(self) -> None:
        view = self._view()
        if view is not None:
            with view._told:
                view._ending = view._asked = True
                view._told.notify_all()


@atexit.register
def _halt_all() -> None:
    # A thread must not draw while the interpreter is taken down.
    for view in list(_views):
        view._halt()
