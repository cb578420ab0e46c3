"""What a program is handed by its hook: the context of every kind of program, with a cell to start from.

The structs and the arguments of functions are those of the running kernel's BTF; a tracepoint's are from its
format file. Kinds, verdicts and needs come from the table of program types.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..btf import Kind
from ..errors import HookNotFoundError
from ..formatting import Code, Head, Note, Part, Table, html, text
from ..program_types import BY_KIND, PROGRAM_TYPES, ProgramType, Section, parse_section, tracepoint_target
from ..similar import did_you_mean, nearest
from . import arguments, bcc_names, reading, tracefs
from .layout import fields, vmlinux

if TYPE_CHECKING:
    import pandas as pd

# Kinds whose programs take the hook's arguments as parameters in BCC's C.
_HANDED = ("kprobe", "ksyscall", "fentry", "fexit", "fmod_ret", "lsm")
_IS_RETURN = "bpf_session_is_return"
_TEMPLATES = Path(__file__).parent.parent / "templates"


class ContextField(NamedTuple):
    """One thing that a program finds in its context.

    ``offset`` and ``size`` are bytes, None where it is not in a struct; ``read`` is the C to read it with.
    """

    name: str
    type: str
    offset: int | None
    size: int | None
    read: str


@dataclass(frozen=True, repr=False)
class Context:
    """The context of one kind of program, or of one hook; made by :func:`context`.

    Attributes
    ----------
    kind
        The kind of program.
    section
        What to write in ``SEC("...")``.
    c_type
        The type of the context as C spells it in the function's head.
    members
        What is in it, as :class:`ContextField`; ``fields`` shows them as a DataFrame.
    engine
        In whose C the parts are read: "libbpf" or "bcc".
    """

    kind: str
    section: str
    c_type: str
    members: tuple[ContextField, ...]
    _row: ProgramType
    _hook: str = ""  # what was asked for, if that was more than a kind
    engine: str = "libbpf"

    @property
    def fields(self) -> pd.DataFrame:
        """What is in the context: field, type, offset and size in bytes, and how C reads it."""
        import pandas as pd

        frame = pd.DataFrame(self.members, columns=["field", "type", "offset", "size", "read"])
        return frame.astype({"offset": "Int64", "size": "Int64"})

    @property
    def returns(self) -> pd.DataFrame:
        """The values that a program may return: value, name, meaning."""
        import pandas as pd

        return pd.DataFrame(self._row.verdicts, columns=["value", "name", "meaning"])

    @property
    def packet(self) -> str:
        """How a program of this kind reads its packet, as C; "" if it has none."""
        return reading.packet(self.kind)

    @property
    def bcc(self) -> str:
        """The head of such a program in BCC's C; "" if BCC has none of this kind."""
        section = parse_section(self.section)
        takes = self.kind in _HANDED and not section.prefix.startswith("kret")
        listed = [reading.declared(member.type, member.name) for member in self.members] if takes else []
        return bcc_names.head(section, listed)

    def c(self) -> str:
        """Return the struct, or the head of the function where there is none, as C.

        Examples
        --------
        >>> print(context("xdp").c())
        struct xdp_md { ...
        """
        if self.kind == "tracepoint":
            return tracefs.format(self.section.partition("/")[2]).c()
        return reading.struct(self.c_type) or reading.head(self.section, self.c_type, self.members)

    def read(self, field: str) -> str:
        """Return the C that reads a field.

        Raises
        ------
        HookNotFoundError
            There is no such field; names the nearest.

        Examples
        --------
        >>> context("xdp").read("ingress_ifindex")
        'ctx->ingress_ifindex'
        """
        found = next((f.read for f in self.members if f.name == field), None)
        if found is None:
            names = [f.name for f in self.members]
            near = nearest(field, names)
            hint = did_you_mean(near) or f"fields: {', '.join(names)}"
            raise HookNotFoundError(f"{self.section} has no field {field!r}", nearest=near, hint=hint)
        return found

    def template(self) -> str:
        """Return a complete cell for this kind of program or this hook: it compiles, loads, and shows something.

        A cell for a hook has the hook's fields in its rows. In one for a kind the outer function is the program; the
        inner ``try_...`` does the work and returns an error number, so that each helper that may fail has one place
        that deals with it.

        Examples
        --------
        >>> s = ebpflab.load(context("xdp").template(), targets={"on_packet": "lo"})
        """
        if self._hook or self.engine == "bcc":
            from .templating import template  # which builds on the cells for kinds

            return template(self._hook or self.kind, engine=self.engine).source
        text = (_TEMPLATES / f"{self.kind}.bpf.c").read_text()
        # Linux 7 gave the functions of session programs a parameter.
        function = vmlinux().find(_IS_RETURN, Kind.FUNC)
        if _IS_RETURN in text and function is not None and vmlinux()[function.type_id].params:
            text = text.replace(f"{_IS_RETURN}(void)", f"{_IS_RETURN}(void *ctx)").replace(
                f"{_IS_RETURN}()", f"{_IS_RETURN}(ctx)"
            )
        return text

    def to_dict(self) -> dict[str, object]:
        """Return the facts as plain values, for JSON."""
        return {
            "kind": self.kind,
            "section": self.section,
            "bcc": self.bcc,
            "c_type": self.c_type,
            "fields": [member._asdict() for member in self.members],
            "packet": self.packet,
            "verdicts": [verdict._asdict() for verdict in self._row.verdicts],
            "returns": self._row.returns,
            "facts": [{"label": label, "text": said} for label, said in _facts(self._row)],
        }

    def __repr__(self) -> str:
        return text(self._document())

    def _repr_html_(self) -> str:
        return html(self._document())

    def _document(self) -> list[Part]:
        row = self._row
        parts: list[Part] = [Head(self.kind, f'SEC("{self.section}")', "ok", self.c_type)]
        if self.engine == "bcc":
            parts = [Head(self.kind, bcc_names.of_row(self.section), "ok", "in BCC's C"), Code(self.bcc, "", "c")]
        if self.members:
            shown = tuple(tuple("" if value is None else value for value in field) for field in self.members)
            parts.append(Table(("field", "type", "offset", "size", "how to read it"), shown))
        if self.packet:
            parts.append(Code(self.packet, "the packet", "c"))
        if row.verdicts:
            parts.append(Table(("value", "name", "what the kernel does"), row.verdicts, "return values"))
        if row.returns:
            parts.append(Note(row.returns, label="returns"))
        if self.bcc and self.engine != "bcc":
            parts.append(Note(self._in_bcc(), label="in BCC"))
        facts = _facts(row)
        if self.engine == "bcc":
            section = parse_section(self.section)
            named = bcc_names.is_named(section)
            said = "by the name" if named else f"--attach NAME={bcc_names.attached(section, row.target)}"
            facts[0] = ("attach", said)
        parts += [Note(said, label=label) for label, said in facts]
        return parts

    def _in_bcc(self) -> str:
        # One line: the head, and how a part is read where that is another way.
        section = parse_section(self.section)
        place = "" if bcc_names.is_named(section) else f", {bcc_names.spelled(section)}"
        reads = ((m.read, bcc_names.how_to_read(self.kind, n, m.read)) for n, m in enumerate(self.members, 1))
        other = [f"; {there}" for here, there in reads if here != there]
        return f"{self.bcc}{place}{''.join(other[-1:])}"


