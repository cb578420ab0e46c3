"""Types as ctypes classes and numpy dtypes: against what clang wrote, in both byte orders, and as a module's text."""

import ctypes
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from test_types import ORDERS, Made, damaged, places

from ebpflab.btf import Btf, Kind
from ebpflab.errors import DecodeError
from ebpflab.inspectors.types.members import members
from ebpflab.inspectors.types.python_types import ctypes_class, dtype, source

DATA = Path(__file__).parent / "data" / "btf"
# What layouts.c puts in its sample: path and value.
SAMPLE = {
    "node.next": 0xFFFF888012345678,
    "node.pprev": 0x10,
    "count.counter": -5,
    "class.from": 7,
    "class.import": 0xFEDCBA9876543210,
    "tight.tag": 1,
    "tight.number": 0xDEADBEEF,
    "tight.last": 11,
    "shared.behind": 0x12,
    "shared.after": 0x3456,
    "three.end": 0x77,
    "set": True,
    "text": b"hello",
    "point.x": 1,
    "point.y": 2,
    "call": 0x1234,
    "half": 1.5,
    "third": -0.25,
    "far.first": 9,
    "far.line": 0x01020304,
}
BITFIELDS = {
    "flag": 1,
    "mode": 9,
    "number": 0xABCDEF,
    "tight.low": 17,
    "tight.middle": 33,
    "tight.high": 9,
    "shared.wide": 0xABCDE,
    "three.a": 5,
    "three.b": 19,
    "three.c": 300,
    "three.d": 11,
    "three.minus": -33,
    "three.plus": 0x1234,
    "yes": 1,
    "colour": 200,
    "level": 7,
    "long_one": 0xFEDCBA9876,
    "one": 1,
    "two": 2,
}


def load(target="bpfel", name="layouts"):
    btf = Btf.parse((DATA / f"{name}.{target}.BTF").read_bytes())
    return btf, btf.find("layouts" if name == "layouts" else "event", Kind.STRUCT).id


def sample(target):
    return (DATA / f"layouts.{target}.samples").read_bytes()


def value(thing, path):
    for step in path.split("."):
        thing = thing[step] if isinstance(thing, np.void) else getattr(thing, step)
    return thing


def place(made, path):
    # ctypes' own word: offset from the start of the outermost struct, and size.
    offset = 0
    for step in path.split("."):
        field = getattr(made, step)
        offset += field.offset
        made = inner(made, step)
    return offset, field.size


def inner(made, name):
    # The class of a member, anonymous ones looked through.
    for entry in made._fields_:
        if entry[0] == name:
            return entry[1]
    return next(
        (
            t
            for each in getattr(made, "_anonymous_", ())
            if (t := inner(dict(f[:2] for f in made._fields_)[each], name))
        ),
        None,
    )


def run(text):
    names = {}
    exec(compile(text, "the module", "exec", dont_inherit=True), names)  # what a user does with it
    return names


@pytest.mark.parametrize("target", ORDERS)
def test_ctypes_reads_what_clang_wrote(target):
    made = ctypes_class(*load(target)).from_buffer_copy(sample(target))
    expected = SAMPLE | BITFIELDS
    assert {path: value(made, path) for path in expected} == expected
    assert [list(row) for row in made.grid] == [[1, 2, 3], [4, 5, 60000]]
    assert [(p.x, p.y) for p in made.points] == [(3, 4), (5, 6)]
    assert bytes(made.address.v6)[:5] == bytes([10, 0, 0, 1, 5])


@pytest.mark.parametrize("target", ORDERS)
def test_ctypes_writes_what_clang_wrote(target):
    made = ctypes_class(*load(target))()
    for path, number in (SAMPLE | BITFIELDS).items():
        *outer, last = path.split(".")
        setattr(value(made, ".".join(outer)) if outer else made, last, number)
    for i, row in enumerate([[1, 2, 3], [4, 5, 60000]]):
        made.grid[i][:] = row
    for point, (x, y) in zip(made.points, [(3, 4), (5, 6)], strict=True):
        point.x, point.y = x, y
    made.address.v6[:5] = [10, 0, 0, 1, 5]
    assert bytes(made) == sample(target)


