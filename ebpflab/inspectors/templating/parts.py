"""What the cells that are made for a hook have in common: the columns of a row, and the C around them."""

from __future__ import annotations

import builtins
import keyword
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

_WIDTH = 100  # columns of a line of C, a tab counted as eight
_MOST = 16  # columns of a row, besides the three that every row has
_STANDARD = ("time", "pid", "comm")
# C keywords that the kernel uses for fields and parameters, and what the cell itself gives a meaning.
KEYWORDS = frozenset(
    [
        "asm",
        "auto",
        "bool",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "false",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "true",
        "typedef",
        "typeof",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
    ]
)
_OURS = frozenset(("ctx", "e", "events", "row"))
# Names of a notebook that a session must not hide.
_TAKEN = frozenset(("ebpflab", "display", "get_ipython", "exit", "quit", "In", "Out", "pd", "np", "plt"))


class Column(NamedTuple):
    """A member of the row: its declaration, the statement that fills it, and what to say beside it.

    In both, ``@`` stands for the member's name, which is chosen when all columns are known.
    """

    name: str
    declaration: str
    fill: str
    note: str = ""


@dataclass(frozen=True)
class Program:
    """A program and the rows it sends: what :func:`event_cell` turns into C.

    Attributes
    ----------
    says
        The comment: what a row is.
    section, head
        Of the program: ``SEC("...")``, and the function's head.
    columns
        Besides time, pid and comm.
    left_out
        What has no column, with the reason.
    before
        C in front of everything else: includes and declarations.
    verdict
        What it returns, with a comment if that needs one.
    """

    says: str
    section: str
    head: str
    columns: tuple[Column, ...] = ()
    left_out: tuple[str, ...] = ()
    before: str = ""
    verdict: str = "return 0;"


@dataclass(frozen=True)
class Made:
    """A cell's C and its program's section, with remarks and the targets to attach its programs to."""

    source: str
    section: str
    notes: tuple[str, ...] = ()
    targets: Mapping[str, str] = field(default_factory=dict)
    attach: bool = True


def c_name(name: str) -> str:
    """Return a name for a parameter or variable that C and the cell leave free."""
    return f"{name}_" if name in KEYWORDS or name in _OURS else name


def handler(target: str) -> str:
    """Return the name of the program for a target."""
    return f"on_{_word(target)}"


def variable(text: str) -> str:
    """Return a good name for the variable that holds the session, made from a hook's name.

    Examples
    --------
    >>> variable("open"), variable("vfs_read*"), variable("4way")
    ('opens', 'vfs_read', 'on_4way')
    """
    name = _word(text) or "events"
    if name[0].isdigit():
        name = f"on_{name}"
    while keyword.iskeyword(name) or hasattr(builtins, name) or name in _TAKEN or name in sys.stdlib_module_names:
        name += "s"
    return name


def event_cell(program: Program, name: str) -> Made:
    """Return the C of a program that sends a row for each event."""
    columns, left_out = listed_columns(program)
    members = ["ktime_t time;", "u32 pid;", "char comm[16];", *map(member, columns)]
    fills = [
        "e->time = bpf_ktime_get_ns();",
        "e->pid = bpf_get_current_pid_tgid() >> 32;",
        "bpf_get_current_comm(e->comm, sizeof(e->comm));",
        *(c.fill for c in columns),
    ]
    source = _EVENTS.format(
        comment=comment(program.says, left_out, f"{name}.events.df()"),
        before=f"{program.before}\n\n" if program.before else "",
        members=indented(members, 1),
        section=program.section,
        head=wrapped(program.head),
        leave=program.verdict.partition(" /*")[0],
        fills=indented(fills, 1),
        verdict=program.verdict,
    )
    return Made(source, program.section, tuple(left_out))


def listed_columns(program: Program) -> tuple[list[Column], list[str]]:
    """Return the columns of a program's rows under the names that they have there, and what is left out."""
    kept, over = program.columns[:_MOST], program.columns[_MOST:]
    return _named(kept), [*program.left_out, *(f"{c.name}: there are {_MOST} columns already" for c in over)]


def row_cell(program: Program, name: str, declare: Sequence[str], skip: str) -> Made:
    """Return the C of an iterator that writes a row for each object; *skip* tells that there is none."""
    columns = _named(program.columns, "row.", ())
    source = _ROWS.format(
        comment=comment(program.says, program.left_out, f"{name}.iterate_df()"),
        before=f"{program.before}\n\n" if program.before else "",
        members=indented([member(c) for c in columns], 1),
        section=program.section,
        head=program.head,
        declare=indented(declare, 1),
        skip=skip,
        fills=indented([c.fill for c in columns], 1),
    )
    return Made(source, program.section, program.left_out)


def comment(says: str, left_out: Iterable[str] = (), rows: str = "") -> str:
    """Return the comment at the top of a cell: what a row is, what it lacks, and how to see the rows."""
    lines = _paragraph(says)
    listed = "; ".join(left_out)
    if listed:
        lines += _paragraph(f"Left out: {listed}.")
    if rows:
        lines.append(f"The rows: {rows}")
    return "\n".join(f"// {line}" for line in lines)


def member(column: Column) -> str:
    """Return the declaration of a column, with its note cut to the width of a line."""
    shown = f"{column.declaration};"
    note = column.note.replace("*/", "* /")
    room = _WIDTH - 8 - len(shown) - len(" /*  */")
    if len(note) > room:
        note = f"{note[: room - len(' ...')].rpartition(' ')[0]} ..."
    return f"{shown} /* {note} */" if note else shown


def indented(texts: Iterable[str], tabs: int) -> str:
    """Return pieces of C one below the other, each line behind so many tabs."""
    return "\n".join("\t" * tabs + line for text in texts for line in text.split("\n"))


def wrapped(head: str) -> str:
    """Return a function's head in lines that are not too long."""
    return "\n".join(textwrap.wrap(head, _WIDTH, subsequent_indent="\t     ", break_long_words=False, tabsize=8))


def _named(columns: Sequence[Column], prefix: str = "e->", taken: Iterable[str] = _STANDARD) -> list[Column]:
    # A field named as a column that every row has, or as another field, gets a prefix.
    seen, found = set(taken), []
    for column in columns:
        name = f"{column.name}_" if column.name in KEYWORDS else column.name
        while name in seen:
            name = f"hook_{name}"
        seen.add(name)
        declaration, fill = (text.replace("@", f"{p}{name}") for text, p in zip(column[1:3], ("", prefix), strict=True))
        found.append(Column(name, declaration, fill, column.note))
    return found


def _word(text: str) -> str:
    return re.sub(r"_*\W+_*", "_", text, flags=re.ASCII).strip("_")


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH - 3, break_long_words=False, break_on_hyphens=False)


_EVENTS = """\
{comment}

{before}struct event {{
{members}
}};

struct {{
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
}} events SEC(".maps");

SEC("{section}")
{head}
{{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e)
		{leave}
{fills}
	bpf_ringbuf_submit(e, 0);
	{verdict}
}}
"""
_ROWS = """\
{comment}

{before}struct row {{
{members}
}};

SEC("{section}")
{head}
{{
{declare}
	struct row row = {{}};

	if ({skip}) /* the last call, after all of them */
		return 0;
{fills}
	bpf_seq_write(ctx->meta->seq, &row, sizeof(row));
	return 0;
}}
"""
