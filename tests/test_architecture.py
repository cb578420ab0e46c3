"""Imports go one way: the table of DESIGN, section 2, held against what every module really imports."""

from __future__ import annotations

import ast
import graphlib
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ebpflab"

# What each module may import of this package. "x.*" stands for the package x with all that is in it, and
# "ebpflab" for the front door.
MAY_IMPORT = {
    "errors": "error_page",  # lazily, to draw itself in a notebook
    "error_page": "formatting",
    "refusals": "errors cache formatting similar",
    "formatting": "c_lexer",
    "c_lexer": "",
    "similar": "",
    "worker": "",
    "keep": "errors",
    "snapshot": "errors",
    "cell": "errors",
    "cflags": "errors",
    "options": "errors similar keep cflags",
    "compiler_hints": "errors similar",
    "diagnostics": "errors compiler_hints cell",
    "cache": "errors",
    "toolchain": "errors",
    "_libbpf": "errors toolchain",
    "_syscalls": "",
    "_probes": "errors _libbpf _syscalls",
    "journal": "errors cache",
    "_native.*": "errors cache toolchain _native.*",
    "compile.*": "errors cache cell cflags diagnostics toolchain _libbpf btf compile.*",
    "bcc.*": "errors similar cache cell cflags diagnostics toolchain tables btf btf_layout btf_plan btf_writer"
    " btf_checks program_types.* compile.* inspectors.* bcc.*",
    "program_types.*": "errors similar program_types.*",
    "verifier.*": "verifier.*",
    "btf": "errors",
    "btf_program": "btf",
    "btf_layout": "errors btf",
    "btf_plan": "errors btf btf_layout",
    "btf_checks": "btf btf_layout btf_plan",
    "btf_writer": "errors btf btf_layout btf_plan",
    "tables.*": "",
    "shown": "",
    "rules": "btf shown tables _native.*",
    "columns": "errors btf rules",
    "decode": "errors btf rules columns shown",
    "symbols.*": "symbols.*",
    "stacks": "_bpfmaps tables symbols.*",
    "records": "errors similar btf btf_program decode",
    "stream": "errors _native.*",
    "ringbuf": "errors stream _native.*",
    "merge": "stream _native.*",
    "perfbuf": "errors _perf_events merge _native.*",
    "_perf_events": "_syscalls",
    "sources": "errors engines.base records stream ringbuf perfbuf merge",
    "store": "errors keep snapshot",
    "frame": "errors decode records rules snapshot",
    "batches": "frame records rules store",
    "iterators": "errors btf decode records stream",
    "events": "errors batches frame losses records rules snapshot store plots.* recording.layout recording.writer",
    "plots.*": "errors formatting similar plots.*",
    "engines.base": "errors",
    "recording.lookups": "",
    "recording.layout": "errors keep engines.base records recording.lookups",
    "recording.columns": "errors decode records snapshot recording.layout",
    "recording.parts": "errors _syscalls",
    "recording.writer": "errors losses records snapshot store recording.layout recording.lookups recording.columns"
    " recording.parts worker",
    "recording.reader": "errors btf records recording.layout recording.lookups recording.columns recording.parts",
    "recording.playback": "errors events keep losses store worker",
    "recording.replay": "errors engines.replay keep line maps.* registry session recording.layout recording.playback"
    " recording.reader",
    "recording.fallback": "errors _probes inspectors.kernel refusals session verifier.* recording.reader"
    " recording.replay",
    "recording": "",
    "disassembly.*": "errors formatting tables.* engines.base disassembly.*",
    "engines.*": "errors verifier.* btf similar program_types.* _libbpf _syscalls journal toolchain inspectors.* bcc.*"
    " engines.*",
    "losses": "errors btf_program btf engines.base",
    "buffers": "errors keep btf perf_counters engines.base records rules events frame losses store stream sources",
    "perf_counters": "btf btf_program engines.base",
    "maps.*": "plots.* errors similar formatting btf btf_program shown decode rules program_types.* perf_counters"
    " _perf_events"
    " _bpfmaps engines.base worker maps.*",
    "_bpfmaps": "errors _libbpf _syscalls",
    "inspectors.types.python_types": "errors btf columns inspectors.*",
    "inspectors.types.*": "errors similar formatting btf btf_layout btf_plan btf_checks btf_writer inspectors.*",
    "inspectors.helpers": "errors similar formatting btf tables.* toolchain inspectors.*",
    "inspectors.*": "errors similar formatting btf program_types.* inspectors.* _libbpf _probes",
    "authoring.*": "toolbox.arguments toolbox.shelf"
    " errors similar formatting cell options program_types.* btf tables.* cache toolchain inspectors.*"
    " bcc.library authoring.*",
    "views.*": "ebpflab errors similar formatting summary btf program_types.* maps.* plots.* _libbpf _syscalls"
    " disassembly.* views.*",
    "runs": "errors similar formatting btf program_types.* inspectors.*",
    "summary": "toolbox.answer errors similar formatting keep program_types.* verifier.* inspectors.tracefs",
    "alternatives": "errors program_types.* inspectors.* engines.base",
    "toolbox.tool": "errors formatting",
    "toolbox.shelf": "errors similar toolbox.tool",
    "toolbox.answer": "errors",
    "toolbox.arguments": "errors similar tables.* options toolbox.shelf toolbox.tool",
    "toolbox.printing": "errors formatting",
    "toolbox.command": "errors loading batches toolbox.*",
    "toolbox": "",
    "line": "alternatives toolbox.shelf toolbox.tool"
    " errors refusals similar cell cflags diagnostics compile.* bcc.* verifier.* program_types.* maps.*"
    " engines.* inspectors.*",
    "registry": "errors formatting summary",  # which sessions live; it knows them as values only
    "programs": "errors similar cell program_types.* btf decode iterators runs disassembly.* verifier.* engines.base",
    "session": "toolbox.answer toolbox.tool"
    " errors formatting keep program_types.* btf records store events buffers maps.* line registry programs"
    " summary engines.* recording.layout stacks views.*",
    "loading": "errors keep cell options line registry store session",
    "tracer.*": "errors similar formatting toolchain registry program_types.* plots.* inspectors.* recording.fallback"
    " session worker _libbpf tracer.*",
    "witnesses.*": "errors formatting options program_types.* inspectors.* loading session tracer.* _syscalls"
    " witnesses.*",
    "health": "errors formatting journal toolchain inspectors.kernel bcc.library",
    "demo": "errors",
    "questions": "toolbox.shelf errors formatting options inspectors.*",
    "cli": "witnesses.command toolbox.*"
    " errors formatting health toolchain questions inspectors.* session loading options demo recording.replay",
    "__main__": "cli",
    "jupyter.*": "ebpflab errors error_page refusals similar formatting keep cell options program_types.* health events"
    " maps.* plots.* summary views.* session loading registry questions authoring.* inspectors.*"
    " recording.fallback tracer.* toolbox.*"
    " witnesses.*"
    " jupyter.*",
}

