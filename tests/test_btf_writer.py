"""BTF written as C: what the compiler makes of the text has to be the BTF that it was written from."""

from __future__ import annotations

import contextlib
import random
import struct
import subprocess
from pathlib import Path

import made_btf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.btf import Btf, Kind
from ebpflab.btf_checks import checks, spots
from ebpflab.btf_plan import Plan
from ebpflab.btf_writer import definition, header, plan, written
from ebpflab.errors import DecodeError
from ebpflab.inspectors.btf_source import open_btf
from ebpflab.toolchain import find_clang, find_libbpf_headers

DATA = Path(__file__).parent / "data" / "btf"
PTR, UNION, ENUM, FWD, CONST, FUNC_PROTO, ENUM64 = 2, 5, 6, 7, 10, 13, 19


class Types(made_btf.Types):
    """BTF by hand, of every kind that a struct can be made of."""

    def to(self, kind, target):
        return self._add("", kind << 24, target)

    def forward(self, name, *, union=False):
        return self._add(name, int(union) << 31 | FWD << 24, 0)

    def function(self, result, *params):
        return self._add("", FUNC_PROTO << 24 | len(params), result, *[word for p in params for word in (0, p)])

    def enum(self, name, size, **values):
        signed = any(value < 0 for value in values.values())
        words = []
        for value_name, value in values.items():
            value %= 1 << 64
            words += [self._name(value_name), value & 0xFFFFFFFF, *([value >> 32] if size == 8 else [])]
        return self._add(name, int(signed) << 31 | (ENUM64 if size == 8 else ENUM) << 24 | len(values), size, *words)

    def record(self, name, size, *members, kind=made_btf.STRUCT):
        # A member is name, type, offset in bits, and its width if it is a bitfield.
        words = [
            word
            for member, type_id, offset, *bits in members
            for word in (self._name(member), type_id, (bits[0] if bits else 0) << 24 | offset)
        ]
        return self._add(name, 1 << 31 | kind << 24 | len(members), size, *words)

    def btf(self):
        body = b"".join(self._types)
        head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(self._strings))
        return Btf.parse(head + body + self._strings)


def compiled(text, folder, *flags, target="bpf"):
    """Compile for BPF without a warning, and return the BTF that clang wrote."""
    source, made = folder / "source.c", folder / "source.o"
    source.write_text(text)
    command = [str(find_clang()), "-target", target, "-O2", "-g", "-Wall", "-Werror", *flags, "-c", str(source)]
    done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[:3000] + text[:3000]
    return open_btf(made).btf


def same_layouts(btf, folder):
    """Write every named record of this BTF as C; the compiler has to find each member where BTF has it."""
    records = [t for t in btf.of_kind(Kind.STRUCT, Kind.UNION) if t.name]
    planned = plan(btf, [t.id for t in records])
    text = written(btf, planned, core=True, guard="__VMLINUX_H__")
    variables = [f"{t.kind.name.lower()} {planned.names.of(t)} v{t.id};\n" for t in records]
    target = "bpfel" if btf.byteorder == "little" else "bpfeb"
    back = compiled(text + checks(btf, planned) + "".join(variables), folder, target=target)
    for t in records:
        found = back.find(planned.names.of(t), t.kind)
        assert found.size == t.size
        assert [s for s in spots(back, found) if "__hole_" not in s.path] == list(spots(btf, t)), text
    return text


@pytest.fixture
def types():
    made = Types()
    made.u8 = made.integer("unsigned char", 1)
    made.int = made.integer("int", 4, signed=True)
    made.u64 = made.integer("long long unsigned int", 8)
    return made


@pytest.mark.parametrize("name", ["records.bpfel.BTF", "records.bpfeb.BTF", "maps.BTF", "kinds.BTF", "globals.BTF"])
def test_headers_of_captured_btf_compile_to_the_same_layouts(name, tmp_path):
    same_layouts(Btf.parse((DATA / name).read_bytes()), tmp_path)


