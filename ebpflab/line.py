# The stages before the kernel: from a source to a compiled object with everything checked that can be checked
# without loading it. `session.load` calls these in order.

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from . import alternatives, refusals, verifier
from . import compile as compiler
from .bcc import building, kernel_headers
from .bcc.kernel_headers import KernelHeaders
from .bcc.wording import address_of_key
from .cell import Cell, read
from .cflags import parse as parse_cflags
from .engines.base import Engine, Handle
from .engines.bcc import BccEngine
from .engines.libbpf import LibbpfEngine
from .errors import (
    CellError,
    CompileError,
    Diagnostic,
    EbpflabError,
    HookNotFoundError,
    KernelSupportError,
    Location,
    UnsafeError,
    VerifierError,
)
from .inspectors import search, tracefs
from .maps import Variables, set_before_load
from .program_types import parse_section
from .similar import nearest
from .toolbox import shelf
from .toolbox.tool import Tool

_NO_PROGRAM = 'put a section before a function: SEC("tp/syscalls/sys_enter_openat") int h(void *ctx)'
_NO_PROGRAM_IN_BCC = "write one: TRACEPOINT_PROBE(syscalls, sys_enter_openat) { ... return 0; }"
# How programs begin in bpftrace's language (bpftrace: docs/language.adoc, "Probes"), which in C nothing does.
_BPFTRACE = re.compile(
    r"^[ \t]*(?:#![^\n]*\bbpftrace\b|(?:BEGIN|END)\s*\{|(?:k(?:ret)?(?:probe|func)|u(?:ret)?probe|f(?:entry|exit)"
    r"|(?:raw)?tracepoint|usdt|iter|profile|interval|software|hardware):[A-Za-z_/*.$][^;(\n]*(?:\n[^;(\n]*)?[{,])",
    re.MULTILINE,
)
# Hooks in BCC's dialect: by its macros, and by the names of functions.
_TRACEPOINT_PROBE = re.compile(r"\bTRACEPOINT_PROBE\s*\(\s*(\w+)\s*,\s*(\w+)\s*\)")
_PROBES = re.compile(
    r"\b(?:TRACEPOINT_PROBE\s*\(\s*\w+\s*,|(?:RAW_TRACEPOINT_PROBE|K(?:RET)?FUNC_PROBE|KMOD_RET|LSM_PROBE|BPF_ITER)\s*\("
    r"|(?:k(?:ret)?probe|raw_tracepoint|k(?:ret)?func|kmod_ret|lsm|syscall)__)\s*(\w+)"
)
ENGINES = ("auto", "libbpf", "bcc")
# Helpers that act on the system instead of watching it; numbers of include/uapi/linux/bpf.h.
_HARMFUL = {
    36: "bpf_probe_write_user",
    58: "bpf_override_return",
    109: "bpf_send_signal",
    117: "bpf_send_signal_thread",
}


@dataclass
class Outcome:
    # What a stage has to say besides its time.
    detail: str = ""


Stage = Callable[[str], AbstractContextManager[Outcome]]


@dataclass(frozen=True)
class Prepared:
    # A compiled object with what is known of it. `waiting` are programs of which nothing says where to attach them.
    object: bytes
    engine: Engine
    cell: Cell | None
    targets: Mapping[str, str]
    warnings: tuple[Diagnostic, ...] = ()
    waiting: tuple[str, ...] = ()
    # Targets of a program beside the one in `targets`.
    more: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def prepare(
    source: str | PathLike[str],
    engine: str,
    targets: dict[str, str],
    events: dict[str, str],
    stage: Stage,
    headers: str | PathLike[str] | None = None,
    cflags: str | Sequence[str] = (),
) -> Prepared:
    _check_engine(engine)
    with stage("cell"):
        path = _path(source)
        if path is not None and path.suffix == ".o":
            return Prepared(_read_object(path), LibbpfEngine(), None, targets)
        cell = replace(read(path if path is not None else fspath(source)), cflags=parse_cflags(cflags))
        _check_language(cell)
        bcc = _is_bcc(cell, engine)
        real = _real_headers(headers, bcc=bcc)
        _check_sections(cell, targets)
        contexts = "" if bcc else _contexts(cell)
    if bcc:
        # What an iterator writes has a type, too.
        return _prepare_bcc(cell, targets, stage, real, keep_types=bool(events) or "bpf_seq_write" in cell.words)
    with stage("compile") as outcome:
        keep = compiler.kept_types(cell, always=bool(events))
        compiled = compiler.compile_cell(cell, contexts=contexts, keep_types=keep)
        outcome.detail = "cached" if compiled.cached else _headers(compiled)
    return Prepared(compiled.object, LibbpfEngine(), cell, targets, (*_idle(cell), *compiled.warnings))


