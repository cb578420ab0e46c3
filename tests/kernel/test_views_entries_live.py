"""Entries of maps and global variables of real sessions: shown as text, and written as text."""

from __future__ import annotations

import os
import re
import time

import bpftool
import cells
import cells_maps
import pytest

from ebpflab.errors import EbpflabError, MapError, SessionError
from ebpflab.views import Look
from ebpflab.views.entries import delete, entries, names, write


@pytest.fixture
def tables(load):
    return load(cells_maps.TABLES, name="tables", attach=False)


def shown(session, name):
    found = entries(session, Look(tab="maps", map=name))
    return found, [dict(zip([c.name for c in found.columns], row, strict=True)) for row in found.cells]


def test_entries_are_those_that_bpftool_dumps(tables):
    tables.vars["wanted"] = 101
    tables.test_run("fill")
    found, rows = shown(tables, "counts")
    dumped = bpftool.run("map", "dump", "id", bpftool.map_id(tables.maps["counts"].fd))
    wanted = {str(e["formatted"]["key"]): str(e["formatted"]["value"]) for e in dumped}
    assert {row["key"]: row["value"] for row in rows} == wanted
    assert (len(wanted), found.count, found.type, found.editable) == (101, 101, "hash", True)
    assert [tuple(c) for c in found.columns] == [("key", "number"), ("value", "number")]