# Who may import what from elsewhere; everybody else may not, not even inside a function.
ONLY_IN = {
    "ctypes": "_libbpf _syscalls _probes _bpfmaps _perf_events engines.libbpf engines._event_maps"
    " engines._attached engines._places engines._instructions engines._program_info engines.attach.* _native.*"
    " compile.vmlinux bcc.child"
    " tracer.child tracer.programs witnesses.child"
    " inspectors.types.python_types",
    "IPython": "jupyter.* cli demo",
    "ipywidgets": "jupyter.*",
    "subprocess": "toolchain compile.spare bcc.process bcc.declarations bcc.lowering tracer.process witnesses.held"
    " _native.build cli",
    "threading": "toolbox.command"
    " views.* tracer.* _libbpf _native.* compile.* bcc.process bcc.declarations stream ringbuf perfbuf"
    " merge stacks store losses worker"
    " events registry session maps.* recording.writer recording.playback"
    " engines.* views.history views.log views.monitor jupyter.*",
    "pickle": "",
}

# Imported inside the functions that use them, so that `import ebpflab` stays quick.
HEAVY = {"pandas", "pyarrow", "matplotlib", "IPython", "ipywidgets", "nbclient", "nbconvert", "nbformat"}
NUMERIC = (
    "tracer.* "
    "stream ringbuf perfbuf merge sources store frame snapshot shown rules columns decode symbols.* stacks records"
    " events maps.* _bpfmaps plots.* views.* _native.* jupyter.* recording.columns recording.playback"
    " views.cells views.history views.rows views.words"
)
STANDARD_LIBRARY_ONLY = "errors toolchain health inspectors.kernel cli __main__ demo"


@dataclass(frozen=True)
class Import:
    name: str  # dotted; relative names are resolved, and start with "ebpflab"
    line: int
    at_start: bool  # runs when the module is imported


def module_names() -> dict[str, Path]:
    names = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    del names[""]  # the front door: what it pulls in is tested by running it
    return names


MODULES = module_names()


def imports_of(source: str, package: str) -> list[Import]:
    """All imports but those for type checkers; *package* is what relative imports start from."""
    found: list[Import] = []

    def visit(node: ast.AST, at_start: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, at_start) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.extend(Import(name, node.lineno, at_start) for name in names_from(node, package))
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.orelse:
                visit(child, at_start)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                visit(child, at_start and not inside)

    visit(ast.parse(source), at_start=True)
    return found


def names_from(node: ast.ImportFrom, package: str) -> list[str]:
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, *([base] if base else [])])
    if base.split(".")[0] != "ebpflab":
        return [base]
    # `from . import toolchain` names a module, `from .errors import CellError` something in one.
    full = [f"{base}.{alias.name}" for alias in node.names]
    return [n if base == "ebpflab" or n.removeprefix("ebpflab.") in MODULES else base for n in full]


