"""Make docs/hooks.md from what the hook tests wrote down: which kind of program works on which kernel.

    python -m tests.hook_table REPORT...         compare with the table that is there; exit 1 if a kind got worse
    python -m tests.hook_table --save REPORT...  write the table

A report is what ``EBPFLAB_HOOK_REPORT=FILE`` makes pytest write; see tests/kernel/conftest.py.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ebpflab.program_types import PROGRAM_TYPES, ProgramType

ROOT = Path(__file__).resolve().parents[1]
MATRIX = ROOT / "tests" / "data" / "hook_matrix.json"
DOCUMENT = ROOT / "docs" / "hooks.md"
_HEAD = """\
# Program types, and where they work

Made by `make test-kernels` from the tests that attach each kind, cause events and count them; not written by hand.
The columns are stock Debian kernels in QEMU, and the machine that made the table.

- **works**: every test of the kind that ran there passed: attached, events counted exactly, nothing left behind.
- **-**: this kernel does not have it; the reasons are below.
- **fails**: a test of the kind failed.

"""
_FACTS = """
## What each kind is

| kind | sections | target | options | how it is attached | test run | capabilities | first kernel |
|---|---|---|---|---|---|---|---|
"""
_WAYS = {
    "link": "bpf_link",
    "tc": "tcx link; before Linux 6.6 a clsact filter, journalled",
    "socket": "setsockopt(2)",
    "sockmap": "to a map of sockets, by a link since Linux 6.10",
    "route": "a route of its own, journalled",
    "map": "by its struct_ops map: a link since Linux 6.4, journalled before",
    "device": "to the device, journalled",
    "run": "never: run on request",
}


def verdict(row: Mapping[str, object]) -> str:
    """Return "works", "fails", or why the kernel does not have it."""
    if row["failed"]:
        return "fails"
    return "works" if row["passed"] else f"absent: {row['absent']}"


def merged(matrix: Mapping[str, Mapping[str, str]], reports: Sequence[Path]) -> dict[str, dict[str, str]]:
    """Return the matrix with what the reports say; of kinds that a run left out it keeps what was known."""
    new = {kernel: dict(kinds) for kernel, kinds in matrix.items()}
    for path in reports:
        report = json.loads(path.read_text())
        known = {**new.get(report["kernel"], {}), **{kind: verdict(row) for kind, row in report["kinds"].items()}}
        new[report["kernel"]] = dict(sorted(known.items()))
    return dict(sorted(new.items(), key=lambda item: _version(item[0])))


def worse(before: Mapping[str, Mapping[str, str]], after: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return a line for each kind that worked on a kernel and does not any more, and for each that fails."""
    lines = []
    for kernel, kinds in after.items():
        known = before.get(kernel, {})
        for kind in sorted({*kinds, *known}):
            now = kinds.get(kind, "not tested")
            if now == "fails" or (known.get(kind) == "works" and now != "works"):
                lines.append(f"{kind} on {kernel}: {now}")
    return lines


def document(matrix: Mapping[str, Mapping[str, str]]) -> str:
    """Return the text of docs/hooks.md."""
    kernels = list(matrix)
    lines = [_HEAD, f"| kind | {' | '.join(kernels)} |\n", f"|---|{'---|' * len(kernels)}\n"]
    lines += [
        _row(row.kind, [matrix[kernel].get(row.kind, "not tested") for kernel in kernels]) for row in PROGRAM_TYPES
    ]
    lines.append("\n## Why a kernel does not have a kind\n\n")
    lines += [f"- {kind}: {reason}\n" for kind, reason in _reasons(matrix)]
    lines.append(_FACTS)
    lines += [_fact(row) for row in PROGRAM_TYPES]
    return "".join(lines)


def _row(kind: str, verdicts: Sequence[str]) -> str:
    shown = ["-" if v.startswith("absent") else v for v in verdicts]
    return f"| `{kind}` | {' | '.join(shown)} |\n"


def _reasons(matrix: Mapping[str, Mapping[str, str]]) -> list[tuple[str, str]]:
    found = []
    for row in PROGRAM_TYPES:
        by_reason: dict[str, list[str]] = {}
        for kernel, kinds in matrix.items():
            said = kinds.get(row.kind, "")
            if said.startswith("absent: "):
                by_reason.setdefault(said.removeprefix("absent: "), []).append(kernel)
        found += [(f"`{row.kind}` on {', '.join(kernels)}", reason) for reason, kernels in by_reason.items()]
    return found


def _fact(row: ProgramType) -> str:
    options = ", ".join(f"`{o.name}={o.example}`" for o in row.options)
    sections = " ".join(f"`{s}`" for s in row.sections)
    target = f"`{row.target}`" if row.target else ""
    return (
        f"| `{row.kind}` | {sections} | {target} | {options} | {_WAYS[row.attach or 'run']} | {row.test_run or ''} | "
        f"{' '.join(row.capabilities)} | {row.first_kernel} |\n"
    )


def _version(kernel: str) -> tuple[bool, list[int]]:
    # Stock kernels in order, then other machines.
    number = kernel.split("-")[0]
    return ("-" in kernel, [int(part) for part in number.split(".") if part.isdigit()])


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, or save with ``--save``."""
    parser = argparse.ArgumentParser(prog="python -m tests.hook_table", description=__doc__.partition("\n")[0])
    parser.add_argument("--save", action="store_true")
    parser.add_argument("reports", nargs="+", type=Path, metavar="REPORT")
    options = parser.parse_args(arguments)
    before = json.loads(MATRIX.read_text())
    after = merged(before, options.reports)
    if options.save:
        MATRIX.write_text(json.dumps(after, indent=1, sort_keys=False) + "\n")
        DOCUMENT.write_text(document(after))
    found = worse(before, after)
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
