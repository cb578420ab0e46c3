"""The magics ``%%bpf`` and ``%bpf``: a line is parsed, a function of the package called, its result shown."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from IPython import display, get_ipython
from IPython.core.magic import Magics, cell_magic, line_magic, magics_class, no_var_expand

import ebpflab

from .. import error_page, formatting, options, questions, refusals
from ..errors import CellError, EbpflabError, ToolMissingError
from ..recording import fallback
from ..similar import nearest
from ..toolbox import answer, arguments
from ..witnesses import command as checks
from . import tracer
from .live import Output


def _documented(function: Callable[..., Any]) -> Any:
    # `%%bpf?` shows what the parser knows, so that the two cannot differ.
    function.__doc__ = f"{function.__doc__}\n\n{options.parser().format_help()}"
    return function


def unregister(shell: Any) -> None:
    """Take the magics out of the shell again."""
    for known in shell.magics_manager.magics.values():
        known.pop("bpf", None)
        known.pop("bpftrace", None)
    shell.magics_manager.registry.pop(BpfMagics.__name__, None)
    shell.configurables[:] = [each for each in shell.configurables if not isinstance(each, BpfMagics)]


@magics_class
class BpfMagics(Magics):
    """The magics of ebpflab."""

    @no_var_expand
    @cell_magic("bpf")
    @_documented
    def bpf(self, line: str, cell: str) -> None:
        """Compile, load and attach a cell of C, and collect its events."""
        # The summary needs it in a moment; imported now, its hundreds of files are not among the events.
        import pandas as _pandas  # noqa: F401

        shell: Any = self.shell
        asked, output = options.parse(line), Output(shell)
        if asked.watch:
            output.prepare()
        session, note = _loaded(asked, cell)
        if asked.name:
            shell.user_ns[asked.name] = session
        if note:
            _show_played(session, note, output, watch=asked.watch)
        else:
            _show(session, asked, output)

    # One name, two magics: the line magic has to be registered under its own function.
    @no_var_expand
    @line_magic("bpf")  # type: ignore[arg-type]
    def bpf_line(self, line: str) -> Any:
        """Ask the kit: ``%bpf hooks openat``, ``type task_struct``, ``template sched:sched_switch``, ``ps``."""
        command, _, rest = line.strip().partition(" ")
        if command in ("", "help", "-h", "--help"):
            return _Help()
        if command not in _COMMANDS:
            near = nearest(command, list(_COMMANDS)) if command else ()
            raise CellError(
                f"there is no %bpf {command}".rstrip(),
                hint=f"did you mean %bpf {near[0]}?" if near else f"commands: {', '.join(_COMMANDS)}",
            )
        answer = fallback.shown(line, lambda: _COMMANDS[command](rest.strip()))
        _say(questions.note(answer))
        return answer

    @no_var_expand
    @cell_magic("bpftrace")  # type: ignore[arg-type]
    def bpftrace(self, line: str, cell: str) -> None:
        """Run a cell in bpftrace's language by the installed bpftrace: ``%%bpftrace NAME [--for 10s]``."""
        tracer.cell(self.shell, line, cell)

    @no_var_expand
    @line_magic("bpftrace")  # type: ignore[arg-type]
    def bpftrace_line(self, line: str) -> None:
        """Run a program of one line by the installed bpftrace: ``%bpftrace [NAME] [--for 10s] -e '...'``."""
        tracer.line(self.shell, line)


def _loaded(asked: options.Options, cell: str) -> tuple[ebpflab.Session, str]:
    # The cell as a session; or its recording, and a sentence that says so.
    played = fallback.session(asked.name, cell) if asked.name else None
    if played is not None:
        return played
    try:
        session = ebpflab.load(
            cell,
            name=asked.name,
            engine=asked.engine,
            attach=asked.attach,
            targets=asked.targets,
            vars=asked.vars,
            keep=asked.keep,
            unsafe=asked.unsafe,
            events=asked.events,
            buffers=asked.buffers,
            headers=asked.headers,
            cflags=asked.cflags,
        )
    except ToolMissingError as error:
        played = fallback.session(asked.name, cell, error) if asked.name else None
        if played is None:
            raise
        return played
    return session, ""


def _show(session: ebpflab.Session, asked: options.Options, output: Output) -> None:
    if asked.watch:
        gone = output.watch(session, asked.seconds)
    elif asked.seconds is not None:
        gone = output.progress(session, asked.seconds)
    else:
        output.show(session)
        output.show_first_rows(session)
        return
    if asked.seconds is None:
        output.say_where(session)
        return
    if session.state != "closed":  # another thread may have done that
        session.detach()
    cut = f"stopped after {gone:.1f} of {asked.seconds:g} s; the events are kept"
    output.end(session, "" if gone >= asked.seconds else cut)


def _run(rest: str) -> None:
    # A tool as a cell: its session in a variable of its name, and its picture when its time is over.
    shell: Any = get_ipython()
    try:
        words = shlex.split(shell.var_expand(rest))  # --pid {child.pid}
    except ValueError as error:
        raise CellError(f"the line after %bpf run cannot be read: {error}", hint="check the quotes") from error
    wanted = arguments.parse(words, "%bpf run", (("--as", {"dest": "variable", "metavar": "NAME", "help": _AS}),))
    name = wanted.given.variable or wanted.tool.name
    options.check_name(name)
    asked, output = replace(wanted.options, name=name), Output(shell)
    if asked.watch:
        output.prepare()
    session, _ = _loaded(asked, wanted.tool.name)
    shell.user_ns[name] = session
    _show(session, asked, output)
    came = answer.counted(session) or any(events.counts()["received"] for events in session.streams.values())
    if asked.seconds is not None and not asked.watch and came:
        session.plot()


