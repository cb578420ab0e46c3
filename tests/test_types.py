"""Types read from BTF: against clang's places and values, against other ways to the same answer, and damaged."""

import itertools
import json
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_btf import Types

from ebpflab.btf import Btf, Kind
from ebpflab.errors import CellError, DecodeError, TypeNotFoundError
from ebpflab.inspectors.btf_source import BtfSource
from ebpflab.inspectors.types import Hole, TypeInfo, finding, type

DATA = Path(__file__).parent / "data" / "btf"
ORDERS = {"bpfel": "<", "bpfeb": ">"}
# The bitfields of layouts.c and what its sample has in them.
BITFIELDS = {"flag": 1, "mode": 9, "number": 0xABCDEF, "yes": 1, "colour": 200, "level": 7} | {
    "long_one": 0xFEDCBA9876,
    "one": 1,
    "two": 2,
}


class Made(Types):
    """Types that may point to each other; ``source`` is where to look them up."""

    def pointer(self, target):
        return self._add("", Kind.PTR << 24, target)

    def enum(self, name, **values):
        words = [w for key, value in values.items() for w in (self._name(key), value)]
        return self._add(name, Kind.ENUM << 24 | len(values), 4, *words)

    @property
    def source(self):
        body = b"".join(self._types)
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(body), len(body), len(self._strings))
        return BtfSource("a test", Btf.parse(header + body + self._strings), Path())


def layouts(name="layouts", target="bpfel"):
    return type(name, DATA / f"layouts.{target}.BTF")


def places(target):
    # Clang's offset and size of each member by its path; the last row has no path, and the size of the whole.
    rows = struct.iter_unpack(f"{ORDERS[target]}24sII", (DATA / f"layouts.{target}.places").read_bytes())
    return {path.rstrip(b"\0").decode(): (offset, size) for path, offset, size in rows}


def member_at(info, path):
    # What the type knows of a path, as offset from its own start and size.
    *outer, last = path.split(".")
    base = sum(next(m.offset for m in info.members if m.name == name) for name in outer)
    found = info.expand(".".join(outer))
    return next((base + m.offset, m.size) for m in found if m.name == last)


@pytest.mark.parametrize("target", ORDERS)
def test_offsets_and_sizes_are_those_of_clang(target):
    info, expected = layouts(target=target), places(target)
    assert info.size == expected.pop("")[1]
    assert {path: member_at(info, path) for path in expected} == expected
    flat = {path for path in expected if "." not in path} | set(BITFIELDS)
    assert {m.name for m in info.members} == flat


@pytest.mark.parametrize("target", ORDERS)
def test_bits_are_where_clang_put_the_values(target):
    info = layouts(target=target)
    sample = (DATA / f"layouts.{target}.samples").read_bytes()
    read = {}
    for m in info.members:
        if m.bits:
            length = (m.bit + m.bits + 7) // 8
            number = int.from_bytes(sample[m.offset : m.offset + length], "little" if target == "bpfel" else "big")
            shift = m.bit if target == "bpfel" else 8 * length - m.bit - m.bits
            read[m.name] = number >> shift & (1 << m.bits) - 1
    assert read == BITFIELDS


def test_the_nesting_of_anonymous_members_is_kept():
    nested = [(n.depth, n.member.name or n.member.c_type) for n in layouts().nodes if n.member.offset == 20]
    # "flag" and "mode" are in the byte at 20, "number" is in the next, and so is "high" behind "low".
    assert nested == [
        (0, "union {...}"),
        (1, "word"),
        (1, "struct {...}"),
        (2, "low"),
        (1, "struct {...}"),
        (2, "flag"),
        (2, "mode"),
    ]


def test_fields_are_a_frame_with_bits_where_there_are_some():
    frame = layouts().fields
    assert frame.columns.tolist() == ["field", "type", "offset", "size", "bit", "bits"]
    by_name = frame.set_index("field")
    assert by_name.loc["grid", "type"] == "u16[2][3]"
    assert by_name.index[by_name["bits"].notna()].tolist() == list(BITFIELDS)
    assert by_name.loc["mode", ["bit", "bits", "size"]].tolist() == [1, 4, 4]
    assert by_name["bit"].dtype == "Int64"
    assert layouts("u32").fields.columns.tolist() == frame.columns.tolist()
    assert len(layouts("u32").fields) == 0


def test_holes_and_padding_are_the_bytes_that_the_compiler_left():
    assert layouts("class").holes == (Hole(1, 7),)
    far = layouts("far")
    assert (far.holes, far.padding, far.size) == ((Hole(1, 63),), 60, 128)
    assert (layouts("tight").holes, layouts("tight").padding) == ((), 0)
    assert (layouts("shared").holes, layouts("shared").padding) == ((), 2)
    assert (layouts("u32").holes, layouts("u32").padding) == ((), 0)


