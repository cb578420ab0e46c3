"""What the verifier counted of accepted programs: against its own log, and against programs of known shape."""

import re

import cells
import objects
import pytest

import ebpflab
from ebpflab.errors import SessionError

# A loop that the verifier walks turn by turn, since each turn writes another element; and 96 + 72 bytes of stack.
LOOP = """
u64 filled[4096];
u32 salt;

static __noinline u64 second(u64 seed)
{
    u64 kept[9] = {seed, seed + 1, 2, 3, 4, 5, 6, 7, seed};
    bpf_probe_read_kernel(kept, sizeof(kept), &filled);
    return kept[3];
}

SEC("raw_tp/sys_enter")
int turns(void *ctx)
{
    u64 kept[12] = {};
    bpf_probe_read_kernel(kept, sizeof(kept), &filled);
    for (u32 i = 0; i < TURNS; i++)
        filled[(i * 7 + salt) & 4095] = i;
    return kept[2] + second(salt);
}
"""


def test_the_statistics_are_those_at_the_end_of_the_verifiers_log(load):
    session = load(cells.GETPPID + 'SEC("raw_tp/sys_enter") int second(void *ctx) { return 0; }', attach=False)
    before = objects.live()
    frame = session.verification.set_index("program")
    assert objects.leaked_since(before) == set()
    for name, log in zip(("on_getppid", "second"), session.verifier_log.split("second:"), strict=True):
        said = re.search(r"processed (\d+) insns \(limit (\d+)\).* total_states (\d+) peak_states (\d+)", log)
        row = frame.loc[name]
        assert tuple(map(int, said.groups())) == (row.processed, row.limit, row.states, row.peak_states)
    # Both functions are straight lines: each instruction is looked at once.
    assert frame.loc["second", "processed"] == 2
    assert (frame["hint"] == "").all()


def test_a_loop_costs_as_much_as_its_turns_and_the_stack_is_that_of_both_functions(load):
    few, many = (load(LOOP.replace("TURNS", str(n)), attach=False).verification.iloc[0] for n in (101, 1103))
    a_turn = (many.processed - few.processed) / (1103 - 101)
    assert a_turn == int(a_turn) > 3
    if not few.isna()["stack"]:
        assert 96 + 72 <= few.stack <= 96 + 72 + 16
        assert few.us > 0


def test_a_program_near_the_limit_says_so_before_it_is_too_late(load):
    small = load(LOOP.replace("TURNS", "101"), attach=False)
    per_turn = small.verification.processed[0] / 101
    near = load(LOOP.replace("TURNS", str(int(850_000 / per_turn))), attach=False)
    row = near.verification.iloc[0]
    assert 0.8 <= row.processed / row.limit < 0.9
    assert "gives up at 1,000,000" in row.hint
    shown = repr(near)  # before anybody asks for .programs
    counted = near.programs.verified[0]
    if counted:  # Linux 5.16 and later tell it of every program that is loaded
        assert counted == row.processed
        assert "gives up at 1,000,000" in shown
        assert "gives up at" not in repr(small)


def test_statistics_stay_readable_and_those_never_asked_for_are_gone_with_the_session():
    with ebpflab.load(cells.GETPPID, attach=False) as session:
        asked = session.verification
    assert session.verification.equals(asked)
    with ebpflab.load(cells.GETPPID, attach=False) as session:
        pass
    with pytest.raises(SessionError):
        _ = session.verification
