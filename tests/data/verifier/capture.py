"""Recapture the verifier logs of this folder: root, clang, bpftool and libbpf 1.x are needed.

    python tests/data/verifier/capture.py [NAME ...]

Every NAME.bpf.c is a cell that the verifier refuses. Its log is written beside it as NAME.log, byte for
byte as the kernel (and libbpf's own rewriting of three messages) left it in the log buffer. The cell is
compiled as ebpflab does it, from a file called `cell`, so the line records name `cell`. The marker
`REFUSED` in a cell is where its author says that the fault is; the tests take the expected line from it.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PRELUDE = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
static __always_inline u64 first_word(const u64 *words) {
	return *words;
}
"""
LOG_SIZE = {"too_many_insns": 16384, "infinite_loop": 65536}  # these logs are long: keep the kernel's tail
STRICT_ALIGNMENT = {"misaligned_packet"}
NO_SOURCE = {"no_source_text"}  # clang finds no file `cell` and the records stay without C text
NO_BTF = {"no_line_info"}  # compiled without -g: no records at all
WITHOUT_PERFMON = {"uninitialised_stack", "pointer_leak"}  # what CAP_PERFMON would allow
BPF_F_STRICT_ALIGNMENT = 1
CAP_SYS_ADMIN, CAP_PERFMON = 21, 38


def compile_cell(name: str, work: Path) -> bytes:
    text = (HERE / f"{name}.bpf.c").read_text()
    (work / "prelude.h").write_text(PRELUDE)
    (work / "cell.c").write_text(f'#include "prelude.h"\n#line 1 "cell"\n{text}')
    if name not in NO_SOURCE:
        (work / "cell").write_text(text)
    debug = [] if name in NO_BTF else ["-g"]
    command = [
        "clang",
        "-target",
        "bpf",
        "-D__TARGET_ARCH_x86",
        "-O2",
        *debug,
        "-w",
        "-c",
        "cell.c",
        "-o",
        "cell.o",
    ]
    subprocess.run(command, cwd=work, check=True, timeout=60)
    (work / "cell").unlink(missing_ok=True)
    return (work / "cell.o").read_bytes()


def load(name: str, image: bytes) -> str:
    """Load every program of an object and return the verifier's log of the one that was refused."""
    bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    for call in ("bpf_object__open_mem", "bpf_object__next_program"):
        getattr(bpf, call).restype = ctypes.c_void_p
    bpf.libbpf_set_print(None)
    handle = ctypes.c_void_p(bpf.bpf_object__open_mem(image, ctypes.c_size_t(len(image)), None))
    size = LOG_SIZE.get(name, 1 << 20)
    logs = []
    program = None
    while program := bpf.bpf_object__next_program(handle, ctypes.c_void_p(program)):
        logs.append(ctypes.create_string_buffer(size))
        bpf.bpf_program__set_log_buf(ctypes.c_void_p(program), logs[-1], ctypes.c_size_t(size))
        bpf.bpf_program__set_log_level(ctypes.c_void_p(program), 1)
        if name in STRICT_ALIGNMENT:
            bpf.bpf_program__set_flags(ctypes.c_void_p(program), BPF_F_STRICT_ALIGNMENT)
    error = bpf.bpf_object__load(handle)
    bpf.bpf_object__close(handle)
    if not error:
        raise SystemExit(f"{name}: the kernel accepted it")
    return logs[-1].value.decode()


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        types = subprocess.run(
            ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"],
            check=True,
            timeout=60,
            capture_output=True,
        )
        (work / "vmlinux.h").write_bytes(types.stdout)
        for name in names or sorted(p.name.removesuffix(".bpf.c") for p in HERE.glob("*.bpf.c")):
            image = compile_cell(name, work)
            pid = os.fork()  # a child, because a dropped capability does not come back
            if pid == 0:
                if name in WITHOUT_PERFMON:
                    drop_capabilities()
                (HERE / f"{name}.log").write_text(load(name, image))
                os._exit(0)
            if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0:
                raise SystemExit(f"{name}: no log")


def drop_capabilities() -> None:
    libc = ctypes.CDLL(None)
    for capability in (CAP_SYS_ADMIN, CAP_PERFMON):
        clear_capability(libc, capability)


def clear_capability(libc: ctypes.CDLL, capability: int) -> None:
    # capget and capset with _LINUX_CAPABILITY_VERSION_3: two words each of effective, permitted, inheritable.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    words = (ctypes.c_uint32 * 6)()
    libc.capget(header, words)
    words[capability // 32 * 3] &= ~(1 << capability % 32)
    if libc.capset(header, words):
        raise SystemExit("capset was refused")


if __name__ == "__main__":
    main(sys.argv[1:])
