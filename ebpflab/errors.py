"""Every error that ebpflab raises.

The tree::

    EbpflabError
      CellError               the cell itself: empty, unknown option, no program in it
        UnsafeError           a helper that can do harm, without --unsafe
      ToolMissingError        clang, libbpf, a header or another tool is not on this machine
      KernelSupportError      the running kernel lacks something: BTF, tracefs, a program type
      CompileError            clang refused the cell                    .diagnostics
      LoadError               libbpf or the kernel refused the object   .errno
        VerifierError         the verifier refused a program            .log, .explanation
      AttachError             a loaded program could not be attached    .errno
        HookNotFoundError     its hook does not exist                   .nearest
      PrivilegeError          the kernel said EPERM or EACCES           .cause
      TypeNotFoundError       a type, a member or a helper does not exist    .nearest
      MapError                a map refused a value or an operation     .errno
      DecodeError             records do not fit the struct they should hold
      SessionError            a call that the session's state does not allow

Each error knows its *stage* (one word of the line cell -> compile -> load -> attach -> stream -> decode),
says *what* happened, *where* in the cell (:class:`Location`) and what to do about it (*hint*).
``str(error)`` is all of that as text. In a notebook magic only these lines are shown, without a
traceback; ``ebpflab.errors.full_tracebacks = True`` brings tracebacks back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

full_tracebacks = False
magics = False  # whether there is a %bpf to be named in an answer
# Set by a front end that can show more than text: called with an error that has more to tell than a few lines.
present: Callable[[EbpflabError], None] | None = None
_WIDEST = 300  # letters of a line that are shown


@dataclass(frozen=True)
class Location:
    """A place in a cell: 1-based line and column, and the text of that line."""

    line: int
    column: int | None = None
    text: str = ""
    length: int = 1
    file: str = "cell"

    def __str__(self) -> str:
        head = f"{self.file}, line {self.line}"
        if not self.text:
            return head
        number = f"{self.line:>5} | "
        text, column = self._part()
        shown = f"{head}\n{number}{text}"
        if column is None:
            return shown
        # A tab before the caret has to stay a tab, or the caret points elsewhere.
        before = "".join("\t" if c == "\t" else " " for c in text[: column - 1])
        under = "~" * (min(self.length, max(len(text) - column + 1, 1)) - 1)
        return f"{shown}\n{' ' * (len(number) - 2)}| {before}^{under}"

    def _part(self) -> tuple[str, int | None]:
        # Of a very long line, what is around the column.
        if len(self.text) <= _WIDEST:
            return self.text, self.column
        start = max((self.column or 1) - 1 - _WIDEST // 2, 0)
        before, after = "..." if start else "", "..." if start + _WIDEST < len(self.text) else ""
        column = None if self.column is None else self.column - start + len(before)
        return f"{before}{self.text[start : start + _WIDEST]}{after}", column


class EbpflabError(Exception):
    """The root of every error of this package.

    Parameters
    ----------
    what
        One sentence: what happened.
    where
        The place in the cell, if there is one.
    hint
        What to do about it: one sentence or a command.
    details
        Further lines, most important first: the kernel's or the compiler's own words.
    """

    stage = "ebpflab"

    def __init__(
        self,
        what: str,
        *,
        where: Location | None = None,
        hint: str | None = None,
        details: Sequence[str] = (),
        stage: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint
        self.details = tuple(details)
        if stage is not None:
            self.stage = stage

    def __str__(self) -> str:
        parts = [self.what]
        if self.where is not None:
            parts.append(f"  at {self.where}")
        parts.extend(f"  {line}" for line in self.details)
        if self.hint:
            parts.append(f"  hint: {self.hint}")
        return "\n".join(parts)

    def _render_traceback_(self) -> list[str]:
        # IPython calls this instead of printing a traceback (InteractiveShell.showtraceback).
        lines = f"{type(self).__name__} [{self.stage}]: {self._lines()}"
        if full_tracebacks:
            import traceback

            return traceback.format_exception(self)
        return [lines]

    def _lines(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from .error_page import error_html

        return error_html(self)


class CellError(EbpflabError):
    """The cell cannot be used as it stands: empty, a wrong option, no program in it."""

    stage = "cell"


class UnsafeError(CellError):
    """The program calls a helper that can harm the machine and ``unsafe`` was not given."""


class ToolMissingError(EbpflabError):
    """A tool or library that this stage needs is not installed; the hint is the command that installs it."""

    stage = "setup"


class KernelSupportError(EbpflabError):
    """The running kernel does not offer what this stage needs."""

    stage = "setup"


@dataclass(frozen=True)
class Diagnostic:
    """One message of the compiler: severity (error, warning, note), message, place, suggested fixes."""

    severity: str
    message: str
    where: Location | None = None
    fixits: tuple[str, ...] = field(default_factory=tuple)

    def __str__(self) -> str:
        place = f"\n  at {self.where}" if self.where else ""
        fixes = "".join(f"\n  fix: {f}" for f in self.fixits)
        return f"{self.severity}: {self.message}{place}{fixes}"


class CompileError(EbpflabError):
    """Clang refused the cell; ``diagnostics`` holds every message with its cell line."""

    stage = "compile"

    def __init__(self, what: str, *, diagnostics: Sequence[Diagnostic] = (), **more: Any) -> None:
        super().__init__(what, **more)
        self.diagnostics = tuple(diagnostics)


class LoadError(EbpflabError):
    """Libbpf or the kernel refused the object; ``errno`` is the kernel's number, if it gave one."""

    stage = "load"

    def __init__(self, what: str, *, errno: int | None = None, **more: Any) -> None:
        super().__init__(what, **more)
        self.errno = errno