def test_two_hundred_entries_are_shown_of_many(tables):
    tables.vars["wanted"] = 10_007
    tables.test_run("fill")
    found, rows = shown(tables, "counts")
    assert (len(rows), found.count) == (200, None)
    assert all(int(row["value"]) == (int(row["key"]) // 7) ** 2 for row in rows)
    start = time.perf_counter()
    shown(tables, "counts")
    assert time.perf_counter() - start < 0.1


@pytest.mark.parametrize(
    ("map", "key", "value", "python"),
    [
        ("counts", "17", "0x1f", (17, 31)),
        ("small", "bash", "7", ("bash", 7)),
        ("small", "17", "7", ("17", 7)),
        ("slots10", "3", "{'count': 5, 'mode': 'ON', 'comm': 'a b'}", (3, (5, 0, "a b", 3, (0, 0, 0)))),
        ("tasks", "{'pid': 17, 'cpu': 1}", "{'count': 13}", ((17, 1), (13, 0, "", 0, (0, 0, 0)))),
        ("untyped", "b'abcdef'", "[1, 2]", (b"abcdef", b"\1\2")),
    ],
)
def test_what_is_written_as_text_is_in_the_map_and_is_shown_again(tables, map, key, value, python):
    write(tables, map, key, value)
    assert tables.maps[map][python[0]] == python[1]
    found, rows = shown(tables, map)
    row = next(row for row in rows if tables.maps[map][python[0]] == python[1] and _is_for(row, python[0]))
    assert found.editable
    before = dict(tables.maps[map].items())
    write(tables, map, row["key"], row["value"])  # what is shown can be given back as it is
    assert dict(tables.maps[map].items()) == before
    if map != "slots10":
        delete(tables, map, row["key"])
        assert python[0] not in tables.maps[map]


def _is_for(row, key):
    return row["key"] in (str(key), repr(key), "{'pid': 17, 'cpu': 1}")


def test_a_per_cpu_map_shows_its_sum_and_takes_a_value_for_each_cpu(tables):
    cpus = len(tables.maps["hits"][0])
    write(tables, "hits", "1", str([23] * cpus))
    found, rows = shown(tables, "hits")
    assert [c.name for c in found.columns] == ["key", "sum", "value"]
    assert rows[1] == {"key": "1", "sum": str(23 * cpus), "value": str([23] * cpus)}
    assert found.count == 3
    with pytest.raises(MapError, match="for each of"):
        write(tables, "hits", "1", "23")


@pytest.mark.parametrize(
    ("map", "key", "value", "words"),
    [
        ("cuonts", "1", "2", "did you mean counts"),
        ("counts", "x", "2", "is no integer"),
        ("counts", "1", "{1: {2}}", "is no integer"),
        ("counts", "1", str(2**64), "does not fit"),
        ("slots10", "10", "{}", "outside"),
        ("slots10", "1", "{'mode': 'NO'}", "is no name"),
        ("sealed", "1", "1", "BPF_F_RDONLY"),
        ("variables", "wantd", "1", "did you mean wanted"),
        ("variables", "wanted", "many", "is no integer"),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_why(tables, map, key, value, words):
    with pytest.raises(EbpflabError, match=re.escape(words)):
        write(tables, map, key, value)


def test_what_is_not_there_cannot_be_deleted(tables):
    for map, key, words in (
        ("counts", "17", "has no entry 17"),
        ("slots10", "1", "always there"),
        ("variables", "wanted", "cannot be deleted"),
    ):
        with pytest.raises(EbpflabError, match=words):
            delete(tables, map, key)


def test_global_variables_are_a_map_called_variables(load, tables):
    opens = load(cells.GETPPID, name="opens", vars={"only": os.getpid()})
    assert names(opens) == ("events", "variables")
    cells.call_getppid(31)
    assert opens.events.wait(31, timeout=5)
    found, rows = shown(opens, "variables")
    assert {row["name"]: (row["section"], row["value"]) for row in rows} == {
        "only": ("constant", str(os.getpid())),
        "seen": (".bss", "31"),
    }
    assert (found.count, found.editable, found.constants) == (2, True, ("only",))
    write(opens, "variables", "seen", "17")
    assert opens.vars["seen"] == 17
    with pytest.raises(SessionError, match="constant"):
        write(opens, "variables", "only", "1")
    # Without a wish, a map that can be listed comes first, and else the variables.
    assert entries(opens, Look(tab="maps")).map == "variables"
    assert entries(tables, Look(tab="maps")).map == next(iter(tables.maps))


def test_every_type_of_map_has_entries_or_says_why_not(load):
    session = load(cells_maps.OTHERS, name="others", attach=False, targets={})
    session.test_run("enqueue", data=bytes(64))
    write(session, "prefixes", "10.0.0.0/8", "7")
    write(session, "jumps", "1", "first_program")
    write(session, "of_task", str(os.getpid()), "{'count': 3}")
    assert session.maps["of_task"][os.getpid()].count == 3
    found = {name: shown(session, name) for name in session.maps}
    told = {name: entry.problem for name, (entry, _) in found.items() if entry.problem}
    assert {name: text.partition(":")[0] for name, text in told.items() if name not in ("waiting", "undone")} == {
        "seen": "the bloom_filter map seen cannot list entries",
        "blind": "blind",
        "groups": "the cgroup_array map groups cannot list entries",
        "of_task": "the task_storage map of_task cannot list entries",
        "of_socket": "the sk_storage map of_socket cannot list entries",
        "events": "the ringbuf map events cannot list entries",
    }
    assert found["waiting"][1] == [{"next value": "{'count': 17, 'low': -1}"}]
    assert found["undone"][1] == [{"next value": "23"}]
    assert session.maps["undone"].pop() == 23  # looking took nothing away
    assert found["prefixes"][1] == [{"key": "10.0.0.0/8", "value": "7"}]
    assert found["jumps"][1] == [{"key": "1", "value": "first_program"}]
    assert found["maps"][1] == [{"key": "0", "value": "left"}]
    assert found["guarded"][1][0]["value"].endswith("'first': 31, 'second': 31}")
    assert found["flows"][1][0]["key"] == "{'from': '10.0.0.1', 'port': 443, 'unused': 0}"
    assert not any(found[name][0].editable for name in ("maps", "peers", "stacks", "waiting", "of_task", "profile"))
    assert all(found[name][0].editable for name in ("jumps", "prefixes", "flows", "devices_by_id"))
    delete(session, "jumps", "1")
    assert shown(session, "jumps")[1] == []


def test_stacks_are_shown_as_functions(load):
    session = load(cells_maps.OTHERS, name="others", attach=False)
    session.attach("keep_stack")
    assert cells.wait_until(lambda: len(session.maps["profile"]))
    session.detach()
    found, rows = shown(session, "profile")
    assert found.count == len(rows) == len(session.maps["profile"])
    assert all(re.search(r"[a-z_]{3}", row["key"]) for row in rows), rows
    found, rows = shown(session, "stacks")
    stack = session.maps["stacks"][int(rows[0]["id"])]
    assert rows[0]["depth"] == str(len(stack))
    assert rows[0]["addresses, the innermost first"].startswith(f"{stack[0]:#x}")


def test_a_histogram_shows_its_slots(load):
    session = load(cells_maps.HISTOGRAMS, name="histograms", attach=False)
    session.maps["latency_hist"][4] = 101
    session.maps["by_name"]["bash"] = {"slots": {2: 17}}
    found, rows = shown(session, "latency_hist")
    assert rows[4] == {"low": "16", "high": "31", "count": "101"}
    assert (len(rows), found.type, found.editable) == (5, "array (histogram)", False)
    assert shown(session, "by_name")[1][-1] == {"comm": "bash", "low": "4", "high": "7", "count": "17"}


UNIONS = """
union both { __u32 whole; __u8 part[4]; };
struct value { union both u; __u64 count; enum { OFF, ON } mode; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 1009); __type(key, __u32); __type(value, struct value); }
values SEC(".maps");
struct value kept = {};
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 7); __type(key, double); __type(value, double); }
doubles SEC(".maps");
SEC("syscall") int p(void *ctx) { return kept.count; }
"""


def test_of_a_struct_that_was_edited_only_what_was_changed_is_written(load):
    session = load(UNIONS, name="unions", attach=False)
    session.maps["values"][7] = {"count": 17}
    for map, key in (("values", "7"), ("variables", "kept")):
        _, rows = shown(session, map)
        text = next(row["value"] for row in rows if key in row.values())
        table = session.maps[map] if map == "values" else session.vars
        at = 7 if map == "values" else key
        table[at] = {"count": 101}  # a program goes on while somebody types
        write(session, map, key, text.replace("'OFF'", "'ON'"), text)
        assert (table[at].count, table[at].mode.name) == (101, "ON")
        write(session, map, key, text.replace("'whole': 0", "'whole': 23"))  # one member of a union, without a "shown"
        assert (table[at].u.whole, table[at].u.part) == (23, b"\x17\0\0\0")
        with pytest.raises(MapError, match="contradict"):
            write(session, map, key, text.replace("'whole': 0", "'whole': 5").replace("b'\\x00", "b'\\x07"), text)
    write(session, "values", "9", "{'count': 3}")  # a new one
    assert session.maps["values"][9].count == 3


def test_every_double_can_be_edited_and_deleted(load):
    session = load(UNIONS, name="unions", attach=False)
    for number in ("1.5", "nan", "inf", "-inf"):
        write(session, "doubles", number, number)
    _, rows = shown(session, "doubles")
    assert {row["key"] for row in rows} == {"1.5", "nan", "inf", "-inf"}
    for row in rows:
        assert row["key"] == row["value"]
        write(session, "doubles", row["key"], row["value"])
        delete(session, "doubles", row["key"])
    assert len(session.maps["doubles"]) == 0


def test_entries_of_a_hash_table_come_in_the_order_of_their_keys(load):
    session = load(UNIONS, name="unions", attach=False)
    for key in range(101):
        session.maps["values"][key * 7919 % 101] = {}
    _, rows = shown(session, "values")
    assert [int(row["key"]) for row in rows] == list(range(101))


def test_of_many_histograms_whole_ones_are_shown_and_it_is_said_so(load):
    session = load(cells_maps.HISTOGRAMS, name="histograms", attach=False)
    table, slots = session.maps["by_name"], 23
    most = table.max_entries
    for number in range(min(most, 29)):
        table[f"task{number}"] = {"slots": {slots - 1: number + 1}}
    found, rows = shown(session, "by_name")
    whole = 200 // slots
    assert (len(rows), found.count) == (whole * slots, None)
    assert found.problem == f"the first {whole} of the map's histograms"
    last = [int(row["count"]) for row in rows if int(row["low"]) == 2 ** (slots - 1)]
    assert len(last) == whole
    assert all(last)


def test_entries_of_a_closed_session_are_a_sentence(tables):
    tables.close()
    for name in ("counts", "variables"):
        found = entries(tables, Look(tab="maps", map=name))
        assert (found.cells, found.editable) == ((), False)
        assert "closed" in found.problem
    with pytest.raises(SessionError):
        write(tables, "counts", "1", "2")
