"""From a cell in BCC's dialect to a BPF object: BCC rewrites it, our clang compiles it, a cache keeps what came out."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import cache, toolchain
from .. import compile as compiler
from ..cell import Cell
from ..compile import clang, vmlinux
from ..errors import CompileError, Diagnostic
from . import library, lowering, maps, messages, modules, rewriter, tree
from .kernel_headers import KernelHeaders
from .rewriter import RewriteError
from .translate import Translation, translate

_KEPT_OBJECTS = 500
# The instructions that BCC's own compiler gives out: programs were written against the verifier with these. No columns,
# since BCC moves them. No warnings about what BCC itself writes, nor those that it does not give either.
_CPU = "v1"
# Words of an error that a header without its text can cause.
_MISSING = re.compile(r"incomplete|undeclared|unknown type|no member|implicit declaration|expected")
_FLAGS = (
    "-gno-column-info",
    *(
        f"-Wno-{name}"
        for name in (
            "address-of-packed-member",
            "deprecated-declarations",
            "gnu-variable-sized-type-not-at-end",
            "incompatible-pointer-types",
            "incompatible-pointer-types-discards-qualifiers",
            "int-conversion",
            "int-to-pointer-cast",
            "macro-redefined",
            "missing-braces",
            "parentheses",
            "pointer-sign",
            "pointer-to-int-cast",
            "tautological-compare",
            "uninitialized",
            "unused-but-set-variable",
            "unused-value",
            "visibility",
        )
    ),
)


@dataclass(frozen=True)
class Built:
    """A BPF object made of a cell in BCC's dialect.

    ``targets`` are where programs are attached whose sections do not say it, and ``waiting`` the programs for which
    nothing does; ``detail`` is the summary's word on how it was made.
    """

    object: bytes
    warnings: tuple[Diagnostic, ...]
    targets: Mapping[str, str]
    waiting: tuple[str, ...]
    detail: str
    cached: bool


def build(
    cell: Cell,
    *,
    targets: Mapping[str, str] | None = None,
    headers: KernelHeaders | None = None,
    keep_types: bool = False,
) -> Built:
    """Compile a cell in BCC's dialect.

    Parameters
    ----------
    cell
        The cell.
    targets
        Where to attach, by function: ``KIND:TARGET``, or a target alone.
    headers
        Real kernel headers, instead of the running kernel's types.
    keep_types
        Whether the types of all structs of the cell have to stay in the object.

    Raises
    ------
    RewriteError
        BCC refused the cell: with its messages, and the cell's lines.
    CompileError
        Clang refused what BCC made of it.
    CellError
        For tables that a cell cannot have, and targets that say too little.
    PrivilegeError, ToolMissingError, KernelSupportError
        As :func:`.rewriter.rewrite`.

    Examples
    --------
    >>> build(Cell("BPF_HASH(counts, u32); int kprobe__vfs_read(void *ctx) { return 0; }")).waiting
    ()
    """
    maps.check(cell)
    wanted = dict(targets or {})
    folder = cache.directory("objects")
    stored = folder / f"bcc-{_key(cell, wanted, headers, keep_types)}"
    with contextlib.suppress(FileNotFoundError):  # never stored, or just trimmed away by another process
        return _read(stored, cell)
    made = _rewritten(cell, headers)
    module = made.tree.module if made.tree else ""
    translation = translate(cell, made, clang.CELL, wanted=wanted, keep=keep_types)
    data, said = _compile(cell, translation, made, headers)
    facts = {
        "headers": str(headers or f"{made.headers} headers"),
        "module": (module, modules.digest(module)) if module else None,
        "foreign": headers.release if headers and headers.foreign else None,
        "targets": dict(translation.targets),
        "waiting": translation.waiting,
        "changed": sorted(translation.changed),
        "said": said,
        "noted": messages.placed(made.log, made.text, cell),
    }
    if compiler.are_known(cell, compiler.local_headers(cell)):
        cache.write(stored.with_suffix(".json"), json.dumps(facts).encode())
        cache.write(stored.with_suffix(".o"), data)
        cache.trim(folder, 2 * _KEPT_OBJECTS)
    return _built(data, facts, cell, cached=False)


def _rewritten(cell: Cell, headers: KernelHeaders | None) -> rewriter.Rewritten:
    try:
        return _rewrite(cell, headers)
    except RewriteError as error:
        raise _missed(messages.explained(error, cell), cell, headers) from error.__cause__


def _rewrite(cell: Cell, headers: KernelHeaders | None) -> rewriter.Rewritten:
    local = compiler.local_folders(cell)
    if headers is None:
        return rewriter.rewrite(cell.source, cell.cflags, local=local)
    with tempfile.TemporaryDirectory(prefix="ebpflab-bcc-") as folder:
        given = headers.tree(Path(folder))
        made = rewriter.rewrite(cell.source, [*cell.cflags, *given.flags], local=local, headers=given.root)
        return replace(made, tree=given)


def _key(cell: Cell, wanted: Mapping[str, str], headers: KernelHeaders | None, keep_types: bool) -> str:
    return cache.key(
        cell.source,
        *compiler.local_headers(cell),
        repr([*map(str, compiler.local_folders(cell)), sorted(wanted.items()), keep_types, cell.cflags]),
        headers.identity if headers else "",
        repr([*clang.base_flags(), _CPU, *_FLAGS, compiler.counters_flag()]),
        library.identity(library.find_libbcc()),
        clang.identity(),
        vmlinux.btf_hash(),
        compiler.loss_counters(),
        _own_text(),
    )


@functools.cache
def _own_text() -> str:
    # What a program becomes depends on this package's own files.
    folder = Path(__file__).parent
    files = sorted([*folder.glob("*.py"), *folder.glob("headers/*.h")])
    return cache.key(*(file.read_bytes() for file in files))


def _read(stored: Path, cell: Cell) -> Built:
    facts = json.loads(stored.with_suffix(".json").read_text())
    if facts["module"] and modules.digest(facts["module"][0]) != facts["module"][1]:
        raise FileNotFoundError  # another version of the module is loaded by now, and its types may differ
    data = stored.with_suffix(".o").read_bytes()
    for suffix in (".json", ".o"):
        os.utime(stored.with_suffix(suffix))
    return _built(data, facts, cell, cached=True)


def _built(data: bytes, facts: Mapping[str, Any], cell: Cell, *, cached: bool) -> Built:
    headers, foreign = str(facts["headers"]), facts["foreign"]
    found = messages.without_columns(clang.parse(str(facts["said"]), cell), frozenset(facts["changed"]))
    warnings = (*messages.noted(str(facts["noted"]), cell), *(d for d in found if d.severity == "warning"))
    if foreign is not None:
        warnings = (messages.foreign(foreign), *warnings)
    headers += f" with types of {facts['module'][0]}" if facts["module"] else ""
    said = ["cached"] if cached else []
    said += [headers] if not cached or headers.startswith("headers of") else []
    detail = ", ".join([f"BCC {library.version() or ''}".strip(), *said])
    return Built(data, warnings, dict(facts["targets"]), tuple(facts["waiting"]), detail, cached)


def _compile(
    cell: Cell, translation: Translation, made: rewriter.Rewritten, headers: KernelHeaders | None
) -> tuple[bytes, str]:
    flags = [
        *_FLAGS,
        *cell.cflags,
        compiler.counters_flag(),
        *(f"-I{folder}" for folder in compiler.local_folders(cell)),
    ]
    libbpf, files = f"-isystem{toolchain.find_libbpf_headers()}", _stand_ins(made)
    try:
        if headers is None:
            return clang.run(translation.text, [f"-mcpu={_CPU}", *flags, libbpf], cell, files=files)
        # The kernel's come first: libbpf's stand beside those of the C library.
        flags += ["-D__KERNEL__", '-DKBUILD_MODNAME="ebpflab"', *(f"-isystem{each}" for each in headers.folders)]
        return lowering.run(translation.text, [*flags, libbpf], _CPU, cell, files)
    except CompileError as error:
        shown = messages.without_columns(error.diagnostics, translation.changed)
        raise _missed(_with(error, shown), cell, headers) from None


def _missed(error: CompileError, cell: Cell, headers: KernelHeaders | None) -> CompileError:
    # The user's own header may be what is missing, where its name could be one of the kernel's.
    taken = tree.taken_for_kernel(cell, compiler.local_folders(cell)) if headers is None else ()
    if taken and any(_MISSING.search(d.message) for d in error.diagnostics):
        places = " or ".join(dict.fromkeys(map(str, compiler.local_folders(cell))))
        each = "was taken for a header" if len(taken) == 1 else "each was taken for a header"
        said = f"no {' and no '.join(taken)} in {places}: {each} of the kernel, which are empty here"
        error.hint = f"{error.hint}; {said}" if error.hint else said
    return error


def _with(error: CompileError, shown: tuple[Diagnostic, ...]) -> CompileError:
    error.diagnostics, error.hint = shown, messages.own(error)
    if error.where is not None:
        same = (d.where for d in shown if d.where and d.where.line == error.where.line)
        error.where = next(same, replace(error.where, column=None))
    return error


def _stand_ins(made: rewriter.Rewritten) -> dict[str, bytes]:
    # Empty files for headers of the kernel, where none are given, and BCC's own. They come before the cell's folders,
    # as what lies there under a kernel's name is another kernel's; so they are those of this one compile.
    empty = made.tree.empty if made.tree else ()
    names = (*empty, "linux/errno.h") if empty else ()
    return {**{tree.inside(name): b"" for name in names}, "bcc/proto.h": library.header("proto.h").encode()}
