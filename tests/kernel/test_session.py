from __future__ import annotations

import json
import os
import threading

import cells
import objects
import pandas as pd
import pytest

import ebpflab
from ebpflab.errors import AttachError, CellError, SessionError

OPENS = """\
struct event { ktime_t ts; u32 pid; u32 flags; char comm[16]; char path[48]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20);
	__type(value, struct event); } events SEC(".maps");
SEC("tp/syscalls/sys_enter_openat")
int on_open(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	e->pid = bpf_get_current_pid_tgid() >> 32;
	e->flags = ctx->flags;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_probe_read_user_str(e->path, sizeof(e->path), ctx->filename);
	bpf_ringbuf_submit(e, 0);
	return 0;
}
"""

# A process that opens what it is told, from when it is told, and reports what it did by its own clock.
OPENER = """
    import json, os, sys, time
    names = json.loads(sys.stdin.readline())
    report = []
    for name in names:
        before = time.time_ns()
        os.close(os.open(name, os.O_RDONLY))
        report.append((name, before, time.time_ns()))
    comm = open("/proc/self/comm").read().rstrip("\\n")
    print(json.dumps({"pid": os.getpid(), "comm": comm, "opens": report}))
"""
CLOCK_ERROR = 1_000_000  # ns


def test_the_counts_of_instructions_are_the_kernels_as_soon_as_it_is_loaded(load):
    session = load(cells.GETPPID, attach=False)
    shown = [p.insns for p in session._programs]
    assert session.programs["insns"].tolist() == shown
    assert f"{sum(shown)} instructions" in session.stages["detail"].tolist()


