"""Questions to the inspectors, worded as ``%bpf`` lines and as ``ebpflab inspect`` commands.

One table serves both, so that what is asked in a notebook can be asked in a shell. The inspectors are imported when
a question is asked: the shell command has to start with the standard library alone.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import CellError
from .options import Parser

if TYPE_CHECKING:
    from collections.abc import Callable


class Question(NamedTuple):
    """One question: its arguments, what answers it, a line of help and an example of its arguments."""

    ask: Callable[[argparse.Namespace], Any]
    arguments: Callable[[argparse.ArgumentParser], None]
    help: str
    example: str = ""


class Listing(str):
    """C text that shows itself as it is, in a terminal and in a notebook."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from .formatting import Code, html

        return html([Code(str(self), language="c")])


class Written:
    """A text that went to a file; shows itself as a line that says so."""

    def __init__(self, path: Path, made: Any) -> None:
        self.path, self.made = path, made

    def to_dict(self) -> dict[str, object]:
        """Return what was written and where, for JSON."""
        return {"path": str(self.path), **self.made.to_dict()}

    def __repr__(self) -> str:
        return f"wrote {self.path}: {len(self.made.splitlines()):,} lines, {', '.join(self.made.names)}"


def ask(name: str, line: str = "") -> Any:
    """Answer a question that is worded as a line.

    Parameters
    ----------
    name
        One of :data:`QUESTIONS`.
    line
        Its arguments; quotes group words, and a backslash is one.

    Raises
    ------
    CellError
        The line lacks something, or has what the question does not take.

    Examples
    --------
    >>> ask("path", "task_struct real_parent.tgid").dereferences
    1
    """
    words = shlex.shlex(line, posix=True, punctuation_chars=False)
    # Patterns are full of backslashes, and #include is no comment.
    words.whitespace_split, words.escape, words.commenters = True, "", ""
    question = QUESTIONS[name]
    parser = Parser(prog=f"%bpf {name}", add_help=False, allow_abbrev=False)
    question.arguments(parser)
    try:
        given = list(words)
    except ValueError as error:
        raise CellError(f"the line after %bpf {name} cannot be read: {error}", hint="check the quotes") from error
    if not given and question.example:
        raise CellError(f"%bpf {name} asks for {question.help}", hint=f"for example %bpf {name} {question.example}")
    return question.ask(parser.parse_args(given))


def plain(answer: Any) -> Any:
    """Return an answer as what JSON has: dicts, lists, text and numbers.

    C text is ``{"c": ...}``, a frame a list of its rows.

    Examples
    --------
    >>> plain(ask("hooks", "sched_switch --kind tp_btf"))
    [{'kind': 'tp_btf', 'name': 'sched_switch', ...}]
    """
    if isinstance(answer, Listing):
        return {"c": str(answer)}
    return json.loads(answer.to_json(orient="records")) if hasattr(answer, "columns") else answer.to_dict()


def text(answer: Any) -> str:
    """Return an answer as text for a terminal: all rows of a frame; C as it is, so that it can go to a file."""
    if hasattr(answer, "cell"):
        return "\n".join([answer.source.rstrip("\n"), *(f"// note: {note}" for note in answer.notes)])
    if not hasattr(answer, "columns"):
        return str(answer) if isinstance(answer, str) else repr(answer)
    from . import formatting

    rows = answer.astype(object).where(answer.notna(), "").itertuples(index=False)
    shown = tuple(tuple(str(value) for value in row) for row in rows)
    table = formatting.Table(tuple(answer.columns), shown)
    rows = formatting.text([table]) if shown or not note(answer) else ""
    return "\n".join(filter(None, (rows, note(answer))))


def note(answer: Any) -> str:
    """Return what a frame says besides its rows: that there are more, or why there are none; "" for anything else."""
    return str(getattr(answer, "attrs", {}).get("note", ""))


def _hooks(given: argparse.Namespace) -> Any:
    from .inspectors.search import hooks

    return hooks(" ".join(given.pattern), given.kind, given.engine)


def _format(given: argparse.Namespace) -> Any:
    from .inspectors.tracefs import format

    found = format(_content(given.event))
    if given.compare:
        return found.compare(format(_content(given.compare)))
    return Listing(found.c()) if given.c else found


def _content(name: str) -> str:
    # That of a file, such as another kernel's format file; what is no file is a tracepoint, or the text itself.
    path = Path(name)
    try:
        return path.read_text(errors="replace") if "\n" not in name and path.is_file() else name
    except OSError as error:
        raise CellError(f"cannot read {name}: {error.strerror}", hint="check the path and its permissions") from None


def _context(given: argparse.Namespace) -> Any:
    from .inspectors.contexts import context

    return context(given.kind, given.engine)


def _type(given: argparse.Namespace) -> Any:
    from .inspectors.types import type

    if given.tree:
        raise CellError("--tree takes a notebook", hint="--find looks for members, --c shows the definition")
    found = type(" ".join(given.name), given.source)
    if given.find and (given.c or given.whole):
        raise CellError("--find lists paths, --c and --whole show C", hint="ask for one of them")
    if given.find:
        return found.find(given.find, given.depth)
    return Listing(found.c(whole=given.whole)) if given.c or given.whole else found


