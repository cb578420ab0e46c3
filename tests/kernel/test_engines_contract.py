"""One contract for every engine: the same events, through libbpf's C, BCC's C, and a recording."""

from __future__ import annotations

import os
from pathlib import Path

import cells
import pytest

import ebpflab
from ebpflab.bcc import library, process
from ebpflab.errors import EbpflabError, SessionError, ToolMissingError

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


@pytest.fixture(params=["libbpf", "bcc", "replay"])
def session(request, load, tmp_path):
    """A session that has seen 23 calls of getppid(2) by this process, and nothing else."""
    engine = request.param
    if engine == "bcc":
        try:
            library.find_libbcc()
        except ToolMissingError as error:
            pytest.skip(str(error))
    live = load(SOURCES.get(engine, LIBBPF).replace("ME", str(os.getpid())), name="contract")
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
    process.close()


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
