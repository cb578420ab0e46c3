"""A tool as its source describes it: the comment at its top, and its constants.

The top of a tool is read by people and by this module::

    // opensnoop: which process opens which file, and did it work?
    //
    //     %bpf run opensnoop --for 5s --only-failed
    //     ...sample rows...
    //
    // Rows:     s.events.df()
    // Plot:     s.events.plot.top("comm")
    // Attach:   on_sample=cpu-clock,freq=99
    // Overhead: 512 ns a run; two runs for each openat.
    // Needs:    tracepoints of system calls.

Every ``const volatile`` variable is a parameter, and the comment behind it says what it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import formatting
from ..errors import CellError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUFFIX = ".bpf.c"
_FIELD = re.compile(r"([A-Z][a-z]+): +(.*)")
_PARAMETER = re.compile(
    r"^const volatile ([A-Za-z_][\w ]*?) (\w+)(\[[^\]]*\])?(?: = ([^;]+))?;[ \t]*(?://[ \t]*(.*))?$", re.MULTILINE
)
_NANOSECONDS = re.compile(r"([\d,]+) ns a run")
_PLACE = re.compile(r"[A-Z][A-Z_]*")


@dataclass(frozen=True)
class Parameter:
    """A constant of a tool that can be set: its name, its type in C, its value if it is not set, what it means."""

    name: str
    type: str
    default: str
    meaning: str

    @property
    def option(self) -> str:
        """The option of ``%bpf run`` that sets it."""
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True)
class Tool:
    """A tool of ``bpf_src/``.

    Attributes
    ----------
    name, path
        What it is called, and where its C is.
    question
        What it answers, in one sentence.
    sample
        A call and what came out, as text.
    rows, plot
        The expressions that give its answer as a frame, and its natural picture, of a session ``s``.
    overhead, needs
        What a run of its programs costs, and what the kernel must have.
    attach
        Targets of programs whose sections name none; in capitals what the user has to give.
    parameters
        What can be set before it is loaded.
    """

    name: str
    path: Path
    question: str
    sample: str = ""
    rows: str = ""
    plot: str = ""
    overhead: str = ""
    needs: str = ""
    attach: Mapping[str, str] = field(default_factory=dict)
    parameters: tuple[Parameter, ...] = ()

    @property
    def targets(self) -> dict[str, str]:
        """The targets that need not be given."""
        return {program: place for program, place in self.attach.items() if not _PLACE.fullmatch(place)}

    @property
    def wanted(self) -> dict[str, str]:
        """What has to be given: programs and what each of them is attached to, such as ``INTERFACE``."""
        return {program: place for program, place in self.attach.items() if program not in self.targets}

    @property
    def places(self) -> list[str]:
        """The options that have to be given: ``--attach on_packet=INTERFACE``."""
        return [f"--attach {program}={place}" for program, place in self.wanted.items()]

    @property
    def nanoseconds(self) -> int | None:
        """What one run of its programs costs by the kernel's own statistics, as the header says."""
        match = _NANOSECONDS.search(self.overhead)
        return int(match[1].replace(",", "")) if match else None

    def to_dict(self) -> dict[str, Any]:
        """Return all of it but the sample, for JSON."""
        parameters = [
            {"name": p.name, "type": p.type, "default": p.default, "meaning": p.meaning} for p in self.parameters
        ]
        plain = {name: getattr(self, name) for name in ("name", "question", "rows", "plot", "overhead", "needs")}
        return {**plain, "attach": dict(self.attach), "parameters": parameters, "path": str(self.path)}

    def __repr__(self) -> str:
        return formatting.text(self._document())

    def _repr_html_(self) -> str:
        return formatting.html(self._document())

    def _document(self) -> list[formatting.Part]:
        facts = [("rows", self.rows), ("plot", self.plot), ("overhead", self.overhead), ("needs", self.needs)]
        options = [(p.option, p.type, p.default, p.meaning) for p in self.parameters]
        options += [("--attach", f"{program}=", place, "where to") for program, place in self.attach.items()]
        return [
            formatting.Head(self.name, detail=self.question),
            *([formatting.Code(self.sample)] if self.sample else []),
            *([formatting.Table(("option", "type", "default", "meaning"), tuple(options))] if options else []),
            formatting.Table(("", ""), tuple((label, text) for label, text in facts if text)),
        ]


def parse(source: str, path: Path) -> Tool:
    r"""Read what a tool's source says of it.

    Raises
    ------
    CellError
        The first line is not ``// NAME: question``.

    Examples
    --------
    >>> parse("// opensnoop: which files are opened?\n", Path("opensnoop.bpf.c")).question
    'which files are opened?'
    """
    name = path.name.removesuffix(SUFFIX)
    lines = [line[2:] for line in source.split("\n\n", 1)[0].splitlines() if line.startswith("//")]
    first = re.fullmatch(rf" {re.escape(name)}: (.+)", lines[0]) if lines else None
    if first is None:
        raise CellError(f"{path} does not begin with // {name}: what it answers")
    fields: dict[str, str] = {}
    sample: list[str] = []
    current = ""
    for line in lines[1:]:
        match = _FIELD.match(line.strip()) if line[:2] == f" {line.strip()[:1]}" else None
        if match:
            current = match[1].lower()
            fields[current] = match[2].strip()
        elif current and line.strip():
            fields[current] += f" {line.strip()}"
        elif not current:
            sample.append(line[5:] if line.startswith("     ") else line.strip())
    return Tool(
        name,
        path,
        first[1].strip(),
        sample="\n".join(sample).strip("\n"),
        **{known: fields.get(known, "") for known in ("rows", "plot", "overhead", "needs")},
        attach=dict(each.split("=", 1) for each in fields.get("attach", "").split()),
        parameters=tuple(
            Parameter(name, f"{kind}{size or ''}", (default or "").strip(), meaning or "")
            for kind, name, size, default, meaning in _PARAMETER.findall(source)
        ),
    )