class VerifierError(LoadError):
    """The verifier refused a program; ``log`` is its whole log, ``log_path`` the file that keeps it."""

    stage = "verify"

    def __init__(
        self, what: str, *, program: str, log: str, log_path: str | None = None, explanation: Any = None, **more: Any
    ) -> None:
        super().__init__(what, **more)
        self.program = program
        self.log = log
        self.log_path = log_path
        self.explanation = explanation
        self._presented = False

    @property
    def search(self) -> str:
        """How its log is searched, to be put behind where it is; empty where there are no magics."""
        name = (self.log_path or "").rpartition("/")[2].removesuffix("-verifier.log")
        return f"; %bpf log {name} WORDS searches it" if magics and name else ""

    def __str__(self) -> str:
        if self.explanation is None:
            return super().__str__()
        from .error_page import error_text

        return "\n".join([self.what, *error_text(self, log=False).split("\n")[1:]])

    def _lines(self) -> str:
        from .error_page import advice, error_text

        if present is None:
            return "\n".join([self.what, *error_text(self).split("\n")[1:]])
        if not self._presented:  # IPython asks twice: once to show it, once to remember it
            present(self)
            self._presented = True
        return "\n  hint: ".join(filter(None, (self.what, advice(self))))


class AttachError(EbpflabError):
    """A loaded program could not be attached to its hook; ``errno`` is the kernel's number, if it gave one."""

    stage = "attach"

    def __init__(self, what: str, *, errno: int | None = None, **more: Any) -> None:
        super().__init__(what, **more)
        self.errno = errno


class HookNotFoundError(AttachError):
    """The hook does not exist on this kernel; ``nearest`` holds the most similar names that do."""

    def __init__(self, what: str, *, nearest: Sequence[str] = (), **more: Any) -> None:
        super().__init__(what, **more)
        self.nearest = tuple(nearest)


class TypeNotFoundError(EbpflabError):
    """No type, member or helper has this name; ``nearest`` holds the most similar names that exist."""

    stage = "inspect"

    def __init__(self, what: str, *, nearest: Sequence[str] = (), **more: Any) -> None:
        super().__init__(what, **more)
        self.nearest = tuple(nearest)


class PrivilegeError(EbpflabError):
    """The kernel refused for lack of privilege; ``cause`` names the capability or setting that is in the way."""

    stage = "load"

    def __init__(self, what: str, *, cause: str, **more: Any) -> None:
        super().__init__(what, **more)
        self.cause = cause


class MapError(EbpflabError):
    """A map refused a value or an operation; ``errno`` is the kernel's number, if it gave one."""

    stage = "map"

    def __init__(self, what: str, *, errno: int | None = None, **more: Any) -> None:
        super().__init__(what, **more)
        self.errno = errno


class DecodeError(EbpflabError):
    """Records do not fit the struct that they should hold, or no struct is known for them."""

    stage = "decode"


class SessionError(EbpflabError):
    """A call that the session's state does not allow, such as attaching after close."""

    stage = "session"
