from __future__ import annotations

import ctypes
import re
import threading
from pathlib import Path

import bpftool
import cells
import logs
import pytest
import xlated
from bytecode import RETURN_ZERO, instruction, variants
from hook_cells import CELLS

from ebpflab.disassembly import disassemble
from ebpflab.engines.base import Instructions
from ebpflab.errors import EbpflabError, SessionError
from ebpflab.views import Look
from ebpflab.views.code import listing

with_bpftool = pytest.mark.skipif(bpftool.BPFTOOL is None, reason="bpftool is not installed")
NEWER = {"(0d) gotox r0", "(0d) gotox r2"}  # Linux 6.19


def test_every_opcode_reads_as_in_the_verifier_log_or_is_unknown_to_both():
    if "load_acquire" not in (logs.text_of(instruction(0xD3, imm=0x100)) or ""):
        pytest.skip("this kernel has not all instructions: load_acquire, the newest, came with Linux 6.15")
    same, unknown, different = 0, 0, []
    for code in variants():
        text, ours = logs.text_of(code), disassemble(Instructions(code))[0].text
        if text == "unknown":
            unknown += ours.endswith(") unknown")
            different += [(text, ours)] if not ours.endswith(") unknown") and ours not in NEWER else []
        elif text and "(null)" not in text:  # what the kernel writes of a condition that it does not know
            same += text == ours
            different += [(text, ours)] if text != ours else []
    assert different == []
    assert same > 1000
    assert unknown > 1000


def test_the_end_of_a_program_and_a_call_of_its_own_function_read_as_in_the_log():
    code = instruction(0x85, src=1, imm=2) + RETURN_ZERO + RETURN_ZERO
    log = logs.log_of(code)
    given = Instructions(code)
    assert [insn.text for insn in disassemble(given)] == [logs.text_in(log, number) for number in range(5)]
    assert disassemble(given)[0].text == "(85) call pc+2"


@pytest.mark.parametrize("name", xlated.NAMES)
@with_bpftool
def test_a_program_reads_line_by_line_as_bpftool_writes_it(load, name):
    session = load(xlated.cell(name), attach=False)
    infos = session._handle.programs()
    assert infos
    for info in infos:
        ours = [f"{insn.insn}: {insn.text}" for insn in session.disasm(info.name).instructions]
        theirs = xlated.by_bpftool(session, info.id)
        assert [xlated.as_bpftool(line) for line in ours] == [xlated.as_bpftool(line) for line in theirs]
        assert not any("unknown" in line for line in ours)


@pytest.mark.parametrize("name", ["cells: GETPPID", "maps: TABLES", "templates: usdt"])
def test_what_was_loaded_reads_as_in_the_log_of_its_verifier(load, name):
    session = load(xlated.cell(name), attach=False)
    handle = session._handle
    names = "|".join(info.name for info in session._programs)
    logs_of_all = re.split(rf"^(?:{names}):$", session.verifier_log, flags=re.MULTILINE)[1:]
    for info, log in zip(session._programs, logs_of_all, strict=True):
        pointer = handle._programs[info.name]
        size = 8 * handle._lib.bpf_program__insn_cnt(pointer)
        code = ctypes.string_at(handle._lib.bpf_program__insns(pointer), size)
        compared = 0
        for insn in disassemble(Instructions(code)):
            text = logs.text_in(log, insn.insn)
            if text and not insn.text.startswith("(18)"):  # there the log has addresses of maps
                assert insn.text == text
                compared += 1
        assert compared > 10


def test_source_lines_are_those_of_the_cell_where_the_log_has_them(load):
    session = load(cells.GETPPID, name="lines")
    lines = cells.GETPPID.splitlines()
    found = session.disasm().instructions
    assert {insn.file.rpartition("/")[2] for insn in found} == {"cell"}
    assert all(lines[insn.line - 1].strip() == insn.source for insn in found)
    in_log = set(re.findall(r"^; (.*) @ cell:(\d+)$", session.verifier_log, re.MULTILINE))
    if in_log:  # since Linux 6.9
        assert {(insn.source, str(insn.line)) for insn in found} <= in_log | {("if (only && pid != only)", "11")}
    assert {insn.function for insn in found} == {"on_getppid"}


@with_bpftool
def test_the_frame_has_a_row_for_each_instruction_and_the_bytes_that_bpftool_has(load):
    session = load(cells.COUNTER)
    frame = session.disasm("count").df()
    assert list(frame.columns) == ["insn", "function", "file", "line", "source", "text", "bytes"]
    (program,) = session._programs
    info = bpftool.run("prog", "show", "id", session._handle.programs()[0].id)
    assert len(bytes.fromhex("".join(frame["bytes"]))) == info["bytes_xlated"]
    assert session.disasm().jited_bytes == info.get("bytes_jited", 0)
    assert program.name == session.disasm().program
    assert frame["text"].iloc[-1] == "(95) exit"


def test_functions_maps_and_variables_have_their_names(load):
    text = load(xlated.cell("control: filter"), attach=False).disasm().text
    assert re.search(r"^ *\d+: \(85\) call pc\+\d+#measure$", text, re.MULTILINE)
    assert re.search(r"^measure:$", text, re.MULTILINE)
    assert "r1 = map[.bss][0]+0" in text.replace("r2 =", "r1 =")