def context(kind: str, engine: str = "libbpf") -> Context:
    """Return what a program is handed by its hook, on the running kernel.

    Parameters
    ----------
    kind
        A kind of program ("xdp", "kprobe"), a section ("fentry/vfs_read", "cgroup/connect4"), a tracepoint
        ("sched:sched_switch"), or a hook in BCC's words ("kprobe__vfs_read").
    engine
        "bcc" tells how BCC's C reads each part.

    Returns
    -------
    Context
        ``fields``, ``returns``, ``packet``, ``c()``, ``read(field)`` and ``template()``; shows itself in a notebook.

    Raises
    ------
    HookNotFoundError
        There is no such kind or hook, or BCC has no programs of this kind; names the nearest.
    KernelSupportError
        The kernel carries no BTF.

    Examples
    --------
    >>> context("xdp").fields["field"].tolist()[:2]
    ['data', 'data_end']
    """
    bcc_names.check_engine(engine)
    asked = bcc_names.section_of(kind)
    section = _section(asked)
    found = _of_section(section)
    if engine == "bcc":
        if not bcc_names.knows(section):
            raise bcc_names.unknown(section, asked)
        read = (bcc_names.how_to_read(found.kind, n, m.read) for n, m in enumerate(found.members, 1))
        members = tuple(m._replace(read=each) for m, each in zip(found.members, read, strict=True))
        found = replace(found, members=members, engine=engine)
    return found if asked in BY_KIND else replace(found, _hook=asked)


