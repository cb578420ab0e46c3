"""A session gives out the object file that it loaded, and that is all another loader needs."""

from __future__ import annotations

import io

from elftools.elf.elffile import ELFFile

import ebpflab

SOURCE = """\
struct event { u32 number; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16); __type(value, struct event); } events
	SEC(".maps");
SEC("raw_tp/task_rename")
int on_rename(struct bpf_raw_tracepoint_args *ctx)
{
	struct event e = { .number = ctx->args[0] };

	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
"""


def test_the_object_of_a_session_does_the_same_when_it_is_loaded_from_a_file(tmp_path):
    with ebpflab.load(SOURCE, attach=False) as s:
        stored = tmp_path / "renames.bpf.o"
        stored.write_bytes(s.object)
    with ebpflab.load(stored, attach=False) as s:
        for number in range(13):
            s.test_run(ctx=[number, 0])
        assert s.events.wait(13, timeout=10)
        assert s.events.df()["number"].tolist() == list(range(13))
        assert s.object == stored.read_bytes()


def test_the_object_is_an_elf_file_for_bpf_with_the_section_of_the_cell():
    with ebpflab.load(SOURCE, attach=False) as s:
        elf = ELFFile(io.BytesIO(s.object))
    assert elf["e_machine"] == "EM_BPF"
    assert elf.get_section_by_name("raw_tp/task_rename").data_size > 0


def test_the_object_of_a_replay_is_empty(tmp_path):
    with ebpflab.load(SOURCE, attach=False) as s:
        s.test_run(ctx=[1, 0])
        assert s.events.wait(1, timeout=10)
        s.events.record(tmp_path / "one.parquet")
    with ebpflab.replay(tmp_path / "one.parquet") as r:
        assert r.object == b""
