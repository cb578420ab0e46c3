"""Refusals of cells in BCC's dialect: they are explained as those of all other cells."""

from __future__ import annotations

import errno

import pytest
from bcc_attached import bcc  # noqa: F401 (without BCC's library its tests are skipped)

from ebpflab.errors import AttachError

CELL = "TRACEPOINT_PROBE(syscalls, sys_enter_getppid) { return 0; }\n"


@pytest.mark.hook("tracepoint")
def test_a_program_of_bccs_dialect_that_is_there_already_is_said_to_be(load):
    session = load(CELL, engine="bcc")
    [program] = session.programs.name
    with pytest.raises(AttachError) as caught:
        session.attach(program)
    assert caught.value.errno == errno.EEXIST
    assert caught.value.what == f"{program} is attached to tracepoint syscalls/sys_enter_getppid already"


@pytest.mark.hook("xdp")
def test_an_interface_that_is_taken_names_the_program_of_bccs_dialect(netns, load):
    load("int first(struct xdp_md *ctx) { return XDP_PASS; }\n", engine="bcc", targets={"first": "xdp:lo"})
    with pytest.raises(AttachError) as caught:
        load("int second(struct xdp_md *ctx) { return XDP_PASS; }\n", engine="bcc", targets={"second": "xdp:lo"})
    assert "lo already has an XDP program: first, id " in caught.value.what
    assert "this process holds it" in caught.value.hint
