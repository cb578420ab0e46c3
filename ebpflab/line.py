# The stages before the kernel: from a source to a compiled object with everything checked that can be checked
# without loading it. `session.load` calls these in order.

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from . import cache, verifier
from . import compile as compiler
from .cell import Cell, read
from .engines.base import Engine, Handle
from .engines.libbpf import LibbpfEngine
from .errors import CellError, Diagnostic, EbpflabError, HookNotFoundError, UnsafeError, VerifierError
from .inspectors import search, tracefs
from .maps import Variables, set_before_load
from .program_types import parse_section
from .similar import nearest

_TOOLS = (Path(__file__).parent / "bpf_src", Path(__file__).parent.parent / "bpf_src")
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
    # A compiled object with what is known of it.
    object: bytes
    engine: Engine
    cell: Cell | None
    targets: Mapping[str, str]
    warnings: tuple[Diagnostic, ...] = ()


def prepare(
    source: str | PathLike[str], engine: str, targets: dict[str, str], events: dict[str, str], stage: Stage
) -> Prepared:
    chosen = _engine(engine)
    with stage("cell"):
        path = _path(source)
        if path is not None and path.suffix == ".o":
            return Prepared(_read_object(path), chosen, None, targets)
        cell = read(path if path is not None else fspath(source))
        _check_dialect(cell)
        _check_sections(cell, targets)
        contexts = _contexts(cell)
    with stage("compile") as outcome:
        keep = compiler.kept_types(cell, always=bool(events))
        compiled = compiler.compile_cell(cell, contexts=contexts, keep_types=keep)
        outcome.detail = "cached" if compiled.cached else _headers(compiled)
    return Prepared(compiled.object, chosen, cell, targets, compiled.warnings)


def _headers(compiled: compiler.Compiled) -> str:
    return "headers made once for this kernel" if compiled.first else f"{compiled.headers} headers"


def open_object(prepared: Prepared, name: str) -> Handle:
    handle = prepared.engine.open(prepared.object, name=name, targets=prepared.targets)
    if not handle.programs():
        handle.close()
        raise CellError(
            "there is no program in the cell",
            hint='put a section before a function: SEC("tp/syscalls/sys_enter_openat") int h(void *ctx)',
        )
    return handle


def check(handle: Handle, prepared: Prepared, variables: Variables, values: dict[str, Any], *, unsafe: bool) -> None:
    # What only the opened object can tell, before the kernel sees it.
    names = {p.name for p in handle.programs()} | {p.section for p in handle.programs()}
    for key in prepared.targets:
        if key not in names:
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
def located(cell: Cell | None, name: str) -> Iterator[None]:
    # Give errors of load and attach their place in the cell, and keep the verifier's whole log in a file.
    try:
        yield
    except VerifierError as error:
        path = cache.directory("logs") / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}-verifier.log"
        cache.write(path, error.log.encode())
        error.log_path = str(path)
        explanation = error.explanation
        if cell is not None:
            line = explanation.line or (
                verifier.locate(explanation.source, cell.source) if explanation.source else None
            )
            error.where = cell.location(line, explanation.column) if line else None
        error.details = tuple(filter(None, (explanation.meaning, f"whole log: {path} ({explanation.lines:,} lines)")))
        error.hint = explanation.fix or None
        raise
    except HookNotFoundError as error:
        if error.where is None and cell is not None:
            error.where = next((cell.location(at) for section, at in cell.sections if _mentions(section, error)), None)
        raise


def _mentions(section: str, error: EbpflabError) -> bool:
    target = section.partition("/")[2]
    return bool(target) and (target in error.what or target.replace("/", ":") in error.what)


def _engine(engine: str) -> Engine:
    if engine in ("auto", "libbpf"):
        return LibbpfEngine()
    raise CellError(f"there is no engine {engine!r}", hint="engines: auto, libbpf")


def _path(source: str | PathLike[str]) -> Path | None:
    # A path, a tool's name, or None when the source is C text.
    if not isinstance(source, str):
        return Path(source)
    if "\n" in source or "{" in source:
        return None
    if source.endswith((".c", ".o")):
        return Path(source).expanduser()
    if re.fullmatch(r"[A-Za-z][\w-]*", source):
        tools = {p.name.removesuffix(".bpf.c"): p for folder in _TOOLS for p in folder.glob("*.bpf.c")}
        if source not in tools:
            near = nearest(source, sorted(tools))
            raise CellError(
                f"there is no tool {source!r} in bpf_src",
                hint=f"tools: {', '.join(near or sorted(tools))}; or give C text, or the path of a .c or .o file",
            )
        return tools[source]
    return None


def _read_object(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CellError(f"cannot read {path}: {error.strerror}", hint="check the path and its permissions") from error


def _check_dialect(cell: Cell) -> None:
    if cell.bcc_mark:
        raise CellError(
            "this cell is written in BCC's C, which this version does not load",
            where=cell.bcc_mark,
            hint='write it in libbpf\'s C: maps in SEC(".maps"), SEC("tp/...") before a function',
        )


def _check_sections(cell: Cell, targets: Mapping[str, str]) -> None:
    # A misspelt hook is worth an answer before anything is compiled. A uprobe's symbol takes longer to look
    # up, and is looked up only when attaching fails.
    for section, at in cell.sections:
        try:
            parsed = parse_section(section)
            if section not in targets and parsed.target and parsed.kind in ("tracepoint", "tp_btf", "iter"):
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
