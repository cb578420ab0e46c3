# The process that BCC's library runs in: python -I -S child.py LIBRARY SYMBOLS.
#
# BCC changes the process's working directory, cannot compile two programs at once, and its LLVM can abort. So it
# gets a process of its own for every program, which needs nothing but the standard library. Once the library is
# loaded it writes a line and waits for one program on its standard input, as JSON; the answer goes to its standard
# output, and whatever BCC prints goes to its standard error. Maps that BCC makes on the way vanish with it.

from __future__ import annotations

import ctypes as ct
import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Any

_PREPROCESSOR = 0x4  # DEBUG_PREPROCESSOR of bcc's src/cc/bpf_module.h: print the rewritten program
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_SLAVE = 0x20000, 0x1000, 0x4000, 0x80000


def main() -> None:
    answers, folder = os.fdopen(os.dup(1), "w"), Path.cwd().parent
    os.dup2(2, 1)  # BCC prints to both
    _limit(resource.RLIMIT_CORE, 0)
    _shorten(sys.argv[2])
    try:
        library = _load(sys.argv[1])
    except (OSError, AttributeError) as error:  # not a library, or one without these functions
        sys.exit(str(error))
    answers.write("ready\n")
    answers.flush()
    asked = sys.stdin.read()
    if asked:
        answers.write(json.dumps(_rewrite(library, json.loads(asked))))
        answers.flush()
    else:  # the parent is gone, and cannot take away the folder that it made
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # the module is the kernel's to tidy up: nothing of BCC's own clean-up can go wrong


def _limit(limit: int, value: int) -> None:
    _, highest = resource.getrlimit(limit)
    value = value if highest == resource.RLIM_INFINITY else min(value, highest)
    resource.setrlimit(limit, (value, value))


def _shorten(symbols: str) -> None:
    # BCC reads all of /proc/kallsyms, 100,000 lines, to see whether the kernel has bpf_probe_read_kernel: half of the
    # time of a small program. In a mount namespace of this process alone, the file is a short one. Where that is not
    # permitted, it stays as it is.
    libc = ct.CDLL(None)
    libc.mount.argtypes = [ct.c_char_p, ct.c_char_p, ct.c_char_p, ct.c_ulong, ct.c_void_p]
    if libc.unshare(_CLONE_NEWNS) == 0 and libc.mount(b"none", b"/", None, _MS_REC | _MS_SLAVE, None) == 0:
        libc.mount(os.fsencode(symbols), b"/proc/kallsyms", None, _MS_BIND, None)


def _load(path: str) -> ct.CDLL:
    # Declarations as in bcc's src/cc/bcc_common.h.
    library = ct.CDLL(path)
    module, number, text = ct.c_void_p, ct.c_size_t, ct.c_char_p
    library.bpf_module_create_c_from_string.restype = module
    library.bpf_module_create_c_from_string.argtypes = [text, ct.c_uint, ct.POINTER(text), ct.c_int, ct.c_bool, text]
    for name in ("bpf_num_functions", "bpf_num_tables"):
        _declare(library, name, number, module)
    for name in ("bpf_function_name", "bpf_table_name", "bpf_table_key_desc_id", "bpf_table_leaf_desc_id"):
        _declare(library, name, text, module, number)
    for name in ("key_size", "leaf_size", "max_entries"):
        _declare(library, f"bpf_table_{name}_id", number, module, number)
    for name in ("type", "flags", "fd"):
        _declare(library, f"bpf_table_{name}_id", ct.c_int, module, number)
    _declare(library, "bpf_module_license", text, module)
    _declare(library, "bpf_perf_event_fields", number, module, text)
    _declare(library, "bpf_perf_event_field", text, module, text, number)
    return library


def _declare(library: ct.CDLL, name: str, result: object, *arguments: object) -> None:
    function = getattr(library, name)
    function.restype, function.argtypes = result, list(arguments)


def _rewrite(library: ct.CDLL, asked: dict[str, Any]) -> dict[str, object] | None:
    # The parent stops a child that is late; should it be gone by then, the time of the processor ends it.
    _limit(resource.RLIMIT_AS, asked["memory"])
    _limit(resource.RLIMIT_CPU, asked["seconds"])
    os.environ["BCC_KERNEL_SOURCE"] = str(asked["source"])
    flags = [flag.encode("utf-8", "surrogateescape") for flag in asked["flags"]]
    source = str(asked["text"]).encode("utf-8", "surrogateescape")
    array = (ct.c_char_p * len(flags))(*flags)
    module = library.bpf_module_create_c_from_string(source, _PREPROCESSOR, array, len(flags), True, None)
    if not module:
        return None
    return {
        "functions": [_text(library.bpf_function_name(module, n)) for n in range(library.bpf_num_functions(module))],
        "tables": _tables(library, module),
        "license": _text(library.bpf_module_license(module)),
    }


def _tables(library: ct.CDLL, module: int) -> list[dict[str, object]]:
    # As they stand in the program: BCC numbers them from -1 down, and makes the maps from the lowest number up.
    count = library.bpf_num_tables(module)
    order = sorted(range(count), key=lambda n: -library.bpf_table_fd_id(module, n))
    return [_table(library, module, number) for number in order]


def _table(library: ct.CDLL, module: int, number: int) -> dict[str, object]:
    name = library.bpf_table_name(module, number)
    fields = range(library.bpf_perf_event_fields(module, name))
    sizes = ("type", "key_size", "leaf_size", "max_entries", "flags")
    return {
        "name": _text(name),
        "key_desc": _text(library.bpf_table_key_desc_id(module, number)),
        "leaf_desc": _text(library.bpf_table_leaf_desc_id(module, number)),
        "fields": [_text(library.bpf_perf_event_field(module, name, field)) for field in fields],
        **{size: getattr(library, f"bpf_table_{size}_id")(module, number) for size in sizes},
    }


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "surrogateescape")


if __name__ == "__main__":
    main()