def test_a_struct_is_written_with_its_offsets_and_holes(types):
    inner = types.record("", 8, ("low", types.int, 0), ("high", types.int, 32))
    type_id = types.record(
        "sample",
        40,
        ("tag", types.u8, 0),
        ("when", types.u64, 64),
        ("", inner, 128),
        ("three", types.int, 192, 3),
        ("rest", types.int, 200, 9),
        ("names", types.array(types.array(types.u8, 4), 2), 216),
    )
    assert definition(types.btf(), type_id, comments=True) == (
        "struct sample {\n"
        "\tunsigned char tag;            /* 0  1 */\n"
        "\t/* 7 bytes hole */\n"
        "\tlong long unsigned int when;  /* 8  8 */\n"
        "\tstruct {\n"
        "\t\tint low;              /* 16  4 */\n"
        "\t\tint high;             /* 20  4 */\n"
        "\t};                            /* 16  8 */\n"
        "\tint three: 3;                 /* 24:0  3 bits */\n"
        "\tchar: 5;\n"
        "\t/* 5 bits hole */\n"
        "\tint rest: 9;                  /* 25:0  9 bits */\n"
        "\t/* 7 bits hole */\n"
        "\tunsigned char names[2][4];    /* 27  8 */\n"
        "\t/* 5 bytes padding */\n"
        "\t/* size: 40 */\n"
        "};\n"
    )


def test_attributes_are_those_that_explain_the_layout(types, tmp_path):
    types.record("tight", 9, ("a", types.u8, 0), ("b", types.u64, 8))
    line = types.record("line", 128, ("a", types.int, 0), ("b", types.u64, 512))
    types.record("tail", 64, ("a", types.int, 0))
    types.record("both", 12, ("a", types.u8, 0), ("b", types.u64, 8))
    types.record("outer", 136, ("a", types.u64, 0), ("line", line, 64))  # no multiple of 64: only packed can be
    types.record("wide", 16, ("a", types.array(types.u8, 5), 0), kind=UNION)
    types.record("odd", 24, ("a", types.array(types.u8, 5), 0), kind=UNION)
    types.record("far", 1009, ("a", types.u8, 0), ("b", types.u8, 8064))
    types.record("nothing", 12)
    text = same_layouts(types.btf(), tmp_path)
    for line in (
        "struct tight {\n\tunsigned char a;\n\tlong long unsigned int b;\n} __attribute__((packed));",
        "long long unsigned int b __attribute__((aligned(64)));",
        "struct tail {\n\tint a;\n} __attribute__((aligned(64)));",
        "} __attribute__((packed, aligned(4)));",
        "union wide {\n\tunsigned char a[5];\n} __attribute__((aligned(16)));",
        "union odd {\n\tunsigned char a[5];\n\tchar __hole_1[24];\n};",
        "struct far {\n\tunsigned char a;\n\tchar __hole_1[1007];\n\tunsigned char b;\n};",
    ):
        assert line in text


def test_enums_of_every_width_and_sign_keep_their_size(types, tmp_path):
    enums = [
        types.enum("plain", 4, A=0, B=3),
        types.enum("negative", 4, C=-(1 << 31), D=7),
        types.enum("large", 4, E=0xFFFFFFFF),
        types.enum("packed", 1, F=0, G=255),
        types.enum("packed_signed", 2, H=-129),
        types.enum("wide", 8, I=1 << 40, J=1),
        types.enum("lowest", 8, K=-(1 << 63)),
        types.enum("roomy", 8, L=1),
        types.enum("narrow", 2, M=1),
        types.enum("empty", 4),
        types.enum("", 1, N=1),
    ]
    members = [(f"m{number}", enum, number * 64) for number, enum in enumerate(enums)]
    types.record("all", 88, *members)
    text = same_layouts(types.btf(), tmp_path)
    assert "K = (-9223372036854775807LL - 1)," in text
    assert "enum packed {\n\tF = 0,\n\tG = 255,\n} __attribute__((packed));" in text


def test_pointers_need_a_tag_and_members_the_whole_type(types, tmp_path):
    far = types.record("far", 4, ("a", types.int, 0))
    near = types.record("near", 8, ("self", types.to(PTR, 6), 0))
    types.record("never", 4, ("a", types.int, 0))
    alias = types.typedef("far_t", far)
    call = types.function(types.int, types.to(PTR, far), types.to(PTR, alias), 0)
    asked = types.record(
        "asked", 24, ("near", near, 0), ("call", types.to(PTR, call), 64), ("far", types.to(PTR, far), 128)
    )
    btf = types.btf()
    text = header(btf, [asked], core=False)
    assert "struct far;\n" in text
    assert "typedef struct far far_t;" in text
    assert "struct far {" not in text
    assert "never" not in text
    assert "int (*call)(struct far *, far_t *, ...);" in text
    assert text.index("struct near {") < text.index("struct asked {")
    assert [(btf[e.type_id].name, e.why) for e in Plan(btf, [asked]).entries] == [
        ("near", "in struct asked"),
        ("far_t", "in struct asked"),
        ("asked", "asked"),
    ]
    assert compiled(f"{text}struct asked variable;\n", tmp_path).find("asked", Kind.STRUCT).size == 24