def _prepare_bcc(
    cell: Cell, targets: dict[str, str], stage: Stage, headers: KernelHeaders | None, *, keep_types: bool
) -> Prepared:
    with stage("compile") as outcome:
        try:
            built = building.build(cell, targets=targets, headers=headers, keep_types=keep_types)
        except CompileError as error:
            raise _missing_tracepoint(cell) or error from None
        outcome.detail = built.detail
    # Of a program that waits the user gave the kind only.
    places = {name: place for name, place in targets.items() if name not in built.waiting}
    return Prepared(built.object, BccEngine(), cell, {**places, **built.targets}, built.warnings, built.waiting)


def _headers(compiled: compiler.Compiled) -> str:
    return "headers made once for this kernel" if compiled.first else f"{compiled.headers} headers"


def open_object(prepared: Prepared, name: str, outcome: Outcome) -> Handle:
    handle = prepared.engine.open(prepared.object, name=name, targets=prepared.targets)
    try:
        _choose(handle, prepared.cell, outcome)
    except BaseException:
        handle.close()
        raise
    if not handle.programs():
        handle.close()
        bcc = prepared.engine.name == "bcc"
        raise CellError("there is no program in the cell", hint=_NO_PROGRAM_IN_BCC if bcc else _NO_PROGRAM)
    return handle


def _choose(handle: Handle, cell: Cell | None, outcome: Outcome) -> None:
    # Of alternatives, those that this kernel has the hooks for.
    optional = handle.optional()
    try:
        choice = alternatives.choose(optional)
    except KernelSupportError as error:
        error.where = _find(cell, re.escape(error.details[0].partition(":")[0])) if error.details else None
        raise
    handle.choose(choice.programs)
    outcome.detail = ", ".join(f"{purpose} by {way}" for purpose, way in choice.ways.items())


def check(handle: Handle, prepared: Prepared, variables: Variables, values: dict[str, Any], *, unsafe: bool) -> None:
    # What only the opened object can tell, before the kernel sees it.
    names = {p.name for p in handle.programs()} | {p.section for p in handle.programs()}
    left_out = {p.name for p in handle.optional()}  # alternatives that another kernel takes
    for key in prepared.targets:
        if key not in names | left_out:
            near = nearest(key, sorted(names))
            raise CellError(
                f"--attach {key}=...: the cell has no such program or section",
                hint=f"did you mean {', '.join(near or sorted(names))}?",
            )
    if not unsafe:
        for program in handle.programs():
            harmful = sorted(_HARMFUL[number] for number in handle.calls(program.name) if number in _HARMFUL)
            if harmful:
                raise UnsafeError(
                    f"{program.name} calls {', '.join(harmful)}, which changes other processes",
                    where=_find(prepared.cell, harmful[0]),
                    hint="add --unsafe (or unsafe=True) if that is what you want",
                )
    set_before_load(variables, values)


@contextlib.contextmanager
def located(cell: Cell | None, name: str, warnings: Sequence[Diagnostic] = ()) -> Iterator[None]:
    # Give errors of load and attach their place in the cell, and keep the verifier's whole log in a file. What clang
    # only warned of is often what the verifier refuses.
    try:
        yield
    except VerifierError as error:
        path = refusals.keep(name, error.log)
        error.log_path = str(path)
        if cell is not None:
            error.explanation = verifier.explain(error.log, errno=error.errno, file="cell", cell=cell.source)
            line = error.explanation.line
            error.where = cell.location(line, error.explanation.column) if line else None
        explanation = error.explanation
        line = error.where.line if error.where else None
        warned = [f"clang warned here: {w.message}" for w in warnings if line and w.where and w.where.line == line]
        cut = ", cut short" if explanation.truncated else ""
        kept = "whole log" if refusals.fits(error.log) else "both ends of the log"
        log = f"{kept}: {path} ({explanation.lines:,} lines{cut})"
        error.details = tuple(filter(None, (explanation.meaning, *warned[:1], log)))
        error.hint = explanation.fix or None
        if error.hint and cell is not None and error.where and cell.dialect == "bcc" and "&" in error.hint:
            error.hint = address_of_key(error.where.text) or error.hint
        raise
    except HookNotFoundError as error:
        if error.where is None and cell is not None:
            error.where = next((cell.location(at) for section, at in cell.sections if _mentions(section, error)), None)
            error.where = error.where or _probe(cell, error.what)
        raise


def _probe(cell: Cell, what: str) -> Location | None:
    # Where a cell of BCC's dialect names the hook that a message is about.
    for match in _PROBES.finditer(cell.code):
        name = match[1].removeprefix("sys_") if "probe__" in match[0] else match[1]
        if re.search(rf"\b{name}\b", what):
            return cell.line_of(match.start(1), len(match[1]))
    return None