@pytest.mark.parametrize("target", ORDERS)
def test_ctypes_has_every_member_where_clang_has_it(target):
    made, expected = ctypes_class(*load(target)), places(target)
    assert ctypes.sizeof(made) == expected.pop("")[1]
    assert {path: place(made, path) for path in expected} == expected


@pytest.mark.parametrize("target", ORDERS)
def test_numpy_reads_what_clang_wrote(target):
    row = np.frombuffer(sample(target), dtype(*load(target)))[0]
    assert {path: value(row, path) for path in SAMPLE} == SAMPLE
    assert row["grid"].tolist() == [[1, 2, 3], [4, 5, 60000]]
    assert row["points"]["y"].tolist() == [4, 6]
    assert row["address"]["v6"].tolist()[:5] == [10, 0, 0, 1, 5]


@pytest.mark.parametrize("target", ORDERS)
def test_numpy_has_every_member_where_clang_has_it(target):
    made, expected = dtype(*load(target)), places(target)
    assert made.itemsize == expected.pop("")[1]
    found = {}
    for path in expected:
        inside, offset = made, 0
        for step in path.split("."):
            if step not in inside.fields:  # without bytes: a flexible array, an array of none
                break
            inside, at = inside.fields[step][:2]
            offset += at
        else:
            found[path] = (offset, inside.itemsize)
    assert found == {path: where for path, where in expected.items() if where[1]}


def test_a_bitfield_is_for_numpy_the_bytes_that_it_lies_in():
    btf, type_id = load()
    row = np.frombuffer(sample("bpfel"), dtype(btf, type_id))[0]
    for m in (m for m in members(btf, type_id) if m.bits):
        number = int.from_bytes(row[m.name].tobytes(), "little")
        assert number >> m.bit & (1 << m.bits) - 1 == BITFIELDS[m.name]


def test_python_types_of_what_is_no_struct():
    btf, _ = load()
    assert ctypes_class(btf, btf.find("u32").id) is ctypes.c_uint32
    assert ctypes_class(btf, btf.find("colour").id) is ctypes.c_uint32
    assert ctypes.sizeof(ctypes_class(btf, btf.find("atomic_t").id)) == 4
    assert dtype(btf, btf.find("u64").id) == np.dtype("<u8")
    records, _ = load(name="records")
    assert ctypes_class(records, records.find("comm_t").id) is ctypes.c_char * 16
    assert dtype(records, records.find("comm_t").id) == np.dtype("S16")
    assert ctypes.sizeof(ctypes_class(records, records.find("unsigned __int128").id)) == 16
    assert dtype(records, records.find("unsigned __int128").id) == np.dtype("V16")


def test_what_python_cannot_hold_is_refused():
    btf, _ = load()
    with pytest.raises(DecodeError, match="'wide' of 60 bits lies in no integer inside its 9 bytes") as caught:
        ctypes_class(btf, btf.find("nine").id)
    assert "numpy" in caught.value.hint
    assert dtype(btf, btf.find("nine").id).itemsize == 9
    for of in (ctypes_class, dtype):
        with pytest.raises(DecodeError, match="void has no size"):
            of(btf, 0)


@pytest.mark.parametrize("target", ORDERS)
def test_the_module_has_the_same_classes_and_dtypes(target):
    btf, type_id = load(target)
    made, expected = ctypes_class(btf, type_id), dtype(btf, type_id)
    module = run(source(btf, [type_id]))
    assert module["layouts_dtype"] == expected
    assert ctypes.sizeof(module["layouts"]) == expected.itemsize
    read = module["layouts"].from_buffer_copy(sample(target))
    both = SAMPLE | BITFIELDS
    assert {path: value(read, path) for path in both} == both
    assert {path: place(module["layouts"], path) for path in SAMPLE} == {path: place(made, path) for path in SAMPLE}