def test_types_of_one_name_are_told_apart_as_libbpf_does(types, tmp_path):
    first = types.record("twice", 4, ("a", types.int, 0))
    second = types.record("twice", 8, ("b", types.u64, 0))
    one, two = types.enum("e", 4, X=1), types.enum("f", 4, X=2)
    same = [types.typedef("u64", types.u64), types.typedef("u64", types.u64)]
    types.record("user", 32, ("a", first, 0), ("b", second, 64), ("c", same[0], 128), ("d", same[1], 192))
    types.record("enums", 8, ("a", one, 0), ("b", two, 32))
    text = same_layouts(types.btf(), tmp_path)
    assert "struct twice___2 b;" in text
    assert "X___2 = 2," in text
    assert text.count("typedef long long unsigned int u64;") == 1


def test_an_anonymous_enum_of_two_members_is_defined_once(types, tmp_path):
    enum = types.enum("", 4, ON=1)
    types.record("pair", 8, ("a", enum, 0), ("b", enum, 32))
    assert same_layouts(types.btf(), tmp_path).count("ON = 1") == 1


def test_names_that_c_keeps_for_itself_are_written_otherwise(types, tmp_path):
    rust = types.integer("char", 4)
    types.typedef("__builtin_va_list", types.array(types.u64, 3))
    types.record("Option<u8>", 8, ("int", types.int, 0), ("0", rust, 32))
    text = header(types.btf(), [t.id for t in types.btf() if t.name])
    assert "typedef long long unsigned int __builtin_va_list___2[3];" in text
    assert "struct Option_u8_ {\n\tint int_;\n\tunsigned int _0;\n};" in text
    assert compiled(f"{text}struct Option_u8_ variable;\n", tmp_path).find("Option_u8_", Kind.STRUCT).size == 8


def test_an_anonymous_member_with_a_tag_needs_no_extension_of_the_compiler(types, tmp_path):
    base = types.record("base", 8, ("a", types.int, 0), ("b", types.int, 32))
    types.record("derived", 16, ("", types.to(CONST, base), 0), ("c", types.u64, 64))
    assert "\tconst struct {\n\t\tint a;\n\t\tint b;\n\t};\n" in same_layouts(types.btf(), tmp_path)


def test_a_header_compiles_beside_libbpf_s_own(types, tmp_path):
    libbpf = "".join(f"#include <bpf/bpf_{name}.h>\n" for name in ("helpers", "core_read", "tracing", "endian"))
    type_id = types.record("s", 4, ("a", types.int, 0))
    text = header(types.btf(), [type_id], note="a note with */ in it")
    program = 'SEC("kprobe") int f(struct s *s) { return BPF_CORE_READ(s, a) + bpf_htons(1); }\n'
    assert compiled(text + libbpf + program, tmp_path, f"-isystem{find_libbpf_headers()}").find("f", Kind.FUNC)


def test_accesses_are_relocated_for_bpf_only(types, tmp_path):
    type_id = types.record("s", 4, ("a", types.int, 0))
    text = header(types.btf(), [type_id]) + "int f(struct s *s) { return s->a; }\n"
    compiled(text, tmp_path)
    assert b"0:0" in (tmp_path / "source.o").read_bytes()  # the access string of a CO-RE relocation
    compiled(text, tmp_path, "-DBPF_NO_PRESERVE_ACCESS_INDEX")
    assert b"0:0" not in (tmp_path / "source.o").read_bytes()
    command = [str(find_clang()), "-Wall", "-Werror", "-fsyntax-only", str(tmp_path / "source.c")]
    assert subprocess.run(command, capture_output=True, timeout=60).stderr == b""