def _mentions(section: str, error: EbpflabError) -> bool:
    target = section.partition("/")[2]
    return bool(target) and (target in error.what or target.replace("/", ":") in error.what)


def _missing_tracepoint(cell: Cell) -> EbpflabError | None:
    # BCC says of a tracepoint that does not exist that its struct is incomplete.
    for match in _TRACEPOINT_PROBE.finditer(cell.code):
        missing = search.explain_missing("tracepoint", f"{match[1]}/{match[2]}")
        if missing is not None:
            missing.where = cell.line_of(match.start(2), len(match[2]))
            return missing
    return None


def _check_language(cell: Cell) -> None:
    match = None if cell.sections else _BPFTRACE.search(cell.code)
    if match:
        start = match.end() - len(match[0].lstrip())
        raise CellError(
            "this is bpftrace's language, and a %%bpf cell holds C",
            where=cell.line_of(start),
            hint="begin the cell with %%bpftrace NAME (ebpflab.bpftrace(TEXT) in Python)",
        )


def _check_engine(engine: str) -> None:
    if engine not in ENGINES:
        raise CellError(f"there is no engine {engine!r}", hint=f"engines: {', '.join(ENGINES)}")


def _real_headers(headers: str | PathLike[str] | None, *, bcc: bool) -> KernelHeaders | None:
    if headers is None:
        return None
    if not bcc:
        raise CellError(
            "--headers is for cells of BCC's dialect",
            hint="a libbpf cell includes what it wants; its types are the running kernel's",
        )
    return kernel_headers.find(Path(headers).expanduser())


def _path(source: str | PathLike[str]) -> Path | None:
    # A path, a tool's name, or None when the source is C text.
    if not isinstance(source, str):
        return Path(source)
    if "\n" in source or "{" in source:
        return None
    if source.endswith((".c", ".o")):
        return Path(source).expanduser()
    named = tool(source)
    return named.path if named else None


def tool(source: str | PathLike[str]) -> Tool | None:
    # The tool that a source names; raises CellError when a name is none.
    return shelf.find(source) if isinstance(source, str) and re.fullmatch(r"[A-Za-z][\w-]*", source) else None


def _read_object(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CellError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error


def _is_bcc(cell: Cell, engine: str) -> bool:
    if engine == "libbpf" and cell.bcc_mark:
        raise CellError(
            "this cell is written in BCC's C",
            where=cell.bcc_mark,
            hint="leave out --engine libbpf, or write --engine bcc",
        )
    if engine == "bcc" and cell.sections:
        raise CellError(
            "this cell is written in libbpf's C: a section stands before a function",
            where=cell.location(cell.sections[0][1]),
            hint="leave out --engine bcc; BCC takes a function's hook from its name, as in kprobe__vfs_read",
        )
    if cell.bcc_mark and cell.sections and engine == "auto":
        raise CellError(
            f"the cell mixes two dialects: line {cell.bcc_mark.line} is BCC's C, and SEC() is libbpf's",
            where=cell.location(cell.sections[0][1]),
            hint='keep one: define the map as a struct in SEC(".maps"), or the program as '
            "TRACEPOINT_PROBE(syscalls, sys_enter_openat)",
        )
    return engine == "bcc" or cell.dialect == "bcc"


def _idle(cell: Cell) -> tuple[Diagnostic, ...]:
    return tuple(
        Diagnostic(
            "warning", f"{where.text[where.column - 1 :][: where.length]}() has no SEC(...): nothing runs it", where
        )
        for where in cell.idle
        if where.column and cell.sections
    )


def _check_sections(cell: Cell, targets: Mapping[str, str]) -> None:
    # A misspelt hook is worth an answer before anything is compiled. A uprobe's symbol takes longer to look
    # up, and is looked up only when attaching fails.
    for section, at in cell.sections:
        try:
            parsed = parse_section(section)
            wanted = parsed.autoload and section not in targets and parsed.target
            if wanted and parsed.kind in ("tracepoint", "tp_btf", "iter"):
                missing = search.explain_missing(parsed.kind, parsed.target)
                if missing is not None:
                    raise missing
        except EbpflabError as error:
            error.where = error.where or cell.location(at)
            raise


def _contexts(cell: Cell) -> str:
    # The context structs that the cell names: struct tracepoint__<category>__<event>.
    tags = sorted(
        word for word in cell.words if re.fullmatch(r"tracepoint__\w+?__\w+", word) and word not in cell.defined
    )
    found = []
    for tag in tags:
        try:
            found.append(tracefs.struct_for(tag).c())
        except EbpflabError as error:
            error.where = error.where or _find(cell, tag)
            raise
    return "\n".join(found)


def _find(cell: Cell | None, word: str) -> Any:
    match = re.search(rf"\b{word}\b", cell.code) if cell else None
    return cell.line_of(match.start(), len(word)) if cell and match else None