def test_every_byte_is_a_member_or_a_hole():
    info = layouts()
    covered = bytearray(info.size)
    for m in info.members:
        length = (m.bit + m.bits + 7) // 8 if m.bits else m.size
        covered[m.offset : m.offset + length] = b"\1" * length
    unused = {offset for hole in info.gaps for offset in range(hole.offset, hole.offset + hole.size)}
    assert unused == {offset for offset, byte in enumerate(covered) if not byte}


def test_an_enum_has_its_values():
    info = type("enum colour", DATA / "layouts.bpfel.BTF")
    assert (info.kind, info.size, info.members) == ("enum", 4, ())
    assert info.fields.to_dict("list") == {"name": ["RED", "GREEN", "BLUE"], "value": [0, 3, 200]}
    assert "BLUE" in repr(info)
    assert "200" in info._repr_html_()


def test_a_typedef_has_the_members_of_what_it_stands_for():
    info = layouts("atomic_t")
    assert (info.name, info.kind, info.size) == ("atomic_t", "typedef", 4)
    assert [(m.name, m.c_type, m.offset) for m in info.members] == [("counter", "s32", 0)]
    assert repr(info).startswith("atomic_t [4 bytes] typedef of struct {...}, 1 cache line of 64, 1 member")


def test_the_kind_of_a_name_can_be_told_from_its_keyword():
    assert layouts("struct class").kind == "struct"
    assert layouts("u32").kind == "typedef"
    assert layouts("unsigned int").kind == "int"
    with pytest.raises(TypeNotFoundError) as caught:
        layouts("union class")
    assert caught.value.stage == "inspect"


def test_what_has_no_size_says_so():
    source = layouts().source
    proto = next(t for t in source.btf if t.kind is Kind.FUNC_PROTO)
    info = TypeInfo.of(source, proto.id)
    assert info.size is None
    assert "no size" in repr(info)
    assert TypeInfo.of(source, 0).size is None


def test_children_are_found_through_pointers_and_arrays():
    info = layouts()
    assert [m.path for m in info.expand("node.next")] == ["node.next.next", "node.next.pprev"]
    assert [m.path for m in info.expand("node->next")] == ["node.next.next", "node.next.pprev"]
    assert [(m.path, m.offset) for m in info.expand("points")] == [("points[0].x", 0), ("points[0].y", 1)]
    assert [m.path for m in info.expand("points[1]")] == ["points[0].x", "points[0].y"]
    assert info.expand("text") == info.expand("call") == ()
    assert info.expand() == info.members


def test_a_step_that_does_not_exist_is_told_with_the_nearest():
    with pytest.raises(TypeNotFoundError, match="struct __node has no member 'nxt'") as caught:
        layouts().expand("node.next.nxt")
    assert caught.value.nearest == ("next",)
    assert "did you mean next?" in str(caught.value)
    with pytest.raises(TypeNotFoundError, match="has no members"):
        layouts().expand("text.x")


def test_find_takes_names_globs_and_expressions():
    info = layouts()
    assert info.find("low")["path"].tolist() == ["low", "tight.low"]
    assert info.find("l*")["path"].tolist() == [
        "low",
        "level",
        "long_one",
        "tight.low",
        "tight.last",
        "far.line",
    ]
    assert info.find("/^[xy]$/")["path"].tolist() == ["point.x", "point.y", "points[0].x", "points[0].y"]
    found = info.find("line").iloc[0]
    assert found.to_dict() == {"path": "far.line", "type": "u32", "offset": 192 + 64, "dereferences": 0}
    with pytest.raises(CellError, match="not a regular expression"):
        info.find("/[/")


def test_find_does_not_run_in_circles():
    found = layouts().find("next", depth=7)
    assert found["path"].tolist() == ["node.next"]
    assert (found.attrs["cut"], found.attrs["note"]) == (False, "")


def test_nothing_found_is_an_empty_frame_with_advice():
    found = layouts().find("counters")
    assert (len(found), found["offset"].dtype) == (0, "int64")
    assert "look deeper" in found.attrs["note"]


def test_more_paths_than_anybody_reads_are_cut_and_said_to_be():
    made = Made()
    number = made.integer("int", 4)
    made.struct("wide", 1009 * 4, *((f"m{i}", number, 4 * i) for i in range(1009)))
    found = TypeInfo.of(made.source, 2).find("m*")
    assert len(found) == 1000
    assert found.attrs["cut"]
    assert "there are more" in found.attrs["note"]
    exactly = finding.find(made.source.btf, 2, "m*", 0, limit=1009)
    assert (len(exactly.found), exactly.cut) == (1009, False)