def test_a_typedef_of_a_record_without_a_name_has_its_members(types):
    type_id = types.typedef("pair_t", types.record("", 8, ("a", types.int, 0), ("b", types.int, 32)))
    assert definition(types.btf(), type_id) == "typedef struct {\n\tint a;\n\tint b;\n} pair_t;\n"
    assert "\tint b;  /* 4  4 */\n\t/* size: 8 */\n} pair_t;\n" in definition(types.btf(), type_id, comments=True)


@pytest.mark.parametrize(
    ("kind", "text"),
    [("int", "/* int: a type of C itself */\n"), ("forward", "union u;\n"), ("typedef", "typedef int *p[0];\n")],
)
def test_what_is_no_record_has_a_definition_too(types, kind, text):
    made = {
        "int": lambda: types.int,
        "forward": lambda: types.forward("u", union=True),
        "typedef": lambda: types.typedef("p", types.array(types.to(PTR, types.int), 0)),
    }[kind]()
    assert definition(types.btf(), made) == text


def test_a_record_that_no_compiler_makes_is_refused(types):
    overlapping = types.record("overlapping", 8, ("a", types.u64, 0), ("b", types.int, 32))
    short = types.record("short", 2, ("a", types.int, 0))
    itself = types.record("itself", 8, ("a", 6, 0))
    behind = types.record("", 8, ("a", types.to(PTR, 8), 0))  # writing it out never ends
    assert types.btf()[itself].members[0].type_id == itself
    endless = types.typedef("endless", types.function(types.int, types.to(PTR, 10)))  # takes a pointer to itself
    assert types.btf()[10].params[0].type_id == 9
    for type_id in (overlapping, short, itself, behind, endless):
        with pytest.raises(DecodeError):
            definition(types.btf(), type_id)
        with pytest.raises(DecodeError):
            header(types.btf(), [type_id])


SIZES = {1: "unsigned char", 2: "short unsigned int", 4: "int", 8: "long long unsigned int", 16: "__int128"}


@st.composite
def layouts(draw):
    """BTF of structs and unions whose members stand anywhere: whether a compiler would put them there or not."""
    types = Types()
    scalars = {
        size: types.integer(name, size, signed=name[0] != "u" and "short" not in name) for size, name in SIZES.items()
    }
    kinds = [(type_id, 8 * size) for size, type_id in scalars.items()]
    for number in range(draw(st.integers(1, 12))):
        union = draw(st.integers(0, 5)) == 0
        position, members = 0, []
        for index in range(draw(st.integers(0, 6))):
            type_id, width = draw(st.sampled_from(kinds))
            start = 0 if union else position
            bits = (
                draw(st.integers(1, width))
                if width <= 64 and type_id in scalars.values() and draw(st.booleans())
                else 0
            )
            gap = 0 if union else draw(st.sampled_from([0, 0, 0, 1, 3, 8, 24, 64, 200, 1000]))
            start += gap if bits else -(-(start + gap) // 8) * 8 - start
            members.append((f"m{index}", type_id, start, *([bits] if bits else [])))
            position = max(position, start + (bits or width))
        size = -(-position // 8) + draw(st.sampled_from([0, 0, 0, 1, 4, 8, 40]))
        made = types.record(f"s{number}", size, *members, kind=UNION if union else made_btf.STRUCT)
        kinds.append((made, 8 * size))
        if draw(st.booleans()):
            kinds.append((types.array(made, 3), 24 * size))
    return types.btf()


@settings(max_examples=23, deadline=None)
@given(layouts())
def test_any_layout_comes_out_of_the_compiler_as_it_is(tmp_path_factory, btf):
    same_layouts(btf, tmp_path_factory.mktemp("layouts"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["records.bpfel.BTF", "maps.BTF", "kinds.BTF"]), st.integers(0, 1 << 32))
def test_damaged_btf_raises_decode_error_and_nothing_else(name, seed):
    chance = random.Random(seed)
    data = bytearray((DATA / name).read_bytes())
    for _ in range(chance.randint(1, 12)):
        data[24 + chance.randrange(len(data) - 24)] = chance.choice([0, 1, 2, 4, 255, chance.randrange(256)])
    try:
        btf = Btf.parse(bytes(data))
    except DecodeError:
        return
    for type_id in range(1, len(btf) + 1):
        for write in (definition, lambda btf, type_id: header(btf, [type_id])):
            with contextlib.suppress(DecodeError):
                write(btf, type_id)
