# Running clang: the flags, and its messages turned into diagnostics of the cell.

from __future__ import annotations

import functools
import platform
import re
from collections.abc import Mapping

from .. import diagnostics, toolchain
from ..cell import Cell
from ..errors import CompileError, Diagnostic
from . import emptied, spare

# The name under which the cell's text appears in messages and in the kernel's line info.
CELL = "cell"
# What an object has been checked for: one that was kept before is not taken from the cache.
_CHECKED = "no function is empty"
# libbpf's names of the machines, for bpf_tracing.h (PT_REGS_*).
_TARGETS = {
    "x86_64": "x86",
    "aarch64": "arm64",
    "riscv64": "riscv",
    "ppc64le": "powerpc",
    "s390x": "s390",
    "loongarch64": "loongarch",
}


@functools.cache
def base_flags() -> tuple[str, ...]:
    machine = platform.machine()
    return (
        "-target", "bpf", "-mcpu=v3", "-O2", "-g", f"-D__TARGET_ARCH_{_TARGETS.get(machine, machine)}",
        "-fno-stack-protector", "-Wall", "-Wno-unused-variable", "-Wno-unused-function", "-Wno-unknown-attributes",
        "-Wno-pragma-clang-attribute", "-Werror=implicit-function-declaration", *diagnostics.CLANG_FLAGS,
        # The kernel is built so since 7.x: a struct with a tag is an anonymous member of another.
        "-fms-extensions", "-Wno-microsoft-anon-tag",
        # Else glibc's headers take the BPF target for a 32-bit x86 and want headers that nobody has.
        *(["-D__x86_64__"] if machine == "x86_64" else []),
    )  # fmt: skip


@functools.cache
def identity() -> str:
    # What changes when clang or libbpf's headers are replaced.
    clang, headers = toolchain.find_clang(), toolchain.find_libbpf_headers()
    parts = (clang.resolve(), headers / "bpf" / "bpf_helper_defs.h")
    return " ".join([*(f"{p}:{p.stat().st_size}:{p.stat().st_mtime_ns}" for p in parts), _CHECKED])


def run(
    text: str, flags: list[str], cell: Cell, vmlinux: str | None = None, files: Mapping[str, bytes] | None = None
) -> tuple[bytes, str]:
    # Compile `text` to an object; gives the object and clang's messages. `vmlinux`: the text of the vmlinux.h
    # to be found, and `files`: other headers, before any others of their names. Raises CompileError.
    # Clang's BPF backend reads the lines for the line info from a file of the cell's name.
    files = {**(files or {}), CELL: cell.source.encode("utf-8", "surrogateescape")}
    if vmlinux is not None:
        files["vmlinux.h"] = vmlinux.encode()
    # Relative paths, so that the object does not depend on the name of a temporary folder.
    command = (str(toolchain.find_clang()), *base_flags(), "-fdebug-compilation-dir", ".", "-I.", *flags)
    done = spare.compile_text(command, text.encode("utf-8", "surrogateescape"), files)
    if done.status == 0:
        if empty := emptied.functions(done.object):
            again = spare.compile_text((*command, "-Wuninitialized"), text.encode("utf-8", "surrogateescape"), files)
            raise emptied.refused(empty[0], parse(again.messages, cell), cell)
        return done.object, done.messages
    found = parse(done.messages, cell)
    if any(d.severity in ("error", "fatal error") for d in found):
        raise diagnostics.misspelt(found, cell) or diagnostics.summarise(found, helpers=_helpers())
    last = done.messages.strip().split("\n")[-12:]
    raise CompileError(f"clang stopped with status {done.status} and no error message", details=last)


@functools.cache
def _helpers() -> dict[str, str]:
    # The helper functions that the installed headers declare, with their prototypes.
    text = (toolchain.find_libbpf_headers() / "bpf" / "bpf_helper_defs.h").read_text()
    found = re.findall(r"^static\s+([\w\s]+\*?)\(\*\s*(?:const\s+)?(bpf_\w+)\)(\([^;=]*\))\s*=", text, re.MULTILINE)
    return {name: f"{returns}{name}{parameters}" for returns, name, parameters in found}


def parse(messages: str, cell: Cell) -> tuple[Diagnostic, ...]:
    return tuple(diagnostics.parse(messages, cell.source, CELL))
