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

    Examples
    --------
    >>> plain(ask("hooks", "sched_switch --kind tp_btf"))
    [{'kind': 'tp_btf', 'name': 'sched_switch', ...}]
    """
    if hasattr(answer, "to_dict") and not hasattr(answer, "columns"):
        return answer.to_dict()
    if hasattr(answer, "to_json"):
        return json.loads(answer.to_json(orient="records"))
    return str(answer)


def text(answer: Any) -> str:
    """Return an answer as text for a terminal; all rows of a frame."""
    if not hasattr(answer, "columns"):
        return str(answer) if isinstance(answer, str) else repr(answer)
    from . import formatting

    rows = answer.astype(object).where(answer.notna(), "").itertuples(index=False)
    shown = tuple(tuple(str(value) for value in row) for row in rows)
    return formatting.text([formatting.Table(tuple(answer.columns), shown)])


def _hooks(given: argparse.Namespace) -> Any:
    from .inspectors.search import hooks

    return hooks(" ".join(given.pattern), given.kind)


def _format(given: argparse.Namespace) -> Any:
    from .inspectors.tracefs import format

    found = format(_content(given.event))
    if given.compare:
        return found.compare(format(_content(given.compare)))
    return Listing(found.c()) if given.c else found


def _content(name: str) -> str:
    # That of a file, such as another kernel's format file; what is no file is a tracepoint.
    path = Path(name)
    return path.read_text(errors="replace") if path.is_file() else name


def _context(given: argparse.Namespace) -> Any:
    from .inspectors.contexts import context

    return context(given.kind)


def _type(given: argparse.Namespace) -> Any:
    from .inspectors.types import type

    found = type(" ".join(given.name), given.source)
    if given.find:
        return found.find(given.find, given.depth)
    return Listing(found.c(whole=given.whole)) if given.c or given.whole else found


def _path(given: argparse.Namespace) -> Any:
    *words, path = given.words
    name = " ".join(words)
    if not words:  # task_struct.real_parent.tgid
        name, _, path = path.replace("->", ".").partition(".")
    if not name or not path:
        raise CellError(f"a path starts at a type: {' '.join(given.words)}", hint=QUESTIONS["path"].example)
    from .inspectors.types import type

    return type(name, given.source).path(path)


def _bindings(given: argparse.Namespace) -> Any:
    from .inspectors.types.bindings import bindings

    made = bindings(*given.names, lang=given.lang, source=given.source, stub=given.stub)
    if given.out:
        made.save(given.out)
    return made


def _template(given: argparse.Namespace) -> Any:
    from .inspectors.templating import template

    return template(given.hook, name=given.name)


def _helper(given: argparse.Namespace) -> Any:
    from .errors import TypeNotFoundError
    from .inspectors import helpers

    found = helpers.reference(given.name)
    if found is None:
        helpers.helper(given.name)  # says which names are like it
        raise TypeNotFoundError(f"there is no helper {given.name!r}")
    return found


def _features(given: argparse.Namespace) -> Any:
    from .inspectors.features import features

    return features(given.pattern, given.kind, program_type=given.program_type)


def _hooks_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("pattern", nargs="*", metavar="WORD", help="a part of a name, a glob, or a /regular expression/")
    add.add_argument("--kind", metavar="KIND", help="only hooks of this kind, such as kprobe")


def _format_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("event", metavar="CATEGORY:EVENT", help="a tracepoint, or a file with its format")
    add.add_argument("--c", action="store_true", help="the context as a C struct")
    add.add_argument("--compare", metavar="FILE", help="with the format of another kernel, or with another tracepoint")


def _context_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("kind", metavar="KIND", help="a kind of program or a section: xdp, fentry/vfs_read")


def _source_argument(add: argparse.ArgumentParser) -> None:
    add.add_argument("--from", dest="source", metavar="FILE", help="types of this module, BTF file or ELF file")


def _type_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", nargs="+", metavar="TYPE", help="a struct, union, enum or typedef")
    add.add_argument("--find", metavar="MEMBER", help="every path that ends in this member")
    add.add_argument("--depth", type=int, default=3, metavar="N", help="pointers to follow with --find (default 3)")
    add.add_argument("--c", action="store_true", help="its definition in C")
    add.add_argument("--whole", action="store_true", help="the same with all that it needs to compile")
    _source_argument(add)


def _path_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("words", nargs="+", metavar="TYPE PATH", help="task_struct real_parent.tgid")
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
    add.add_argument("--show", action="store_true", help="only show it, put no cell below (a shell never does)")


def _helper_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("name", metavar="NAME", help="a helper, a kfunc or a macro")


def _features_arguments(add: argparse.ArgumentParser) -> None:
    add.add_argument("pattern", nargs="?", default="", metavar="WORD", help="a part of a name")
    add.add_argument("--kind", metavar="KIND", help="program type, map type, helper, kfunc or attach")
    add.add_argument("--program-type", metavar="TYPE", help="what programs of this type may call")


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
}
