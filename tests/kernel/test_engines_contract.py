"""One contract for every engine: the same events, through libbpf's C, BCC's C, and recordings of both."""

from __future__ import annotations

import os
from pathlib import Path

import cells
import pytest

import ebpflab
from ebpflab.bcc import library, process
from ebpflab.errors import (
    CompileError,
    EbpflabError,
    HookNotFoundError,
    SessionError,
    ToolMissingError,
    VerifierError,
)
from ebpflab.views.monitor import Monitor

LIBBPF = """\
struct event { u32 pid; u32 number; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16);
	__type(value, struct event); } events SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1);
	__type(key, u32); __type(value, u64); } seen SEC(".maps");
SEC("tp/syscalls/sys_enter_getppid")
int on_getppid(void *ctx)
{
	struct event e = {};
	u32 zero = 0;
	u64 *n = bpf_map_lookup_elem(&seen, &zero);
	e.pid = bpf_get_current_pid_tgid() >> 32;
	if (e.pid != ME || !n)
		return 0;
	e.number = __sync_fetch_and_add(n, 1);
	bpf_get_current_comm(e.comm, sizeof(e.comm));
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
"""
BCC = """\
struct event { u32 pid; u32 number; char comm[16]; };
BPF_RINGBUF_OUTPUT(events, 16);
BPF_ARRAY(seen, u64, 1);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid)
{
	struct event e = {};
	int zero = 0;
	u64 *n = seen.lookup(&zero);
	e.pid = bpf_get_current_pid_tgid() >> 32;
	if (e.pid != ME || !n)
		return 0;
	e.number = (*n)++;
	bpf_get_current_comm(e.comm, sizeof(e.comm));
	events.ringbuf_output(&e, sizeof(e), 0);
	return 0;
}
"""
SOURCES = {"libbpf": LIBBPF, "bcc": BCC}
# The same through perf events: a buffer for each CPU.
PERF = {
    "libbpf": LIBBPF.replace(
        "{ __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16);\n\t__type(value, struct event); }",
        "{ __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); }",
    ).replace(
        "bpf_ringbuf_output(&events, &e, sizeof(e), 0)",
        "bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &e, sizeof(e))",
    ),
    "bcc": BCC.replace("BPF_RINGBUF_OUTPUT(events, 16)", "BPF_PERF_OUTPUT(events)").replace(
        "events.ringbuf_output(&e, sizeof(e), 0)", "events.perf_submit(args, &e, sizeof(e))"
    ),
}
BUFFERS = {"ring": SOURCES, "perf": PERF}
LIVE = ("libbpf", "bcc")
every = pytest.mark.parametrize("engine", LIVE)


def source(engine, buffer="ring"):
    if engine == "bcc":
        try:
            library.find_libbcc()
        except ToolMissingError as error:
            pytest.skip(str(error))
    return BUFFERS[buffer][engine].replace("ME", str(os.getpid()))


def unchecked(engine):
    """The same without its check for NULL, of a lookup that may find nothing."""
    return source(engine).replace("|| !n", "").replace("zero = 0;", "zero = bpf_get_prandom_u32();")


def program(engine):
    return "on_getppid" if engine == "libbpf" else "tracepoint__syscalls__sys_enter_getppid"


@pytest.fixture(autouse=True)
def no_compiler_waits():
    yield
    process.close()


@pytest.fixture(params=["libbpf", "bcc", "replay"])
def session(request, load, tmp_path):
    """A session that has seen 23 calls of getppid(2) by this process, and nothing else."""
    engine = request.param
    live = load(source("libbpf" if engine == "replay" else engine), name="contract")
    if engine == "replay":
        live.events.record(tmp_path / "contract.parquet")
    cells.call_getppid(23)
    assert live.events.wait(23, timeout=5)
    if engine != "replay":
        yield live
    else:
        live.close()
        played = ebpflab.replay(tmp_path / "contract.parquet")
        assert played.events.wait(23, timeout=5)
        yield played
        played.close()


def test_what_a_session_says_of_itself(session, request):
    engine = request.node.callspec.params["session"]
    assert session.engine == engine
    assert session.state in ({"replaying", "replayed"} if engine == "replay" else {"attached"})
    assert list(session.streams) == ["events"]
    assert session.events is session.streams["events"]
    assert session.programs["section"].tolist() == ["tp/syscalls/sys_enter_getppid"]
    assert session.programs["type"].tolist() == ["tracepoint"]
    assert "events" in repr(session)
    assert "events" in session._repr_html_()


