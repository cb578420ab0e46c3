# C that is read for this machine and given out for BPF: what real kernel headers need.
#
# Their inline assembly is that of the machine, which clang refuses to read for the BPF target, even in functions that
# nobody calls. So it is read as the kernel's own code is, without being optimised, and what the program uses of it
# goes through the BPF target as LLVM's text. The kernel's samples/bpf are made in the same two steps.

from __future__ import annotations

import platform
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import diagnostics, toolchain
from ..cell import Cell
from ..compile import clang, emptied
from ..errors import CompileError

_TIMEOUT = 120  # seconds
# What a function notes of the processor that it was read for: the BPF target knows none of it, and says so at length.
_PROCESSOR = re.compile(r' "(?:target-cpu|target-features|tune-cpu)"="[^"]*"')
_COMMON = ("-O2", "-g", "-fdebug-compilation-dir", ".", *diagnostics.CLANG_FLAGS)
# As in the kernel's Makefile; `-nostdlibinc` keeps clang's own stdarg.h, and the C library's headers out.
_READ = (
    "-nostdlibinc", "-fno-stack-protector", "-fno-jump-tables", "-fno-asynchronous-unwind-tables", "-fno-pic",
    "-fno-strict-aliasing", "-fshort-wchar", "-fms-extensions", "-Wall", "-Wno-microsoft-anon-tag",
    "-Wno-unused-variable", "-Wno-unused-function", "-Wno-unknown-attributes", "-Wno-address-of-packed-member",
    "-Wno-gnu", "-Werror=implicit-function-declaration", "-Xclang", "-disable-llvm-passes",
)  # fmt: skip


def run(text: str, flags: Sequence[str], cpu: str, cell: Cell, files: Mapping[str, bytes]) -> tuple[bytes, str]:
    # An object for BPF and clang's messages, as compile.clang.run gives them. `cpu` is the version of BPF's
    # instructions, and `files` are headers that are found before others. Raises CompileError.
    with tempfile.TemporaryDirectory(prefix="ebpflab-") as folder:
        # Lines of the cell are read by the back end, from a file of its name.
        for name, data in {**files, clang.CELL: cell.source.encode("utf-8", "surrogateescape")}.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / name).write_bytes(data)
        machine = f"{platform.machine()}-linux-gnu"
        read = ["-target", machine, *_COMMON, *_READ, "-I.", *flags, "-S", "-emit-llvm", "-x", "c"]
        assembly, said = _clang(read, text.encode("utf-8", "surrogateescape"), folder, cell)
        plain = _PROCESSOR.sub("", assembly.decode("utf-8", "surrogateescape"))
        given = ["-target", "bpf", f"-mcpu={cpu}", *_COMMON, "-Wno-override-module", "-c", "-x", "ir"]
        data, also = _clang(given, plain.encode("utf-8", "surrogateescape"), folder, cell)
        if empty := emptied.functions(data):
            said = _clang([*read, "-Wuninitialized"], text.encode("utf-8", "surrogateescape"), folder, cell)[1]
            raise emptied.refused(empty[0], clang.parse(said, cell), cell)
    return data, said + also


def _clang(flags: Sequence[str], text: bytes, folder: str, cell: Cell) -> tuple[bytes, str]:
    command = [str(toolchain.find_clang()), *flags, "-", "-o", "-"]
    done = subprocess.run(command, input=text, capture_output=True, cwd=folder, timeout=_TIMEOUT, check=False)
    messages = done.stderr.decode("utf-8", "replace")
    if done.returncode == 0:
        return done.stdout, messages
    found = clang.parse(messages, cell)
    if any(d.severity in ("error", "fatal error") for d in found):
        raise diagnostics.summarise(found)
    last = messages.strip().split("\n")[-12:]
    raise CompileError(f"clang stopped with status {done.returncode} and no error message", details=last)