def test_a_frame_holds_exactly_the_97_files_that_a_process_opened(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kinds = ("f{}", "a-rather-longer-name-of-a-file-{}.txt", "größe-naïve-日本語-{}", "x" * 60 + "-{}")
    names = [kinds[i % len(kinds)].format(i) for i in range(97)]
    for name in names:
        (tmp_path / name).touch()
    session = load(OPENS)

    done = cells.python(OPENER, input=json.dumps(names) + "\n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    session.detach()
    frame = session.events.df()

    ours = frame[(frame["pid"] == told["pid"]) & frame["path"].isin({_cut(name) for name in names})]
    assert ours["path"].tolist() == [_cut(name) for name, _, _ in told["opens"]]
    assert set(ours["comm"]) == {told["comm"]}
    assert set(ours["flags"] & os.O_ACCMODE) == {os.O_RDONLY}
    for stamp, (name, before, after) in zip(ours["ts"], told["opens"], strict=True):
        assert before - CLOCK_ERROR <= stamp.value <= after + CLOCK_ERROR, name
    assert frame.attrs["lost"] == 0
    assert frame.attrs["received"] == len(frame)
    assert str(frame["ts"].dtype) == "datetime64[ns, UTC]"


def _cut(name):
    # bpf_probe_read_user_str keeps room for the NUL; a character that is cut in two cannot be read.
    return name.encode()[:47].decode("utf-8", "replace")


def test_every_stage_of_the_line_is_timed_in_order(load):
    stages = load(cells.COUNTER).stages
    assert stages["stage"].tolist() == ["cell", "compile", "open", "load + verify", "attach"]
    assert (stages["ms"] > 0).all()


def test_programs_and_links_tell_what_the_kernel_holds(load):
    session = load(cells.COUNTER, vars={"only": os.getpid()})
    programs, links = session.programs, session.links
    assert programs[["name", "type", "section"]].values.tolist() == [
        ["count", "tracepoint", "tp/syscalls/sys_enter_getppid"]
    ]
    assert programs["insns"].item() > 0
    assert links.values.tolist() == [["count", "tracepoint", "syscalls/sys_enter_getppid", "attached"]]
    session.detach()
    assert session.links.empty
    assert list(session.links.columns) == ["program", "hook", "target", "state"]


def test_the_state_follows_load_attach_detach_and_close(load):
    session = load(cells.COUNTER, attach=False)
    assert session.state == "loaded"
    session.attach()
    assert session.state == "attached"
    session.detach()
    assert session.state == "detached"
    session.close()
    assert session.state == "closed"


def test_global_variables_are_read_and_written_while_the_program_runs(load):
    session = load(cells.COUNTER, vars={"only": os.getpid()})
    cells.call_getppid(13)
    assert session.vars["seen"] == 13
    session.vars["seen"] = 1000
    cells.call_getppid(7)
    assert session.vars["seen"] == 1007
    assert sorted(session.vars) == ["only", "seen"]
    assert "seen = 1007" in repr(session.vars)


def test_a_constant_cannot_be_written_after_load_and_the_error_says_how(load):
    session = load(cells.COUNTER)
    with pytest.raises(SessionError, match="constant") as caught:
        session.vars["only"] = 1
    assert "--var only=" in caught.value.hint


def test_reading_an_unknown_variable_is_a_key_error_with_the_nearest_name(load):
    session = load(cells.COUNTER)
    with pytest.raises(KeyError, match="did you mean seen"):
        session.vars["sean"]


def test_variables_of_a_closed_session_say_so(load):
    session = load(cells.COUNTER)
    session.close()
    with pytest.raises(SessionError, match="closed") as caught:
        session.vars["seen"]
    assert caught.value.hint


def test_text_arrays_and_booleans_are_variables_too(load):
    source = """
    const volatile char wanted[16] = "before";
    const volatile bool strict = false;
    char found[16] = "";
    s64 balance = -5;
    SEC("syscall") int copy(void *ctx)
    {
        if (strict)
            bpf_probe_read_kernel_str(found, sizeof(found), (const void *)wanted);
        balance -= 2;
        return 0;
    }
    """
    session = load(source, vars={"wanted": "näme", "strict": True})
    session.test_run("copy")
    assert session.vars["found"] == "näme"
    assert session.vars["strict"] is True
    assert session.vars["balance"] == -7


def test_events_of_a_session_without_a_buffer_is_an_error_that_says_what_to_define(load):
    with pytest.raises(SessionError, match="no ring buffer") as caught:
        _ = load(cells.COUNTER).events
    assert "BPF_MAP_TYPE_RINGBUF" in caught.value.hint


def test_text_and_html_of_a_session_tell_the_same(load):
    session = load(cells.GETPPID, name="twins", vars={"only": os.getpid()})
    cells.call_getppid(3)
    session.events.wait(3, timeout=5)
    for shown in (repr(session), session._repr_html_()):
        for word in ("twins", "attached", "on_getppid", "tp/syscalls/sys_enter_getppid", "struct event"):
            assert word in shown


def test_a_cell_is_loaded_from_a_file_as_from_text(load, tmp_path):
    path = tmp_path / "count.bpf.c"
    path.write_text(cells.COUNTER)
    session = load(path, vars={"only": os.getpid()})
    cells.call_getppid(11)
    assert session.vars["seen"] == 11


def test_a_header_beside_a_file_is_found(load, tmp_path):
    (tmp_path / "shared.h").write_text("#define STEP 3\n")
    path = tmp_path / "steps.bpf.c"
    path.write_text('#include "shared.h"\nu64 n = 0;\nSEC("syscall") int step(void *ctx) { n += STEP; return 0; }\n')
    session = load(path)
    session.test_run()
    assert session.vars["n"] == 3


def test_a_program_left_out_by_a_question_mark_does_not_disturb_the_others(load):
    source = '\nSEC("?raw_tp/sys_enter") int optional(void *ctx) { return 0; }\n'
    session = load(cells.COUNTER + source, vars={"only": os.getpid()})
    cells.call_getppid(5)
    assert session.programs["name"].tolist() == ["count"]
    assert session.vars["seen"] == 5


def test_sessions_without_a_name_are_numbered_and_listed_oldest_first(load):
    made = [load(cells.COUNTER) for _ in range(3)]
    assert ebpflab.sessions() == made
    assert len({session.name for session in made}) == 3
    assert all(session.name in repr(ebpflab.sessions()) for session in made)


def test_calls_on_a_closed_session_are_session_errors_with_a_hint(load):
    session = load(cells.GETPPID)
    session.close()
    for call in (session.attach, session.detach, session.test_run):
        with pytest.raises(SessionError, match="closed") as caught:
            call()
        assert caught.value.hint


def test_an_unknown_program_is_answered_with_the_nearest(load):
    session = load(cells.COUNTER, attach=False)
    with pytest.raises(SessionError, match="no program cuont") as caught:
        session.attach("cuont")
    assert "count" in caught.value.hint


def test_a_session_can_be_used_from_another_thread_while_events_arrive(load):
    session = load(cells.GETPPID, vars={"only": os.getpid()})
    frames, stop = [0], threading.Event()

    def read():
        while not stop.is_set():
            frames.append(len(session.events.df()))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert cells.wait_until(lambda: cells.call_getppid(31) or len(set(frames)) >= 5)
    finally:
        stop.set()
        reader.join()
    assert frames == sorted(frames)


def test_records_of_two_threads_arrive_whole_and_all(load):
    session = load(cells.GETPPID, vars={"only": os.getpid()})
    threads = [threading.Thread(target=cells.call_getppid, args=(499,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.events.wait(998, timeout=5)
    stats = session.events.stats()
    assert (stats["received"], stats["lost"]) == (998, 0)
    assert session.vars["seen"] == 998


def test_a_frame_of_a_closed_session_is_the_same_as_before(load):
    session = load(cells.GETPPID, vars={"only": os.getpid()})
    cells.call_getppid(17)
    session.events.wait(17, timeout=5)
    before = session.events.df()
    session.close()
    after = session.events.df()
    pd.testing.assert_frame_equal(before, after.head(17))
    assert len(after) == session.events.stats()["received"]
    assert "17" in repr(session.events)


def test_the_name_of_a_tool_that_does_not_exist_lists_what_there_is():
    with pytest.raises(CellError, match="no tool") as caught:
        ebpflab.load("nosuchtool")
    assert caught.value.hint


def test_a_program_whose_section_names_no_target_asks_for_one_and_can_be_run_without(load):
    source = 'SEC("xdp") int drop(struct xdp_md *ctx) { return XDP_DROP; }'
    with pytest.raises(AttachError, match="does not say where to attach") as caught:
        ebpflab.load(source)
    assert "--attach drop=INTERFACE" in caught.value.hint
    result = load(source, attach=False).test_run("drop", data=bytes(64), repeat=10)
    assert result["retval"] == 1  # XDP_DROP, include/uapi/linux/bpf.h
    assert result["data_out"] == bytes(64)


def test_the_verifiers_log_of_accepted_programs_is_there_when_asked_for(load):
    source = cells.GETPPID + 'SEC("raw_tp/sys_enter") int second(void *ctx) { return only == 41; }'
    session = load(source, vars={"only": 41})
    before = objects.live()
    log = session.verifier_log
    assert objects.leaked_since(before) == set()
    assert [name for name in ("on_getppid:\n", "second:\n") if name not in log] == []
    assert log.count("processed ") == 2
    assert "R0=1" in log.partition("second:")[2]  # what --var set is a constant to the verifier
    session.close()
    assert session.verifier_log == log


def test_a_verifier_log_never_asked_for_is_gone_with_the_session(load):
    session = load(cells.GETPPID)
    session.close()
    with pytest.raises(SessionError):
        _ = session.verifier_log
