"""A complete cell for any hook: its fields are in the rows already, so that running it shows something at once.

``context(kind).template()`` has one cell for each *kind* of program, written by hand. Here a cell is made for one
*hook*: from a tracepoint's format file, from the types of the kernel's BTF, from the notes of a binary.
"""

from __future__ import annotations

import keyword
import shlex
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from ...errors import CellError
from ...formatting import Code, Head, Note, Part, html, text
from ...program_types import parse_section
from .. import bcc_names, tracefs
from . import bcc
from .fixed import of_kind
from .formats import of_tracepoint
from .hooks import Hook, find_hook
from .iterators import of_iterator
from .parts import Made, event_cell, handler, variable
from .tracing import of_arguments, of_kprobe, of_many, of_system_call
from .user import of_uprobe, of_usdt

if TYPE_CHECKING:
    from ...program_types import Section
    from .parts import Program


@dataclass(frozen=True, repr=False)
class Template:
    """A cell that is ready to run; made by :func:`template`.

    Attributes
    ----------
    name
        The variable that will hold the session.
    section
        The program's ``SEC("...")``.
    source
        The C, as :func:`ebpflab.load` takes it.
    targets
        Where to attach, by program, what its section does not say.
    attach
        False if the cell only loads its program, because there is nothing to attach it to.
    notes
        What was left out and why, and what to know before running it.
    engine
        Whose C it is: "libbpf" or "bcc".
    """

    name: str
    section: str
    source: str
    targets: Mapping[str, str] = field(default_factory=dict)
    attach: bool = True
    notes: tuple[str, ...] = ()
    engine: str = "libbpf"

    @property
    def cell(self) -> str:
        """The whole cell: the line ``%%bpf NAME ...``, then the C."""
        words = ["%%bpf", self.name]
        for program, target in self.targets.items():
            words += ["--attach", shlex.quote(f"{program}={target}")]
        return " ".join([*words, *([] if self.attach else ["--no-attach"])]) + f"\n{self.source}"

    def to_dict(self) -> dict[str, object]:
        """Return the cell and the facts about it as plain values, for JSON."""
        return {**asdict(self), "targets": dict(self.targets), "notes": list(self.notes), "cell": self.cell}

    def __repr__(self) -> str:
        return text(self._document())

    def _repr_html_(self) -> str:
        return html(self._document())

    def _document(self) -> list[Part]:
        said = bcc_names.of_row(self.section) if self.engine == "bcc" else f'SEC("{self.section}")'
        head = Head(self.name, said, "ok")
        return [head, Code(self.cell.rstrip("\n"), language="c"), *(Note(note, label="note") for note in self.notes)]


def template(hook: str, *, name: str | None = None, engine: str = "libbpf") -> Template:
    """Return a complete cell for a hook, with the hook's fields in its rows.

    Parameters
    ----------
    hook
        A section ("tp/sched/sched_switch", "fentry/vfs_read", "uprobe/libc.so.6:malloc", "xdp"), a tracepoint
        ("sched:sched_switch"), a kind of program ("fentry"), or the name of a hook that only one kind has
        ("sched_switch"). Where a section does not say where to attach, that may follow: "xdp:eth0". BCC's words for
        a hook ("kprobe__vfs_read") will do as well.
    name
        The variable that will hold the session; made from the hook's name if not given.
    engine
        "bcc" for a cell in BCC's C.

    Returns
    -------
    Template
        ``cell``, ``source``, ``name``, ``section``, ``targets`` and ``notes``; shows itself in a notebook.

    Raises
    ------
    HookNotFoundError
        There is no such hook, or several kinds have one of this name; ``nearest`` has what may be meant. BCC has
        no programs of this kind; the hint names the template in libbpf's C.
    CellError
        The name cannot be that of a variable.
    KernelSupportError, PrivilegeError
        What the hook's fields are read from is not there, or closed to this process: tracefs, BTF, a binary.

    Examples
    --------
    >>> print(template("openat").cell)
    %%bpf openat ...
    """
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        raise CellError(f"{name!r} cannot be a variable name", hint='use a Python identifier, such as name="opens"')
    bcc_names.check_engine(engine)
    found = find_hook(bcc_names.section_of(hook))
    called = name or _name(found)
    made = _made_for_bcc(found, called, hook) if engine == "bcc" else _made(found, called)
    return Template(called, made.section, made.source, made.targets, made.attach, made.notes, engine)


def _made(hook: Hook, name: str) -> Made:
    section = hook.section
    if hook.bare:
        return of_kind(section, hook.place, name, bare=True)
    if section.kind == "iter":
        return of_iterator(section, name)
    if section.kind in _PROGRAMS:
        made = event_cell(_PROGRAMS[section.kind](section), name)
        if section.kind != "lsm_cgroup":
            return made
        return replace(made, targets={handler(section.target): hook.place or "self"})
    return of_kind(section, hook.place, name, bare=False)


def _made_for_bcc(hook: Hook, name: str, asked: str) -> Made:
    section = hook.section
    if not bcc_names.knows(section):
        raise bcc_names.unknown(section, asked)
    if hook.bare and section.type.hook == "" and f"{section.prefix}+" in section.type.sections:
        section = parse_section(f"{section.prefix}/{section.type.example}")  # that of the kind's own template
    if section.kind == "iter":
        made = of_iterator(section, name)
        if made.targets:
            raise bcc_names.unknown(section, asked)
        return bcc.iterator(section, made)
    if section.kind in _PROGRAMS:
        return bcc.in_bcc(section, _PROGRAMS[section.kind](section), name)
    return bcc.translated(of_kind(section, hook.place, name, bare=hook.bare))


def _name(hook: Hook) -> str:
    section = hook.section
    if hook.bare:
        return variable(section.kind)
    last = section.target.rpartition(":")[2].rpartition("/")[2] or section.prefix
    if section.kind == "perf_event" and hook.place:
        last = hook.place.partition(",")[0]
    if section.kind == "tracepoint" and "/" in section.target:
        category, _, event = section.target.partition("/")
        call = event.removeprefix("sys_enter_").removeprefix("sys_exit_")
        if category == "syscalls" and call != event:
            return variable(f"{call}_exit" if event.startswith("sys_exit_") else call)
    returns = section.kind in ("fexit", "kretprobe", "uretprobe") or section.prefix.startswith(("kret", "uret"))
    return variable(f"{last}_exit" if returns else last)


def _tracepoint(section: Section) -> Program:
    return of_tracepoint(tracefs.format(section.target))


_PROGRAMS: dict[str, Callable[[Section], Program]] = {
    "tracepoint": _tracepoint,
    **dict.fromkeys(("raw_tracepoint", "tp_btf", "fentry", "fexit", "fsession", "fmod_ret"), of_arguments),
    **dict.fromkeys(("lsm", "lsm_cgroup"), of_arguments),
    **dict.fromkeys(("kprobe", "kretprobe"), of_kprobe),
    **dict.fromkeys(("kprobe.multi", "kprobe.session", "uprobe.multi", "uprobe.session"), of_many),
    "ksyscall": of_system_call,
    **dict.fromkeys(("uprobe", "uretprobe"), of_uprobe),
    "usdt": of_usdt,
}