def test_the_records_are_exact_and_typed(session):
    frame = session.events.df()
    assert frame["number"].tolist() == list(range(23))
    assert frame["pid"].tolist() == [os.getpid()] * 23
    assert frame["comm"].astype(str).tolist() == [Path("/proc/self/comm").read_text().strip()] * 23
    assert [str(frame[name].dtype) for name in ("pid", "number")] == ["uint32", "uint32"]
    assert session.events.df(last=7)["number"].tolist() == list(range(16, 23))
    assert session.events.arrow().num_rows == 23


def test_the_books_are_exact(session):
    stats = session.events.stats()
    assert (stats["received"], stats["lost"], stats["evicted"], stats["rows"]) == (23, 0, 0, 23)
    seen = Monitor(session).look()
    assert (seen.engine, seen.received, seen.lost, seen.evicted, seen.held) == (session.engine, 23, 0, 0, 23)
    assert seen.state == session.state


def test_stages_links_and_programs_are_frames_of_the_same_columns(session):
    assert session.stages.columns.tolist() == ["stage", "ms", "detail"]
    assert (session.stages["ms"] >= 0).all()
    line = ["replay"] if session.engine == "replay" else ["cell", "compile", "open", "load + verify", "attach"]
    assert session.stages["stage"].tolist() == line
    name = program("bcc" if session.engine == "bcc" else "libbpf")
    state = "recorded" if session.engine == "replay" else "attached"
    assert session.links.values.tolist() == [[name, "tracepoint", "syscalls/sys_enter_getppid", state]]
    assert session.links.columns.tolist() == ["program", "hook", "target", "state"]
    assert {"name", "type", "section", "insns", "jited", "run_cnt", "run_ns"} <= set(session.programs.columns)
    assert (session.programs["insns"] > 10).all()


def test_what_only_a_kernel_knows_is_told_or_refused_in_one_way(session):
    if session.engine != "replay":
        assert "call" in str(session.disasm())
        assert "processed" in session.verifier_log
        assert list(session.vars) == []
        with pytest.raises(KeyError, match="nothing"):
            session.vars["nothing"]
        return
    for ask in (lambda: session.verifier_log, session.disasm, lambda: session.vars["nothing"], session.attach):
        with pytest.raises(SessionError, match="a recording cannot"):
            ask()


@every
def test_the_word_for_the_state_follows_the_stages(load, engine):
    session = load(source(engine), attach=False)
    words = [session.state]
    assert session.stages["stage"].tolist() == ["cell", "compile", "open", "load + verify"]
    assert session.links.empty
    for step in (session.attach, session.detach, session.close):
        step()
        words.append(session.state)
    assert words == ["loaded", "attached", "detached", "closed"]


@every
@pytest.mark.parametrize("buffer", BUFFERS)
def test_what_a_full_buffer_refuses_is_counted_exactly(load, engine, buffer):
    session = load(source(engine, buffer), buffers={"events": 4096})
    session.events.pause()
    cells.call_getppid(10_007)
    session.detach()
    session.events.resume()
    session.close()
    stats = session.events.stats()
    assert 0 < stats["received"] < 10_007
    assert stats["received"] + stats["lost"] == 10_007


@every
@pytest.mark.parametrize("buffer", BUFFERS)
def test_what_is_recorded_is_played_again(load, engine, buffer, tmp_path):
    live = load(source(engine, buffer))
    live.events.record(tmp_path / "calls.parquet")
    cells.call_getppid(101)
    assert live.events.wait(101, timeout=5)
    live.close()
    with ebpflab.replay(tmp_path / "calls.parquet") as played:
        assert played.events.wait(101, timeout=5)
        assert played.source == live.source
        assert played.programs["name"].tolist() == [program(engine)]
        now, then = played.events.df(), live.events.df()
        assert now["number"].tolist() == then["number"].tolist() == list(range(101))
        assert now.columns.tolist() == then.columns.tolist()
        assert now["comm"].astype(str).tolist() == then["comm"].astype(str).tolist()


@every
def test_a_compiler_s_error_has_the_cell_s_line(engine):
    text = source(engine).replace("return 0;\n}", "return nonsense;\n}")
    with pytest.raises(CompileError, match="nonsense") as caught:
        ebpflab.load(text)
    line = next(number for number, each in enumerate(text.split("\n"), 1) if "nonsense" in each)
    assert (caught.value.where.line, caught.value.stage) == (line, "compile")
    assert caught.value.diagnostics[0].where.line == line