def imports_of_module(name: str) -> list[Import]:
    path = MODULES[name]
    parts = ["ebpflab", *name.split(".")]
    package = ".".join(parts if path.name == "__init__.py" else parts[:-1])
    return imports_of(path.read_text(), package)


def matches(module: str, patterns: str) -> bool:
    return any(
        module == p or (p.endswith(".*") and (module + ".").startswith(p.removesuffix("*"))) for p in patterns.split()
    )


def row_of(module: str) -> str | None:
    exact = [row for row in MAY_IMPORT if row == module]
    return next(iter(exact + [row for row in MAY_IMPORT if matches(module, row)]), None)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_row_in_the_table(module: str) -> None:
    assert row_of(module) is not None, f"{module} is new: give it a row in MAY_IMPORT, and DESIGN a line"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_its_row_allows(module: str) -> None:
    row = row_of(module)
    assert row is not None
    own = [i for i in imports_of_module(module) if i.name.split(".")[0] == "ebpflab"]
    wrong = [f"line {i.line}: {i.name}" for i in own if not matches(i.name.removeprefix("ebpflab."), MAY_IMPORT[row])]
    assert wrong == []


@pytest.mark.parametrize("module", MODULES)
def test_a_module_keeps_out_of_the_other_rooms_libraries(module: str) -> None:
    wrong = [
        f"line {i.line}: {i.name}"
        for i in imports_of_module(module)
        if (top := i.name.split(".")[0]) in ONLY_IN and not matches(module, ONLY_IN[top])
    ]
    assert wrong == []


@pytest.mark.parametrize("module", MODULES)
def test_heavy_packages_are_imported_where_they_are_used(module: str) -> None:
    early = {i.name.split(".")[0]: i.line for i in imports_of_module(module) if i.at_start}
    heavy = {} if matches(module, "jupyter.*") else {name: line for name, line in early.items() if name in HEAVY}
    if not matches(module, NUMERIC) and "numpy" in early:
        heavy["numpy"] = early["numpy"]
    assert heavy == {}


def test_nothing_but_the_front_door_imports_jupyter() -> None:
    importers = [
        module
        for module in MODULES
        if not matches(module, "jupyter.*") and any("ebpflab.jupyter" in i.name for i in imports_of_module(module))
    ]
    assert importers == []


def test_the_table_itself_has_no_cycle() -> None:
    graph = {row: {a for a in allowed.split() if a != row} for row, allowed in MAY_IMPORT.items()}
    graph["engines.*"].add("engines.base")
    graph["inspectors.*"].add("inspectors.kernel")
    order = list(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("errors") < order.index("cell") < order.index("session") < order.index("jupyter.*")


def test_the_reader_of_imports_sees_relative_lazy_and_type_only_imports() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "import os.path, json\n"
        "from .. import toolchain\n"
        "from ..errors import CellError\n"
        "from .base import Handle\n"
        "if TYPE_CHECKING:\n    import pandas\nelse:\n    import array\n"
        "def late():\n    from ..errors import LoadError\n"
        "class C:\n    import zlib\n"
    )
    assert imports_of(source, "ebpflab.engines") == [
        Import("typing", 1, True),
        Import("os.path", 2, True),
        Import("json", 2, True),
        Import("ebpflab.toolchain", 3, True),
        Import("ebpflab.errors", 4, True),
        Import("ebpflab.engines.base", 5, True),
        Import("array", 9, True),
        Import("ebpflab.errors", 11, False),
        Import("zlib", 13, True),
    ]


def run_python(code: str, *flags: str) -> str:
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_ebpflab_pulls_in_no_heavy_package() -> None:
    loaded = set(run_python("import sys, ebpflab; print(*{m.partition('.')[0] for m in sys.modules})").split())
    assert loaded & (HEAVY | {"numpy"}) == set()
    assert "ebpflab" in loaded


@pytest.mark.parametrize("module", STANDARD_LIBRARY_ONLY.split())
def test_what_make_bootstraps_with_needs_the_standard_library_only(module: str) -> None:
    # -S hides site-packages, and the list of names is the interpreter's own.
    name = "ebpflab.cli" if module == "__main__" else f"ebpflab.{module}"
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import {name}; print(*sys.modules)"
    tops = {m.partition(".")[0] for m in run_python(code, "-I", "-S").split()}
    assert tops - set(sys.stdlib_module_names) - {"__main__", "sitecustomize"} == {"ebpflab"}


def test_import_ebpflab_takes_less_than_150_ms_more_than_bare_python() -> None:
    def seconds(code: str) -> float:
        start = time.perf_counter()
        run_python(code)
        return time.perf_counter() - start

    run_python("import ebpflab")  # writes the byte code, as an installation does
    # Each difference is of two neighbours in time, and the median forgets a busy moment of the machine.
    differences = [seconds("import ebpflab") - seconds("pass") for _ in range(7)]
    assert statistics.median(differences) < 0.150, differences
