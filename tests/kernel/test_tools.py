"""Every tool of bpf_src compiles, loads and attaches; each one's answer is checked against what the test did."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ebpflab.cell import read

TOOLS = sorted((Path(__file__).parents[2] / "bpf_src").glob("*.bpf.c"))


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.name)
def test_a_tool_attaches_and_says_what_it_is_for(path, load):
    session = load(path.name.removesuffix(".bpf.c"))
    assert session.state == "attached"
    assert len(session.links) == len(read(path).sections)
    header = path.read_text().split("\n\n")[0]
    assert [word for word in ("?", "Overhead:", "Needs:", "ebpflab.load(") if word not in header] == []


def test_opensnoop_sees_failed_and_successful_opens_of_one_process(load, tmp_path):
    session = load("opensnoop", vars={"only_pid": os.getpid()})
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.write_text("x")
    before = session.events.stats()["received"]
    for _ in range(11):
        os.close(os.open(there, os.O_RDONLY))
        with pytest.raises(FileNotFoundError):
            os.open(missing, os.O_RDONLY)
    assert session.events.wait(before + 22, timeout=5)
    frame = session.events.df()
    ours = frame[frame["path"].isin([str(there), str(missing)]) & (frame["flags"] & os.O_ACCMODE == os.O_RDONLY)]
    assert ours.groupby("path", observed=True)["error"].agg(list).to_dict() == {
        str(there): [0] * 11,
        str(missing): [2] * 11,
    }
    assert set(ours["pid"]) == {os.getpid()}
    assert (ours["took"].dt.total_seconds() > 0).all()
