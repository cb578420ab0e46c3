"""BTF of clang and of libbpf, compared with what bpftool reads in it and with the C it came from."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.btf import Btf, Kind, Member
from ebpflab.btf_program import map_definitions, structs, variables
from ebpflab.errors import DecodeError

DATA = Path(__file__).parent / "data" / "btf"
FIXTURES = {
    "records.bpfel.BTF": "records.json",
    "records.bpfeb.BTF": "records.json",
    "maps.BTF": "maps.json",
    "kinds.BTF": "kinds.json",
}
INT = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)  # int, as every hand-made BTF below has it


def load(name):
    return Btf.parse((DATA / name).read_bytes())


def made(*types, strings=b"\0int\0flag\0"):
    # BTF by hand, after the format's documentation.
    body = b"".join(types)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(strings)) + body + strings


def head(kind, third, vlen=0, name=0, flag=0):
    return struct.pack("<III", name, flag << 31 | kind << 24 | vlen, third)


def as_bpftool_says(t):
    # One of our types in the words of bpftool's JSON.
    said = {"id": t.id, "kind": t.kind.name, "name": t.name or "(anon)"}
    sign = "SIGNED" if t.signed else "UNSIGNED"
    match t.kind:
        case Kind.INT:
            encoding = {0: "(none)", 1: "SIGNED", 2: "CHAR", 4: "BOOL"}[t.encoding]
            said |= {"size": t.size, "bits_offset": t.bit_offset, "nr_bits": t.bits, "encoding": encoding}
        case Kind.ARRAY:
            said |= {"type_id": t.type_id, "index_type_id": t.index_type_id, "nr_elems": t.length}
        case Kind.STRUCT | Kind.UNION:
            members = [
                {"name": m.name or "(anon)", "type_id": m.type_id, "bits_offset": m.bit_offset}
                | ({"bitfield_size": m.bits} if m.bits else {})
                for m in t.members
            ]
            said |= {"size": t.size, "vlen": len(members), "members": members}
        case Kind.ENUM | Kind.ENUM64:
            values = [{"name": name, "val": value} for name, value in t.values]
            said |= {"encoding": sign, "size": t.size, "vlen": len(values), "values": values}
        case Kind.FWD:
            said |= {"fwd_kind": "union" if t.flag else "struct"}
        case Kind.FUNC:
            said |= {"type_id": t.type_id, "linkage": ["static", "global", "extern"][t.linkage]}
        case Kind.FUNC_PROTO:
            params = [{"name": p.name or "(anon)", "type_id": p.type_id} for p in t.params]
            said |= {"ret_type_id": t.type_id, "vlen": len(params), "params": params}
        case Kind.VAR:
            said |= {"type_id": t.type_id, "linkage": ["static", "global", "extern"][t.linkage]}
        case Kind.DATASEC:
            places = [{"type_id": v.type_id, "offset": v.offset, "size": v.size} for v in t.variables]
            said |= {"size": t.size, "vlen": len(places), "vars": places}
        case Kind.DECL_TAG:
            said |= {"type_id": t.type_id, "component_idx": t.component}
        case Kind.FLOAT:
            said |= {"size": t.size}
        case _:
            said |= {"type_id": t.type_id}
    return said


@pytest.mark.parametrize(("btf", "dump"), FIXTURES.items())
def test_every_type_is_what_bpftool_reads(btf, dump):
    expected = json.loads((DATA / dump).read_text())["types"]
    for t in expected:
        if t["kind"] == "ENUM" and t["encoding"] == "UNSIGNED":
            for value in t["values"]:  # bpftool widens them to 64 bits as if they were signed
                value["val"] &= 0xFFFFFFFF
    assert [as_bpftool_says(t) for t in load(btf)] == expected


def test_the_fixtures_have_every_kind_between_them():
    seen = {t.kind for name in FIXTURES for t in load(name)}
    assert seen == set(Kind) - {Kind.VOID}


def test_the_byte_order_is_told_from_the_magic_number():
    assert load("records.bpfel.BTF").byteorder == "little"
    assert load("records.bpfeb.BTF").byteorder == "big"


@pytest.mark.parametrize("target", ["bpfel", "bpfeb"])
def test_sizes_are_those_of_clang(target):
    btf = load(f"records.{target}.BTF")
    order = "<" if target == "bpfel" else ">"
    *_, (path, _, size) = struct.iter_unpack(f"{order}24sII", (DATA / f"records.{target}.places").read_bytes())
    assert path.rstrip(b"\0") == b""
    assert btf.sizeof(btf.find("event", Kind.STRUCT).id) == size


def test_sizeof_looks_through_typedefs_arrays_and_variables():
    records, maps = load("records.bpfel.BTF"), load("maps.BTF")
    members = {m.name: m.type_id for m in records.find("event", Kind.STRUCT).members}
    sizes = {name: records.sizeof(members[name]) for name in ("comm", "matrix", "pointer", "nothing", "tail", "when")}
    assert sizes == {"comm": 16, "matrix": 3 * 7 * 4, "pointer": 8, "nothing": 0, "tail": 0, "when": 8}
    assert maps.sizeof(maps.find("second", Kind.VAR).id) == 24


def test_what_has_no_size_is_refused():
    kinds = load("kinds.BTF")
    with pytest.raises(DecodeError, match=r"union later .* has no size"):
        kinds.sizeof(kinds.find("later").id)
    with pytest.raises(DecodeError, match="void"):
        kinds.sizeof(0)


def test_a_chain_shows_each_typedef_and_qualifier():
    btf = load("records.bpfel.BTF")
    never = next(m for m in btf.find("event", Kind.STRUCT).members if m.name == "never")
    chain = btf.chain(never.type_id)
    assert [(t.kind.name, t.name) for t in chain] == [
        ("CONST", ""),
        ("TYPEDEF", "ktime_t"),
        ("TYPEDEF", "s64"),
        ("INT", "long long"),
    ]
    assert btf.strip(never.type_id) is chain[-1]


def test_find_can_ask_for_a_kind():
    btf = load("kinds.BTF")
    assert btf.find("pair").kind is Kind.UNION
    assert btf.find("pair", Kind.STRUCT, Kind.UNION).kind is Kind.UNION
    assert btf.find("pair", Kind.STRUCT) is None
    assert btf.find("nothing of that name") is None
    assert btf.find("") is None


@pytest.mark.parametrize(
    ("name", "declaration"),
    [
        ("when", "ktime_t when"),
        ("never", "const ktime_t never"),
        ("path", "char path[21]"),
        ("matrix", "u32 matrix[3][7]"),
        ("state", "enum state state"),
        ("pointer", "volatile struct point *const pointer"),
        ("crowd", "struct point crowd[17]"),
        ("tail", "u32 tail[]"),
    ],
)
def test_members_are_spelled_as_their_source_spells_them(name, declaration):
    btf = load("records.bpfel.BTF")
    member = next(m for m in btf.find("event", Kind.STRUCT).members if m.name == name)
    assert btf.c_type(member.type_id, name) == declaration


def test_functions_and_pointers_to_them_are_spelled_in_c():
    btf = load("maps.BTF")
    helper = btf.find("helper", Kind.FUNC)
    expected = "int helper(struct event *const volatile *restrict, int (*)(void *, ...))"
    assert btf.c_type(helper.id, "helper") == expected
    assert btf.c_type(btf.strip(btf.find("counts", Kind.VAR).type_id).members[0].type_id) == "int (*)[1]"


def test_types_without_a_name_are_spelled_in_c():
    kinds, maps = load("kinds.BTF"), load("maps.BTF")
    assert kinds.c_type(0) == "void"
    assert kinds.c_type(kinds.find("later").id, "x") == "union later x"
    assert maps.c_type(maps.find("events", Kind.VAR).id, "events") == "struct {...} events"


def test_map_definitions_are_those_of_the_source():
    btf = load("maps.BTF")
    found = map_definitions(btf)
    assert list(found) == ["events", "counts", "perf", "outer"]
    spelled = {
        name: (d.type, d.max_entries, *(i and btf.c_type(i) for i in (d.key_type_id, d.value_type_id)))
        for name, d in found.items()
    }
    assert spelled == {
        "events": (27, 1 << 18, None, "struct event"),
        "counts": (1, 10240, "struct key", "u64"),
        "perf": (4, None, None, None),
        "outer": (12, 2, "u32", None),
    }
    inner = found["outer"].inner
    assert inner is not None
    assert (inner.type, btf.c_type(inner.key_type_id), btf.c_type(inner.value_type_id)) == (1, "struct key", "u64")
    assert inner.max_entries == 10240
    assert [name for name, d in found.items() if d.inner] == ["outer"]


def test_structs_are_those_that_have_a_name():
    assert [t.name for t in structs(load("maps.BTF"))] == ["event", "key", "hash_map"]


def test_variables_have_their_place_in_the_section():
    btf = load("maps.BTF")
    # Alignment puts the u64 array after a hole of 4 bytes.
    assert [(v.name, btf.c_type(v.type_id), v.offset, v.size) for v in variables(btf, ".data")] == [
        ("first", "u32", 0, 4),
        ("second", "u64[3]", 8, 24),
    ]
    assert [btf.c_type(v.type_id) for v in variables(btf, ".rodata")] == ["const volatile u32"]
    assert variables(btf, ".bss") == []


def test_a_narrow_int_is_a_bitfield_in_old_btf():
    narrow = struct.pack("<IIII", 1, 1 << 24, 4, 3 << 16 | 5)  # bits 3 to 7 of an unsigned int
    btf = Btf.parse(made(narrow, head(4, 4, vlen=1) + struct.pack("<III", 5, 1, 32)))
    (member,) = btf[2].members
    assert member == Member("flag", 1, 32, 0)
    assert btf.bit_range(member) == (35, 5)


def test_members_beyond_the_old_limit_of_65535_are_read():
    many = 70001
    btf = Btf.parse(made(INT, head(6, 4, vlen=many) + struct.pack("<Ii", 5, -1) * many))
    assert len(btf[2].values) == many


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "shorter than its header"),
        (b"\x7fELF" + bytes(60), "not BTF version 1"),
        (made(INT)[:-1], "not inside"),
        (made(INT[:-4]), "ends inside a type"),
        (made(INT[:9]), "ends inside a type"),
        (made(head(0, 4)), "unknown kind 0"),
        (made(head(20, 4)), "unknown kind 20"),
        (made(INT, strings=b"\0int"), "start and end with a NUL"),
        (made(INT, strings=b""), "start and end with a NUL"),
    ],
)
def test_bytes_that_are_not_btf_are_refused(data, message):
    with pytest.raises(DecodeError, match=message):
        Btf.parse(data)


@pytest.mark.parametrize("type_id", [-1, 2, 1 << 31])
def test_a_type_id_that_is_not_there_is_refused(type_id):
    with pytest.raises(DecodeError, match="not among the 1 types"):
        Btf.parse(made(INT))[type_id]


def test_a_name_outside_the_strings_is_refused():
    with pytest.raises(DecodeError, match="A BTF name at 99"):
        Btf.parse(made(head(16, 8, name=99)))[1]


def test_types_that_refer_to_themselves_are_refused():
    typedef, pointer, array = head(8, 1, name=1), head(2, 2), head(3, 0) + struct.pack("<III", 3, 3, 2)
    btf = Btf.parse(made(typedef, pointer, array))
    with pytest.raises(DecodeError, match="chain"):
        btf.strip(1)
    with pytest.raises(DecodeError, match="refers back to itself"):
        btf.c_type(2)
    with pytest.raises(DecodeError, match="dimensions"):
        btf.sizeof(3)


def test_parameters_that_fan_out_without_end_are_refused():
    by_pointer = Btf.parse(made(head(2, 2), head(13, 0, vlen=2) + struct.pack("<IIII", 0, 1, 0, 1)))
    directly = Btf.parse(made(head(13, 0, vlen=1) + struct.pack("<II", 0, 1)))
    for btf in (by_pointer, directly):
        with pytest.raises(DecodeError, match="refers back to itself"):
            btf.c_type(1)


@st.composite
def damaged(draw):
    data = bytearray((DATA / draw(st.sampled_from(sorted(FIXTURES)))).read_bytes())
    for _ in range(draw(st.integers(1, 8))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


def use_everything(btf):
    for type_id in range(len(btf) + 1):
        for use in (btf.__getitem__, btf.strip, btf.sizeof, btf.c_type):
            try:
                use(type_id)
            except DecodeError:
                continue
    for use in (structs, map_definitions, lambda b: b.find("x"), lambda b: variables(b, ".data")):
        try:
            use(btf)
        except DecodeError:
            continue


@settings(deadline=None)
@given(st.one_of(damaged(), st.binary(max_size=200), st.binary(max_size=200).map(lambda b: made(b))))
def test_damaged_btf_raises_decode_error_and_nothing_else(data):
    try:
        btf = Btf.parse(data)
    except DecodeError:
        return
    use_everything(btf)
