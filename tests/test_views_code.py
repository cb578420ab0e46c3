from __future__ import annotations

import dataclasses

import pytest
from bytecode import RETURN_ZERO, instruction
from recorded import FACTS, Stream, event_bytes

import ebpflab
from ebpflab.disassembly import Disassembly
from ebpflab.engines.base import Instructions, ProgramInfo, SourceLine
from ebpflab.errors import SessionError
from ebpflab.views import Look
from ebpflab.views.code import Row, listing


class Programs:
    """What a listing knows of a session: source, names of programs, and their instructions."""

    def __init__(self, source, lines=(), code=RETURN_ZERO, names=("main",), problem=""):
        self.source = source
        self._programs = [ProgramInfo(name, "xdp", len(code) // 8) for name in names]
        self.given = Instructions(code, True, tuple(SourceLine(*line) for line in lines), problem=problem)
        self.asked = []

    def disasm(self, program):
        self.asked.append(program)
        if program not in [p.name for p in self._programs]:
            raise SessionError(f"no program {program}", hint="did you mean main?")
        return Disassembly.of(program, self.given)


CELL = 'int f;\nSEC("xdp") int main(void *ctx)\n{\n\treturn 0;\n}\n'


def test_each_line_of_the_cell_has_the_instructions_that_it_became():
    shown = listing(Programs(CELL, [(0, "./cell", 4, 2, "return 0;"), (1, "./cell", 5, 1, "}")]), Look())
    assert shown.rows == (
        Row(1, "int f;"),
        Row(2, 'SEC("xdp") int main(void *ctx)'),
        Row(3, "{"),
        Row(4, "    return 0;", 1, ("0: (b7) r0 = 0",)),
        Row(5, "}", 1, ("1: (95) exit",)),
    )
    assert (shown.program, shown.programs, shown.cut, shown.problem) == ("main", ("main",), 0, "")


def test_lines_of_other_files_come_after_the_cell_under_headings():
    lines = [
        (0, "/usr/include/bpf/some.h", 99, 2, "\t*x = 1;"),
        (2, "./cell", 4, 2, "return 0;"),
        (3, "./cell", 0, 0, ""),
    ]
    session = Programs(CELL, lines, instruction(0xB7) * 2 + RETURN_ZERO)
    assert listing(session, Look()).rows[5:] == (
        Row(None, "some.h", 2),
        Row(99, "*x = 1;", 2, ("0: (b7) r0 = 0", "1: (b7) r0 = 0")),
        Row(None, "no line", 1),
        Row(0, "", 1, ("3: (95) exit",)),
    )


def test_an_object_without_a_cell_is_listed_by_its_own_lines():
    session = Programs("", [(0, "/src/cell", 12, 1, "return 0;")])
    assert listing(session, Look()).rows == (
        Row(None, "cell", 2),
        Row(12, "return 0;", 2, ("0: (b7) r0 = 0", "1: (95) exit")),
    )


def test_a_line_that_the_cell_does_not_have_is_not_lost():
    shown = listing(Programs("one line", [(0, "./cell", 7, 1, "return 0;")]), Look())
    assert sum(row.insns for row in shown.rows if row.line) == 2


def test_a_program_is_disassembled_once_and_each_has_its_own_listing():
    session = Programs(CELL, names=("main", "other"))
    assert listing(session, Look()).program == "main"
    assert listing(session, Look(program="other")).program == "other"
    assert listing(session, Look()) is listing(session, Look(program="main"))
    assert session.asked == ["main", "other"]


def test_an_unknown_program_is_a_problem_and_not_an_error():
    session = Programs(CELL)
    shown = listing(session, Look(program="mian"))
    assert shown.problem == "no program mian: did you mean main?"
    assert len(shown.rows) == 5


def test_why_nothing_is_shown_is_handed_on():
    shown = listing(Programs(CELL, code=b"", problem="the kernel hides it"), Look())
    assert shown.problem == "the kernel hides it"
    assert len(shown.rows) == 5


@pytest.mark.parametrize("lines", [1, 23, 1009, 10007])
@pytest.mark.parametrize("width", [3, 100, 1000])
@pytest.mark.parametrize("each", [1, 7, 997])
def test_a_listing_stays_within_30_kb_and_counts_what_it_leaves_out(lines, width, each):
    source = "\n".join(["é" * width] * lines)
    places = range(1, min(lines, 23) + 1)
    records = [(n * each, "./cell", line, 1, "x") for n, line in enumerate(places)]
    session = Programs(source, records, instruction(0xB7) * (each * len(places)))
    shown = listing(session, Look())
    size = sum(len(row.source.encode()) + 1 + sum(len(text) + 1 for text in row.text) for row in shown.rows)
    assert size <= 30_000
    assert sum(len(row.text) for row in shown.rows) + shown.cut == each * len(places)
    assert all(len(row.source) <= 160 for row in shown.rows)
    assert sum(row.insns for row in shown.rows) >= sum(len(row.text) for row in shown.rows) > 0


def test_characters_that_separate_rows_on_the_way_to_a_page_are_shown_and_not_sent():
    shown = listing(Programs("a\x1eb\x1fc\x1b[31m"), Look())
    assert shown.rows[0].source == "a\\x1eb\\x1fc\\x1b[31m"


def test_a_listing_is_a_value():
    shown = listing(Programs(CELL), Look())
    with pytest.raises(dataclasses.FrozenInstanceError):
        shown.cut = 3
    assert hash(shown) == hash(dataclasses.replace(shown))


def test_of_a_recording_the_source_is_shown_and_why_there_is_nothing_more(tmp_path):
    stream = Stream()
    stream.events.record(tmp_path / "opens.parquet")
    stream.send(*event_bytes(7))
    stream.close()
    with ebpflab.replay(tmp_path / "opens.parquet", speed=None) as session:
        shown = listing(session, Look())
    assert shown.rows == (Row(1, FACTS.source),)
    assert shown.programs == ("on_open",)
    assert "cannot disassemble programs" in shown.problem
    assert listing(session, Look()).problem  # closed