def _of_section(section: Section) -> Context:
    row = section.type
    name = f"{section.prefix}/{section.target}" if section.target else section.prefix
    if row.kind == "tracepoint":
        return _of_tracepoint(row, section, name)
    if row.context.startswith("struct ") and "NAME" not in row.context and row.context != "struct pt_regs":
        return Context(row.kind, name, f"{row.context} *", _of_struct(row.context), row)
    if row.kind == "iter":
        c_type = f"struct bpf_iter__{section.target}"
        return Context(row.kind, name, f"{c_type} *", _of_struct(c_type), row)
    found = arguments.of(section)
    members = tuple(
        ContextField(a.name, a.c_type, a.offset, 8 if a.offset is not None else None, a.read) for a in found
    )
    return Context(row.kind, name, arguments.c_type(section), members, row)


def _section(text: str) -> Section:
    # A kind stands for a section with the table's example as target.
    if text in BY_KIND:
        row = BY_KIND[text]
        prefix = min(row.sections, key=len)
        example = _EXAMPLES.get(row.kind, row.example)
        return Section(row, prefix.rstrip("+"), example if prefix.endswith("+") else "")
    if re.fullmatch(r"[\w-]+:[\w-]+", text):
        return Section(BY_KIND["tracepoint"], "tp", "/".join(tracepoint_target(text)))
    try:
        return parse_section(text)
    except HookNotFoundError as error:
        near = nearest(text, [*BY_KIND, *(s.rstrip("+") for row in PROGRAM_TYPES for s in row.sections)])
        hint = did_you_mean(near) or f"kinds: {', '.join(BY_KIND)}"
        raise HookNotFoundError(f"no kind of program is called {text!r}", nearest=near, hint=hint) from error


def _of_tracepoint(row: ProgramType, section: Section, name: str) -> Context:
    form = tracefs.format(section.target)
    members = tuple(
        ContextField(f.name, f.type, f.offset, f.size, reading.of_tracepoint(f)) for f in form.members if not f.common
    )
    return Context(row.kind, name, f"struct {form.tag} *", members, row)


def _of_struct(spelled: str) -> tuple[ContextField, ...]:
    btf = vmlinux()
    found = btf.find(spelled.removeprefix("struct "), Kind.STRUCT)
    if found is None:
        raise HookNotFoundError(f"this kernel has no {spelled}", hint="%bpf features tells which program types it has")
    return tuple(
        ContextField(f.name, f.c_type, f.offset, f.size, reading.of_field(spelled, f)) for f in fields(btf, found)
    )


def _facts(row: ProgramType) -> list[tuple[str, str]]:
    facts = [("attach", f"--attach PROGRAM={row.target}" + (f", such as {row.example}" if row.example else ""))]
    if not row.target:
        facts = [("attach", row.reason or "by the map that holds the program")]
    facts += [("option", f"{o.name}={o.example}: {o.meaning}") for o in row.options]
    if row.test_run:
        given = "data=packet" if row.test_run == "data" else "ctx=..."
        facts.append(("test run", f"s.test_run({given})"))
    facts.append(("needs", " ".join((*row.capabilities, f"Linux {row.first_kernel}" if row.first_kernel else ""))))
    return facts


# The table's example is where to attach; these are hooks to show where the two differ.
_EXAMPLES = {"lsm_cgroup": "socket_bind", "freplace": "decide", "struct_ops": "ssthresh"}