@st.composite
def graphs(draw):
    # Structs that contain later ones and point to any. Ids: an int, then the structs, then a pointer to each.
    count = draw(st.integers(2, 5))
    made = Made()
    number = made.integer("int", 4)
    shapes = []
    for i in range(count):
        size, members = draw(st.integers(1, 4)), []
        for name in "abcd"[:size]:
            kinds = ["number", "pointer", "pointer"] + ["struct"] * (i + 1 < count)
            kind = draw(st.sampled_from(kinds))
            other = draw(st.integers(i + 1 if kind == "struct" else 0, count - 1)) if kind != "number" else 0
            members.append((name, kind, other))
        shapes.append(members)
    ids = {"number": lambda _: number, "struct": lambda k: 2 + k, "pointer": lambda k: 2 + count + k}
    for i, members in enumerate(shapes):
        made.struct(f"s{i}", 32, *((name, ids[kind](other), 0) for name, kind, other in members))
    for i in range(count):
        made.pointer(2 + i)
    return made.source, shapes


def every_path(shapes, at, wanted, depth, seen):
    # The same question answered by trying every way.
    for name, kind, other in shapes[at]:
        if name == wanted:
            yield name, 0
        more = int(kind == "pointer")
        if kind != "number" and other not in seen and more <= depth:
            for rest, pointers in every_path(shapes, other, wanted, depth - more, {*seen, other}):
                yield f"{name}.{rest}", pointers + more


@settings(deadline=None)
@given(graphs(), st.integers(0, 4))
def test_find_gives_every_path_that_trying_all_ways_gives(graph, depth):
    source, shapes = graph
    found = TypeInfo.of(source, 2).find("b", depth)
    expected = sorted(every_path(shapes, 0, "b", depth, {0}))
    assert sorted(zip(found["path"], found["dereferences"], strict=True)) == expected
    assert found["dereferences"].is_monotonic_increasing


def test_the_plain_values_are_json_and_complete():
    info = layouts()
    said = json.loads(json.dumps(info.to_dict()))
    assert [m["name"] for m in said["members"]] == [m.name for m in info.members]
    assert {m["name"]: m["bits"] for m in said["members"] if "bits" in m}.keys() == BITFIELDS.keys()
    assert (said["size"], said["kind"], said["source"]) == (320, "struct", str(DATA / "layouts.bpfel.BTF"))
    assert layouts("colour").to_dict()["values"][2] == {"name": "BLUE", "value": 200}
    assert layouts("class").to_dict()["holes"] == [{"offset": 1, "size": 7}]


def test_c_is_the_definition_alone_or_with_all_that_it_needs():
    assert "struct far {" in layouts("far").c()
    assert "struct far {" not in layouts("far").c().replace("struct far {", "", 1)
    whole = layouts("layouts").c(whole=True)
    assert whole.index("struct far {") < whole.index("struct layouts {")


def test_a_type_that_contains_itself_is_refused():
    made = Made()
    made.struct("", 8, ("", 1, 0))
    with pytest.raises(DecodeError, match="nested more than"):
        TypeInfo.of(made.source, 1).members  # noqa: B018 (a property)


@st.composite
def damaged(draw):
    data = bytearray(
        (DATA / draw(st.sampled_from(["layouts.bpfel.BTF", "layouts.bpfeb.BTF", "kinds.BTF"]))).read_bytes()
    )
    for _ in range(draw(st.integers(1, 8))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


USES = (
    lambda info: info.fields,
    lambda info: info.find("next", 2),
    lambda info: info.find("*", 2),
    lambda info: [info.expand(m.path) for m in info.members[:7]],
    repr,
    lambda info: info._repr_html_(),
    lambda info: info.to_dict(),
)


@settings(deadline=None, max_examples=50)
@given(damaged())
def test_damaged_btf_raises_decode_error_and_nothing_else(data):
    try:
        source = BtfSource("damage", Btf.parse(data), Path())
    except DecodeError:
        return
    for type_id in range(len(source.btf) + 2):
        for use in USES:
            try:
                use(TypeInfo.of(source, type_id))
            except DecodeError:
                continue


def test_a_search_that_cannot_go_deeper_ends() -> None:
    found = type("start", DATA / "paths.BTF").find("*", depth=10**9)
    assert found.equals(type("start", DATA / "paths.BTF").find("*", depth=50))
    with pytest.raises(CellError, match="makes no sense"):
        type("start", DATA / "paths.BTF").find("*", depth=-1)


def test_a_deeper_search_finds_what_a_shallower_one_does() -> None:
    paths = [set(type("start", DATA / "paths.BTF").find("*", depth=depth)["path"]) for depth in range(5)]
    for fewer, more in itertools.pairwise(paths):
        assert fewer <= more


def test_types_of_one_name_are_told() -> None:
    made = Types()
    number = made.integer("int", 4)
    ids = [made.struct("twice", 4 * n, *((f"m{i}", number, 4 * i) for i in range(n))) for n in (1, 2)]
    source = BtfSource("a test", made.btf(), Path("nowhere"))
    first = TypeInfo.of(source, ids[0])
    assert [other.type_id for other in first.namesakes] == [ids[1]]
    assert first.to_dict()["namesakes"] == [ids[1]]
    for shown in (repr(first), first._repr_html_()):
        assert "another type has this name" in shown