@every
def test_a_refusal_of_the_verifier_has_the_cell_s_line_its_meaning_and_the_whole_log(engine):
    text = unchecked(engine)
    with pytest.raises(VerifierError, match=r"map_value_or_null|NULL") as caught:
        ebpflab.load(text, name="refused")
    error = caught.value
    line = next(number for number, each in enumerate(text.split("\n"), 1) if "e.number =" in each)
    assert (error.where.line, error.stage, error.program) == (line, "verify", program(engine))
    assert error.where.text == text.split("\n")[line - 1]
    assert error.hint
    assert Path(error.log_path).read_text() == error.log
    assert "processed" in error.log
    assert len(str(error).split("\n")) < 20


@every
def test_a_hook_that_is_not_there_has_its_neighbours(load, engine):
    with pytest.raises(HookNotFoundError) as caught:
        load(source(engine).replace("sys_enter_getppid", "sys_enter_getppidd"))
    assert "syscalls/sys_enter_getppid" in caught.value.nearest
    assert caught.value.where.line == next(
        n for n, each in enumerate(source(engine).split("\n"), 1) if "getppid" in each
    )
    session = load(source(engine), attach=False)
    with pytest.raises(HookNotFoundError) as caught:
        session.attach(program(engine), target="syscalls/sys_enter_getppidd")
    assert "syscalls/sys_enter_getppid" in caught.value.nearest
    assert session.state == "loaded"


@every
def test_a_session_that_cannot_be_made_leaves_the_one_of_its_name(load, engine):
    old = load(source(engine), name="kept")
    with pytest.raises(EbpflabError):
        load(unchecked(engine), name="kept")
    cells.call_getppid(7)
    assert old.events.wait(7, timeout=5)
    assert old.state == "attached"


@every
def test_without_the_privilege_the_error_names_it(engine, tmp_path):
    # CAP_SYS_ADMIN would stand for it (capabilities(7)).
    told = cells.python(
        """
        import sys
        sys.path.insert(0, sys.argv[2])
        import cells, ebpflab
        cells.keep_only_capabilities(0)
        try:
            ebpflab.load(open(sys.argv[1]).read())
        except ebpflab.EbpflabError as error:
            print(type(error).__name__, "CAP_BPF" in f"{error.hint}", len(str(error).split(chr(10))) < 20)
        """,
        _written(tmp_path / "cell.c", source(engine)),
        Path(__file__).parent,
    )
    assert (told.stdout, told.stderr) == ("PrivilegeError True True\n", "")


def _written(path, text):
    path.write_text(text)
    return path


@every
def test_nothing_is_printed_behind_the_notebook_s_back(load, engine, capfd):
    session = load(source(engine))
    session.detach()
    for text in (unchecked(engine), source(engine).replace("zero = 0;", "")):
        with pytest.raises(EbpflabError):
            ebpflab.load(text)
    with pytest.raises(EbpflabError):
        session.attach(program(engine), target="nothing:of_the_kind")
    session.close()
    assert capfd.readouterr() == ("", "")


def test_frames_outlive_the_session_and_a_closed_one_says_so(session):
    session.close()
    assert session.state == "closed"
    session.close()
    assert session.events.df()["number"].tolist() == list(range(23))
    with pytest.raises(SessionError, match=r"closed|a recording cannot"):
        session.attach()
    with pytest.raises(EbpflabError):
        session.test_run(data=bytes(64))


def test_maps_are_those_of_the_program_where_there_is_a_kernel_behind_it(session):
    if session.engine == "replay":
        assert list(session.maps) == []
        return
    assert session.maps["seen"][0] == 23
    session.maps["seen"][0] = 7
    assert session.maps["seen"][0] == 7


def test_programs_leave_and_come_back(session):
    if session.engine == "replay":
        with pytest.raises(EbpflabError, match="cannot attach"):
            session.attach()
        return
    session.detach()
    cells.call_getppid(7)
    session.attach()
    cells.call_getppid(5)
    assert session.events.wait(28, timeout=5)
    session.detach()
    assert session.events.df()["number"].tolist() == list(range(28))


def test_everything_can_be_saved_and_viewed(session, tmp_path):
    session.events.to_parquet(tmp_path / "saved.parquet")
    import pandas as pd

    assert pd.read_parquet(tmp_path / "saved.parquet")["number"].tolist() == list(range(23))
    view = session.view()
    try:
        assert "events" in str(view)
    finally:
        view.close()