def _path(given: argparse.Namespace) -> Any:
    *words, path = given.words
    name = " ".join(words)
    if not words:  # task_struct.real_parent.tgid
        name, _, path = path.replace("->", ".").partition(".")
    if not name or not path:
        what = f"which member of {name}?" if name and not path else f"a path starts at a type: {' '.join(given.words)}"
        raise CellError(what, hint=f"for example {QUESTIONS['path'].example}")
    from .inspectors.types import type

    found = type(name, given.source).path(path)
    ways = {way: True for way in ("errors", "guarded", "direct") if getattr(given, way)}
    if not (ways or given.base or given.into):
        return found
    return Listing("\n\n".join(filter(None, (found.before, found.c(given.base, given.into, **ways)))))


def _bindings(given: argparse.Namespace) -> Any:
    from .inspectors.types.bindings import bindings

    made = bindings(*given.names, lang=given.lang, source=given.source, stub=given.stub)
    if given.out:
        return Written(made.save(given.out), made)
    return made


def _template(given: argparse.Namespace) -> Any:
    from .inspectors.templating import template

    return template(given.hook, name=given.name, engine=given.engine)


def _helper(given: argparse.Namespace) -> Any:
    from .inspectors import helpers

    return helpers.reference(given.name) or helpers.helper(given.name)


def _features(given: argparse.Namespace) -> Any:
    from .inspectors.features import features

    return features(given.pattern, given.kind, program_type=given.program_type)


def _tools(given: argparse.Namespace) -> Any:
    from .toolbox import shelf

    return shelf.find(given.pattern) if given.pattern in shelf.paths() else shelf.tools(given.pattern)


def _engine_argument(add: argparse.ArgumentParser) -> None:
    add.add_argument("--engine", default="libbpf", metavar="libbpf|bcc", help="in whose C (default libbpf)")


def _hooks_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("pattern", nargs="*", metavar="WORD", help="a part of a name, a glob, or a /regular expression/")
    add.add_argument("--kind", metavar="KIND", help="only hooks of this kind, such as kprobe")
    _engine_argument(add)


def _format_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("event", metavar="CATEGORY:EVENT", help="a tracepoint, or a file with its format")
    add.add_argument("--c", action="store_true", help="the context as a C struct")
    add.add_argument("--compare", metavar="FILE", help="with the format of another kernel, or with another tracepoint")


def _context_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("kind", metavar="KIND", help="a kind of program or a section: xdp, fentry/vfs_read")
    _engine_argument(add)


def _source_argument(add: argparse.ArgumentParser) -> None:
    add.add_argument("--from", dest="source", metavar="FILE", help="types of this module, BTF file or ELF file")


def _type_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", nargs="+", metavar="TYPE", help="a struct, union, enum or typedef")
    add.add_argument("--find", metavar="MEMBER", help="every path that ends in this member")
    add.add_argument("--depth", type=int, default=3, metavar="N", help="pointers to follow with --find (default 3)")
    add.add_argument("--c", action="store_true", help="its definition in C")
    add.add_argument("--whole", action="store_true", help="the same with all that it needs to compile")
    add.add_argument("--tree", action="store_true", help="a tree with a search box, in a notebook")
    _source_argument(add)


def _path_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("words", nargs="+", metavar="TYPE PATH", help="task_struct real_parent.tgid")
    add.add_argument("--errors", action="store_true", help="C that checks every read")
    add.add_argument("--guarded", action="store_true", help="C that asks first whether the kernel has the members")
    add.add_argument("--direct", action="store_true", help="plain C, for programs whose pointers the verifier follows")
    add.add_argument("--base", metavar="NAME", help="the variable that points to the struct")
    add.add_argument("--into", metavar="NAME", help="the variable for the value")
    _source_argument(add)


def _bindings_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("names", nargs="*", metavar="TYPE", help="types, as C spells them")
    add.add_argument("--lang", default="c", metavar="c|python", help="a C header, or ctypes and numpy")
    add.add_argument("--stub", metavar="FILE", help="a C file: the types that it names")
    add.add_argument("--out", metavar="FILE", help="write it to this file as well")
    _source_argument(add)


def _template_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("hook", metavar="HOOK", help="a section or a tracepoint")
    add.add_argument("--name", metavar="NAME", help="the variable for the session")
    _engine_argument(add)
    add.add_argument("--show", action="store_true", help="only show it, put no cell below (a shell never does)")


def _helper_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", metavar="NAME", help="a helper, a kfunc or a macro")


def _features_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("pattern", nargs="?", default="", metavar="WORD", help="a part of a name")
    add.add_argument("--kind", metavar="KIND", help="program type, map type, helper, kfunc or attach")
    add.add_argument("--program-type", metavar="TYPE", help="what programs of this type may call")


def _tools_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("pattern", nargs="?", default="", metavar="TOOL|WORD", help="a tool, or a word of its question")


QUESTIONS: dict[str, Question] = {
    "hooks": Question(_hooks, _hooks_arguments, "what can be hooked"),
    "format": Question(_format, _format_arguments, "the fields of a tracepoint", "syscalls:sys_enter_openat"),
    "ctx": Question(_context, _context_arguments, "what a program is handed by its hook", "fentry/vfs_read"),
    "type": Question(_type, _type_arguments, "the layout of a type", "task_struct --find exe_file"),
    "path": Question(_path, _path_arguments, "how to read a member behind pointers", "task_struct real_parent.tgid"),
    "bind": Question(_bindings, _bindings_arguments, "the smallest header with some types", "task_struct path"),
    "template": Question(_template, _template_arguments, "a complete cell for a hook", "sched:sched_switch"),
    "helper": Question(_helper, _helper_arguments, "the signature of a helper", "bpf_ringbuf_reserve"),
    "features": Question(_features, _features_arguments, "what this kernel supports"),
    "tools": Question(_tools, _tools_arguments, "the tools that come with ebpflab, or all of one"),
}
