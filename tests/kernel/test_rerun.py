"""A cell that is run again, at a hook that takes one program only."""

from __future__ import annotations

import netns as net
import pytest
from cells import wait_until
from cells_templates import CELLS

import ebpflab
from ebpflab.errors import AttachError, CompileError

PORT = 4251


def send(wire, count):
    with wire.far.inside():
        net.send_udp(count, wire.near_address, PORT)


@pytest.mark.hook("xdp")
def test_a_cell_of_xdp_can_be_run_again_and_takes_the_place_of_the_first(wire, load):
    first = load(CELLS["xdp"], name="again", targets={"on_packet": "near0"})
    second = load(CELLS["xdp"], name="again", targets={"on_packet": "near0"}, vars={"blocked": PORT})
    assert (first.state, second.state) == ("closed", "attached")
    assert ebpflab.sessions() == [second]
    send(wire, 7)
    assert second.streams["events"].wait(7, timeout=20)
    assert first.streams["events"].stats()["received"] == 0


@pytest.mark.hook("xdp")
def test_the_first_one_stays_when_the_second_does_not_compile_or_cannot_be_attached(wire, load):
    first = load(CELLS["xdp"], name="again", targets={"on_packet": "near0"})
    with pytest.raises(CompileError):
        load("this is no C;", name="again")
    # Another session of ours has lo: the second version of the cell wants both, and gets neither.
    load(CELLS["xdp"], name="other", targets={"on_packet": "lo"})
    both = CELLS["xdp"] + '\nSEC("xdp") int another(struct xdp_md *ctx) { return XDP_PASS; }\n'
    with pytest.raises(AttachError, match="lo already has an XDP program"):
        load(both, name="again", targets={"on_packet": "near0", "another": "lo"})
    assert first.state == "attached"
    send(wire, 11)
    assert wait_until(lambda: first.streams["events"].stats()["received"] >= 11, timeout=20)
    assert first.streams["events"].stats()["received"] == 11