def _show_played(session: ebpflab.Session, note: str, output: Output, *, watch: bool) -> None:
    if not watch:
        output.show(session, note)
        return
    _say(note)
    output.watch(session, None)


def announce() -> None:
    """Say so, where the notebook will replay recordings."""
    _say(fallback.note())


def _say(note: str) -> None:
    if note:
        document = [formatting.Note(note, "warning")]
        data = {"text/plain": formatting.text(document), "text/html": formatting.html(document)}
        display.display(data, raw=True)  # type: ignore[no-untyped-call]


def present(error: EbpflabError) -> None:
    """Show an error as a notebook can."""
    display.display(  # type: ignore[no-untyped-call]
        {"text/plain": error_page.error_text(error), "text/html": error_page.error_html(error)}, raw=True
    )


class _Help:
    # The commands of %bpf, for who asks without one.

    def __repr__(self) -> str:
        return formatting.text(self._document())

    def _repr_html_(self) -> str:
        return formatting.html(self._document())

    def _document(self) -> list[formatting.Part]:
        asked = questions.QUESTIONS.items()
        rows = [(f"%bpf {name} {question.example}", question.help) for name, question in asked]
        return [formatting.Table(("for example", "shows"), (*rows, *_OTHERS))]


class _Whole:
    # A frame whose texts are shown whole, where pandas cuts them at 50 letters.

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def __repr__(self) -> str:
        return formatting.text(self._document())

    def _repr_html_(self) -> str:
        return formatting.html(self._document())

    def _document(self) -> list[formatting.Part]:
        return [formatting.Table(tuple(self._frame.columns), tuple(self._frame.itertuples(index=False, name=None)))]


def _tools(rest: str) -> Any:
    found = questions.ask("tools", rest)
    if not hasattr(found, "columns") or found.empty:
        return found
    whole = found["ns"].astype(object)
    return _Whole(found.assign(ns=whole.where(whole.notna(), None)).rename(columns={"ns": "ns a run"}))


def _hooks(rest: str) -> Any:
    # Without a word to look for, a notebook gets the search itself.
    shell: Any = get_ipython()
    if rest or not hasattr(shell, "kernel"):
        return questions.ask("hooks", rest)
    from .widgets import hook_search

    return hook_search()


def _type(rest: str) -> Any:
    words = rest.split()
    if "--tree" not in words:
        return questions.ask("type", rest)
    from .widgets import type_tree

    found = questions.ask("type", " ".join(word for word in words if word != "--tree"))
    if not hasattr(found, "expand"):
        raise CellError("--tree shows the whole type", hint="ask without --find and --c")
    return type_tree(found)


def _template(rest: str) -> Any:
    made = questions.ask("template", rest)
    if "--show" not in rest.split():
        _next_cell(made)
    return made


def _next_cell(template: Any) -> None:
    shell: Any = get_ipython()
    shell.set_next_input(template.cell)


def _alone(name: str, rest: str, call: Callable[[], Any]) -> Any:
    if rest:
        raise CellError(f"%bpf {name} takes nothing after it", hint=f"%bpf {name}")
    return call()


def _log(rest: str) -> Any:
    # The first word is a session's name, or a word to look for as the others are.
    words = rest.split()
    name = words[0] if words else ""
    running = next((s for s in ebpflab.sessions() if s.name == name), None)
    if running is not None and not refusals.refused_since(name, running._began):
        refusals.keep(name, running.verifier_log)  # what it was refused for before is mended
    if name in refusals.names():
        return refusals.verifier_log(name).find(*words[1:])
    return refusals.verifier_log().find(*words)


def _stop(rest: str) -> Any:
    live = ebpflab.sessions()
    names = rest.split()
    known = [s.name for s in live]
    for name in names:
        if name not in known:
            near = nearest(name, known)
            raise CellError(
                f"no live session is called {name}", hint=f"live sessions: {', '.join(near or known) or 'none'}"
            )
    for session in live:
        if not names or session.name in names:
            session.close()
    return ebpflab.sessions()


_AS = "the variable that will hold the session (default: the tool's name)"
_OTHERS = (
    ("%bpf run opensnoop --for 5s", "runs a tool, and draws its answer; %bpf tools opensnoop shows its options"),
    ("%bpf check sched:sched_process_exec -- ls", "one count by libbpf, BCC and bpftrace, side by side"),
    ("%bpf ps", "the live sessions"),
    ("%bpf stop [NAME]", "ends a session, or all of them"),
    ("%bpf log [NAME] [WORDS]", "the verifier's log of the last refusal, or of a session: its lines with these words"),
    ("%bpf doctor", "what this machine has, what it lacks, and the command that mends it"),
    ("%%bpf?", "the options of a cell"),
)
_COMMANDS: dict[str, Callable[[str], Any]] = {
    **{name: functools.partial(questions.ask, name) for name in questions.QUESTIONS},
    "hooks": _hooks,
    "type": _type,
    "template": _template,
    "ps": lambda rest: _alone("ps", rest, ebpflab.sessions),
    "stop": _stop,
    "log": _log,
    "run": _run,
    "tools": _tools,
    "check": checks.ask,
    "doctor": lambda rest: _alone("doctor", rest, ebpflab.doctor),
}
