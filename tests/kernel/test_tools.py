"""Every tool of bpf_src attaches where this kernel has its hook, and says of itself what people need to know."""

from __future__ import annotations

import ast
import ctypes
import os
import platform
import re

import pytest

from ebpflab.toolbox import arguments, shelf

TOOLS = sorted(shelf.paths())
# Tools that take what this machine's kernel refuses: trampolines. They run in virtual machines.
NOT_HERE = {"lsmfile"}


@pytest.fixture
def places(request):
    """What stands for the capitals of a tool's targets: a network interface, a cgroup."""

    def place(word):
        if word == "CGROUP":
            return request.getfixturevalue("group").name
        assert word == "INTERFACE", word
        return "lo"

    return place


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_attaches_and_answers(name, tool, places):
    about = shelf.find(name)
    targets = {program: places(word) for program, word in about.wanted.items()}
    session = tool(name, targets=targets, may_lack=name in NOT_HERE)
    assert session.state == "attached"
    assert set(session.links["program"]) == set(session.programs["name"])
    assert session.tool == about
    assert list(session.rows().columns)


@pytest.mark.parametrize("name", TOOLS)
def test_the_top_of_a_tool_says_what_it_is_for(name):
    about = shelf.find(name)
    assert about.question.endswith("?")
    assert about.sample.splitlines()[0].startswith(f"%bpf run {name}")
    assert len(about.sample.splitlines()) >= 3
    assert about.plot.startswith("s.")
    assert about.needs.endswith(".")
    assert re.match(r"[\d,]+ ns a run; .+\.$|not measured: .+\.$", about.overhead), about.overhead
    for expression in filter(None, (about.rows, about.plot)):
        assert isinstance(ast.parse(expression, mode="eval").body, ast.Call)
    assert [p.name for p in about.parameters if not p.meaning] == []
    assert all(len(line.expandtabs(8)) <= 120 for line in about.path.read_text().splitlines())


@pytest.mark.parametrize("name", TOOLS)
def test_every_constant_of_a_tool_is_an_option_with_a_name_of_its_own(name):
    about = shelf.find(name)
    written = re.findall(r"^const volatile .*", about.path.read_text(), re.MULTILINE)
    assert len(about.parameters) == len(written)
    given = [f"{program}=x" for program in about.wanted]
    asked = arguments.parse([name, *(word for place in given for word in ("--attach", place))], "%bpf run")
    assert asked.options.vars == {}


def test_opensnoop_sees_failed_and_successful_opens_of_one_process(tool, tmp_path):
    session = tool("opensnoop", vars={"pid": os.getpid()})
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
        str(there): ["OK"] * 11,
        str(missing): ["ENOENT"] * 11,
    }
    assert set(ours["pid"]) == {os.getpid()}
    assert (ours["took"].dt.total_seconds() > 0).all()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="arm64 has no creat(2)")
def test_opensnoop_sees_files_created_by_creat(tool, tmp_path):
    session = tool("opensnoop", vars={"pid": os.getpid()})
    call = ctypes.CDLL(None, use_errno=True).syscall
    created, missing = os.fsencode(tmp_path / "created"), os.fsencode(tmp_path / "missing" / "x")
    for _ in range(5):
        os.close(call(85, created, 0o600))  # asm/unistd_64.h
        assert call(85, missing, 0o600) == -1
    assert session.events.wait(10, timeout=5)
    frame = session.events.df()
    ours = frame[frame["path"].isin([os.fsdecode(created), os.fsdecode(missing)])]
    assert ours["error"].tolist() == ["OK", "ENOENT"] * 5
    assert set(ours["flags"]) == {os.O_CREAT | os.O_WRONLY | os.O_TRUNC}
