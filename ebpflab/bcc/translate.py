"""A rewritten program of BCC's dialect as C for libbpf: sections, maps and line numbers of the cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cell import Cell
from ..compile import loss_counters
from . import library, lines, maps, submitted
from .hooks import Hook, hook
from .rewriter import Rewritten
from .signature import Signatures

_HEADERS = Path(__file__).with_name("headers")
# How BCC calls the function that reads an argument of a USDT probe: by the program's name and the argument's number.
_USDT = re.compile(r"\b_bpf_readarg_\w+?_(\d+)\(")
_SECTION = re.compile(r'__attribute__\(\(section\("\.bpf\.fn\.(\w+)"\)\)\)')


@dataclass(frozen=True)
class Translation:
    """C text for clang's BPF target.

    ``targets`` are where programs are attached whose sections do not say it, ``waiting`` the programs for which
    nothing says it; ``lines`` has the cell's line for each line of the program, ``changed`` the lines that
    BCC changed.
    """

    text: str
    targets: Mapping[str, str]
    waiting: tuple[str, ...]
    changed: frozenset[int]


def translate(
    cell: Cell, made: Rewritten, name: str, *, wanted: Mapping[str, str] | None = None, keep: bool = False
) -> Translation:
    """Translate a program that BCC has rewritten.

    Parameters
    ----------
    cell
        The program as it was.
    made
        What BCC made of it.
    name
        What the cell is called in messages.
    wanted
        Where to attach, by function: ``kprobe:vfs_read``, ``uprobe:libc.so.6:malloc``, or a target alone.
    keep
        Whether the object has to keep the types of all structs of the program.

    Raises
    ------
    CellError
        For what cannot be translated, such as a target without a kind.
    """
    hooks = _hooks(cell, made, wanted or {})
    tables = made.tables
    numbers = lines.align(cell.source, made.text)
    program = lines.numbered(made.text, numbers, name)
    program = maps.addressed(submitted.marked(program, tables), tables)
    program, read = _USDT.subn(r"ebpflab_usdt_arg(\1, ", program)
    usdt = read > 0 or any(each.section == "usdt" for each in hooks.values())
    program = _SECTION.sub(lambda match: f'SEC("{hooks[match[1]].section}")', program)
    tree = made.tree
    before, after = (tree.before, tree.after) if tree else ("#include <linux/kconfig.h>\n", "")
    text = "\n".join(
        [
            f'#line 1 "kernel"\n#define __BPF_TRACING__\n{before}',
            f'#line 1 "bcc"\n{library.header("bpf_workaround.h")}{maps.helpers(library.header("helpers.h"))}',
            f'#line 1 "prelude"\n{_prelude(usdt)}{after}',
            f'#line 1 "maps"\n{maps.definitions(tables, cell.code)}',
            f'#line 1 "{name}"\n{program}',
            f'#line 1 "ebpflab"\n{_kept(cell) if keep else ""}{_license(made.license)}',
        ]
    )
    targets = {function: each.target for function, each in hooks.items() if each.target is not None}
    waiting = tuple(function for function, each in hooks.items() if each.waits)
    return Translation(text, targets, waiting, lines.changed(cell.source, made.text, numbers))


def _prelude(usdt: bool) -> str:
    parts = [(_HEADERS / "prelude.h").read_text(), loss_counters()]
    return "".join([*parts, *([(_HEADERS / "usdt.h").read_text()] if usdt else [])])


def _hooks(cell: Cell, made: Rewritten, wanted: Mapping[str, str]) -> dict[str, Hook]:
    signatures = Signatures(cell, made.text)
    return {function: hook(function, signatures.of(function), wanted.get(function)) for function in made.functions}


def _kept(cell: Cell) -> str:
    names: Sequence[str] = [*(f"struct {name}" for name in cell.struct_names), *cell.typedef_names]
    return "".join(
        f'static const {name} *ebpflab_keep_{number} __attribute__((used, section(".data.ebpflab")));\n'
        for number, name in enumerate(names)
    )


def _license(text: str) -> str:
    quoted = (text or "GPL").replace("\\", "").replace('"', "")
    return f'char ebpflab_license[] SEC("license") = "{quoted}";\n'