def test_the_module_names_what_was_asked_for_and_what_that_needs():
    btf, type_id = load()
    asked = [btf.find(name).id for name in ("atomic_t", "colour", "u32")]
    module = run(source(btf, [type_id, *asked]))
    assert module["u32"] is ctypes.c_uint32
    assert module["u32_dtype"] == np.dtype("<u4")
    assert module["colour_values"] == {"RED": 0, "GREEN": 3, "BLUE": 200}
    assert module["atomic_t"].counter.offset == 0
    assert {"__node", "class_", "tight", "shared", "three", "far", "far_dtype", "__node_dtype"} <= module.keys()
    # Structs come before those that contain them, and each but once.
    text = source(btf, [type_id])
    assert text.index("class far(") < text.index("class layouts(")
    assert text.count("class far(") == 1


def test_the_module_needs_nothing_but_numpy():
    btf, type_id = load()
    lines = source(btf, [type_id]).splitlines()
    assert [line for line in lines if line.startswith(("import", "from"))] == [
        "import ctypes",
        "import sys",
        "import numpy as np",
    ]
    assert f'assert sys.byteorder == "{sys.byteorder}", "this module is of a machine with another byte order"' in lines


def test_types_of_one_name_are_told_apart():
    made = Made()
    number = made.integer("int", 4)
    made.struct("same", 4, ("a", number, 0))
    made.struct("same", 8, ("b", number, 4))
    made.struct("both", 12, ("first", 2, 0), ("second", 3, 4))
    btf = made.source.btf
    module = run(source(btf, [4]))
    assert (module["same"].a.offset, module["same_"].b.offset) == (0, 4)
    assert ctypes.sizeof(module["both"]) == 12


def test_names_that_are_no_names_cannot_become_code():
    made = Made()
    evil = 'x:\n    import os\n"""'
    number = made.integer(f"int{evil}", 4)
    made.struct(evil, 8, (f'a"{evil}', number, 0), ("plain", number, 4))
    made.enum(f"colour{evil}", **{f"RED{evil}": 7})
    module = run(source(made.source.btf, [2, 3]))
    assert "os" not in module
    (name,) = [n for n, v in module.items() if isinstance(v, type) and issubclass(v, ctypes.Structure)]
    assert name.isidentifier()
    assert module[name].plain.offset == 4
    assert {f"RED{evil}": 7} in module.values()


def test_a_struct_that_contains_itself_is_refused():
    made = Made()
    made.struct("loop", 8, ("inner", 1, 0))
    for of in (ctypes_class, dtype):
        with pytest.raises(DecodeError, match="contains itself"):
            of(made.source.btf, 1)


def test_a_member_outside_of_its_struct_is_refused():
    made = Made()
    made.struct("small", 4, ("outside", made.integer("int", 4), 4))
    for of in (ctypes_class, dtype):
        with pytest.raises(DecodeError, match="misplaced"):
            of(made.source.btf, 2)


@settings(deadline=None, max_examples=50)
@given(damaged())
def test_damaged_btf_raises_decode_error_and_nothing_else(data):
    try:
        btf = Btf.parse(data)
    except DecodeError:
        return
    for type_id in range(len(btf) + 2):
        for use in (ctypes_class, dtype, lambda btf, type_id: compile(source(btf, [type_id]), "module", "exec")):
            try:
                use(btf, type_id)
            except DecodeError:
                continue


def test_struct_packs_the_same_numbers():
    # A third opinion on one packed struct: the standard library's own packer.
    btf, _ = load()
    made = ctypes_class(btf, btf.find("tight").id)(tag=1, number=0xDEADBEEF, low=17, middle=33, high=9, last=11)
    assert bytes(made) == struct.pack("<BIHQ", 1, 0xDEADBEEF, 17 | 33 << 5 | 9 << 11, 11)
