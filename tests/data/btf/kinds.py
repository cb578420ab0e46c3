"""Write BTF with libbpf's own writer: the kinds that clang 14 does not produce. Usage: kinds.py OUTPUT."""

import ctypes
import sys
from pathlib import Path

lib = ctypes.CDLL("libbpf.so.1")
lib.btf__new_empty.restype = ctypes.c_void_p
lib.btf__raw_data.restype = ctypes.c_void_p
btf = ctypes.c_void_p(lib.btf__new_empty())
UNION = 1  # enum btf_fwd_kind


def add(what, *arguments):
    converted = [a if isinstance(a, (bytes, ctypes.c_longlong)) else ctypes.c_int(a) for a in arguments]
    number = getattr(lib, f"btf__add_{what}")(btf, *converted)
    assert number >= 0, (what, number)
    return number


int_id = add("int", b"int", 4, 1)
char_id = add("int", b"char", 1, 1)
flags = add("enum64", b"flags", 8, 0)
add("enum64_value", b"F_LOW", ctypes.c_longlong(1))
add("enum64_value", b"F_HIGH", ctypes.c_longlong(0xFFFFF << 32))
depth = add("enum64", b"depth", 8, 1)
add("enum64_value", b"D_DOWN", ctypes.c_longlong(-(1 << 40)))
add("enum64_value", b"D_UP", ctypes.c_longlong(1 << 40))
errors = add("enum", b"errors", 4)
add("enum_value", b"E_OK", ctypes.c_longlong(0))
add("enum_value", b"E_LOST", ctypes.c_longlong(-5))
add("struct", b"walk", 24)
add("field", b"flags", flags, 0, 0)
add("field", b"depth", depth, 64, 0)
add("field", b"errors", errors, 128, 0)
add("field", b"minus", errors, 160, 4)
add("fwd", b"later", UNION)
tagged = add("type_tag", b"user", char_id)
add("ptr", tagged)
add("restrict", add("volatile", add("const", int_id)))
pair = add("union", b"pair", 8)
add("field", b"i", int_id, 0, 0)
add("typedef", b"pair_t", pair)
add("decl_tag", b"about", pair, 0)
add("float", b"long double", 16)

size = ctypes.c_uint()
start = lib.btf__raw_data(btf, ctypes.byref(size))
Path(sys.argv[1]).write_bytes(ctypes.string_at(start, size.value))