def test_a_kernel_function_has_its_name(load):
    source = CELLS["cells_templates: kprobe.session"]
    try:
        session = load(source, attach=False)
    except EbpflabError as error:
        pytest.skip(f"no session of kprobes here: {error.what}")
    assert "call bpf_session_is_return#" in session.disasm().text


def test_it_stays_readable_when_the_session_is_over_and_is_not_asked_for_twice(load):
    session = load(cells.GETPPID)
    before = session.disasm("on_getppid")
    shown = listing(session, Look())
    session.close()
    assert session.disasm() is before
    assert listing(session, Look()) is shown
    assert "call bpf_get_current_comm" in repr(before)


def test_a_session_closed_before_the_first_look_says_so_and_the_view_shows_the_source(load):
    session = load(cells.COUNTER, name="unseen")
    session.close()
    with pytest.raises(SessionError, match="unseen is closed") as caught:
        session.disasm()
    assert caught.value.hint
    shown = listing(session, Look())
    assert "unseen is closed" in shown.problem
    assert [row.source for row in shown.rows] == [line.expandtabs(4) for line in cells.COUNTER.splitlines()]
    assert not any(row.insns or row.text for row in shown.rows)


def test_an_unknown_program_is_answered_with_the_nearest_and_leaves_the_view_alive(load):
    session = load(cells.COUNTER)
    with pytest.raises(SessionError, match="no program cuont") as caught:
        session.disasm("cuont")
    assert "count" in caught.value.hint
    assert "no program cuont: did you mean count?" in listing(session, Look(program="cuont")).problem


def test_the_listing_gives_each_line_of_the_cell_the_instructions_that_the_frame_says(load):
    session = load(cells.GETPPID)
    frame, shown = session.disasm().df(), listing(session, Look())
    assert shown.programs == ("on_getppid",)
    assert (shown.program, shown.cut, shown.problem) == ("on_getppid", 0, "")
    by_line = frame.groupby("line").size().to_dict()
    assert {row.line: row.insns for row in shown.rows if row.insns} == by_line
    assert sum(len(row.text) for row in shown.rows) == len(frame)
    assert [row.line for row in shown.rows] == list(range(1, 23))


def test_code_of_headers_is_listed_below_the_cell_under_their_names(load):
    function = "int on(struct pt_regs *ctx) { long x; return bpf_usdt_arg(ctx, 0, &x); }"
    source = f'#include <bpf/usdt.bpf.h>\nSEC("uprobe")\n{function}\n'
    session = load(source, attach=False)
    rows = listing(session, Look()).rows
    headings = [row for row in rows if row.line is None]
    assert [row.line for row in rows[:3]] == [1, 2, 3]
    assert "usdt.bpf.h" in [row.source for row in headings]
    counted = session.disasm().df()
    theirs = counted[counted["file"].str.endswith("/usdt.bpf.h") & (counted["line"] > 0)]
    assert next(row.insns for row in headings if row.source == "usdt.bpf.h") == len(theirs) > 0


HIDDEN = """
    import re, sys
    sys.path.insert(0, sys.argv[1])
    import cells, ebpflab
    mine = int(re.search(r"CapEff:\\s*(\\w+)", open("/proc/self/status").read())[1], 16)
    cells.keep_only_capabilities(mine & ~int(sys.argv[2], 0))
    with ebpflab.load(cells.COUNTER, attach=False) as session:
        cells.keep_only_capabilities(mine & ~int(sys.argv[3], 0))
        found = session.disasm()
        print(found.problem, len(found.instructions), found, sep="|")
"""


def test_without_privileges_the_kernel_hides_instructions_and_that_is_said():
    done = cells.python(HIDDEN, Path(__file__).parent, 0, (1 << 64) - 1)
    assert done.returncode == 0, done.stderr
    problem, count, shown = done.stdout.split("|", 2)
    assert "CAP_BPF" in problem
    assert problem in shown
    assert count == "0"


@pytest.mark.skipif("_addresses_for_everybody()", reason="this kernel shows its addresses to everybody")
def test_without_the_privilege_to_see_addresses_names_of_functions_are_missing_and_that_is_said():
    syslog = 1 << 34
    done = cells.python(HIDDEN, Path(__file__).parent, syslog, syslog)
    assert done.returncode == 0, done.stderr
    problem, count, shown = done.stdout.split("|", 2)
    assert "CAP_SYSLOG" in problem
    assert "call unknown#0" in shown
    assert int(count) > 7


def _addresses_for_everybody() -> bool:
    # kallsyms_show_value in the kernel's kernel/ksyms_common.c.
    kptr, perf = (Path(f"/proc/sys/kernel/{name}").read_text() for name in ("kptr_restrict", "perf_event_paranoid"))
    return int(kptr) == 0 and int(perf) <= 1


def test_disassembling_and_closing_at_once_is_a_session_error_at_worst(load):
    for _ in range(7):
        session = load(cells.COUNTER, name="racing", attach=False)
        shown = []
        looking = threading.Thread(target=_list, args=(session, shown))
        looking.start()
        session.close()
        looking.join()
        (found,) = shown  # whatever else is raised leaves none
        assert found.problem == "" or "is closed" in found.problem


def _list(session, shown):
    shown.append(listing(session, Look()))
