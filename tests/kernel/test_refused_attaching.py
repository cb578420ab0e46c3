"""Attachments that the kernel refuses, each provoked for real: what is found on the machine is named, with the way out.

Interfaces, priorities and cgroups that are taken are also in the tests of these hooks, names that do not exist in
test_hook_bad_input.py, missing privileges in test_refusals.py.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import re
import shutil
import subprocess
from pathlib import Path

import forked
import kernel_has
import pytest

import ebpflab
from ebpflab.engines import _causes
from ebpflab.errors import AttachError
from ebpflab.program_types import parse_section, parse_target

PROGRAM = 'SEC("{}") int {}(void *ctx) {{ return 1; }}\n'
GETPPID = "tp/syscalls/sys_enter_getppid"
MANY = [f"h{number}" for number in range(67)]


def cell(section, *names):
    return "".join(PROGRAM.format(section, name) for name in names or ("h",))


def refused(section, target="", load=ebpflab.load, **options):
    with pytest.raises(AttachError) as caught:
        load(cell(section), targets={"h": target} if target else None, **options)
    assert type(caught.value) is AttachError
    return caught.value


def program_id(session):
    return session._handle.programs()[0].id


def fill(load, section, target=""):
    # One session with a program more than the place takes: how many it took, and what was said of the next.
    session = load(cell(section, *MANY), attach=False)
    for count, name in enumerate(MANY):
        try:
            session.attach(name, **({"target": target} if target else {}))
        except AttachError as error:
            return count, error
    pytest.fail("67 programs were attached to one place")


@pytest.mark.parametrize(
    ("section", "target", "number"),
    [
        pytest.param(GETPPID, "", errno.E2BIG, marks=pytest.mark.hook("tracepoint")),
        pytest.param("sk_lookup", "self", errno.E2BIG, marks=pytest.mark.hook("sk_lookup")),
        pytest.param("tcx/egress", "lo", errno.ERANGE, marks=pytest.mark.hook("tc")),
    ],
)
def test_a_place_that_is_full_says_how_many_are_there_and_who_holds_them(load, netns, section, target, number):
    if section.startswith("tcx") and b"BPF_TCX_EGRESS" not in kernel_has._types():
        pytest.skip("not in this kernel: tcx came with Linux 6.6")
    count, error = fill(load, section, target)
    assert error.errno == number
    assert count > 60
    assert f"{count} programs are there, and the kernel takes no more" in error.what
    assert f"this process holds {count} of them" in error.hint
    assert "ebpflab.sessions()" in error.hint


@pytest.mark.hook("cgroup_skb")
def test_a_cgroup_that_is_full_says_so(load, group):
    count, error = fill(load, "cgroup/skb", str(group.path))
    assert error.errno == errno.E2BIG
    assert group.programs(0) == count  # BPF_CGROUP_INET_INGRESS
    assert f"{count} programs are there, and the kernel takes no more" in error.what


@pytest.mark.hook("tracepoint")
def test_a_place_that_another_process_has_filled_names_it(load):
    ebpflab.load(cell(GETPPID, *MANY), attach=False).close()  # compiled: a fork keeps the pipes of a compiler open
    late = load(cell(GETPPID), attach=False)
    with forked.holding(lambda: fill(ebpflab.load, GETPPID)) as child:
        with pytest.raises(AttachError) as caught:
            late.attach()
        error = caught.value
    holds = rf"process {child._pid} \(\S+\) holds 64 of them, and they go when that process ends"
    assert re.search(holds, error.hint), error
    late.attach()


@pytest.mark.hook("tracepoint")
def test_a_program_that_is_there_already_is_told_apart_from_one_that_is_in_the_way(load):
    session = load(cell(GETPPID))
    with pytest.raises(AttachError) as caught:
        session.attach("h")
    assert caught.value.errno == errno.EEXIST
    assert caught.value.what == "h is attached to tracepoint syscalls/sys_enter_getppid already"
    assert "s.detach()" in caught.value.hint
    session.detach()
    session.attach("h")


@pytest.mark.hook("xdp")
def test_the_holder_of_an_interface_is_found_among_many_descriptors(netns, load):
    # What a folder of descriptors is listed by is one of them, and gone when it is looked at.
    with contextlib.ExitStack() as files:
        gap = os.open("/dev/null", os.O_RDONLY)
        for _ in range(31):
            files.enter_context(Path("/dev/null").open())
        os.close(gap)
        first = load(cell("xdp", "first"), targets={"first": "lo"})
        error = refused("xdp", "lo")
    assert f"lo already has an XDP program: first, id {program_id(first)}" in error.what
    assert "this process holds it" in error.hint


@pytest.mark.hook("netfilter")
def test_a_netfilter_priority_that_is_taken_names_the_program_and_its_holder(netns, load):
    place = "ipv4:local_in,priority=7307"

    late = load(cell("netfilter"), attach=False)
    load(cell("netfilter", "other"), attach=False).close()  # compiled

    def attach():
        return ebpflab.load(cell("netfilter", "other"), targets={"other": place})

    with forked.holding(attach) as child:
        with pytest.raises(AttachError) as caught:
            late.attach(target=place)
        error = caught.value
        assert error.errno == errno.EBUSY
        assert re.search(r"another BPF program \(other, id \d+\) has priority 7307 at ipv4:local_in", error.what)
        assert error.hint == "ipv4:local_in,priority=7308"
        assert f"process {child._pid} " in error.details[0]


@pytest.mark.hook("flow_dissector")
def test_a_flow_dissector_that_is_there_is_named_with_its_holder(netns, load):
    first = load(cell("flow_dissector", "first"), targets={"first": "self"})
    error = refused("flow_dissector", "self")
    assert f"first, id {program_id(first)}" in error.what
    assert "this process holds it" in error.hint


@pytest.mark.hook("cgroup_skb")
def test_the_only_program_of_a_cgroup_is_named(group, load):
    bpftool = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin")
    if bpftool is None:
        pytest.skip("there is no bpftool to attach without BPF_F_ALLOW_MULTI")
    only = program_id(load(cell("cgroup_skb/ingress", "only"), attach=False))
    subprocess.run([bpftool, "cgroup", "attach", group.path, "ingress", "id", str(only)], check=True, timeout=60)
    error = refused("cgroup_skb/ingress", str(group.path))
    assert error.errno == errno.EPERM
    assert error.what.endswith(f"has a program that was attached as its only one: only, id {only}")
    assert f"bpftool cgroup show {group.path}" in error.hint


@pytest.mark.parametrize(
    "section",
    [
        pytest.param("uprobe/libc.so.6:0x7fff0000", marks=pytest.mark.hook("uprobe")),
        pytest.param("uprobe/libc.so.6:malloc+0x7fff0000", marks=pytest.mark.hook("uprobe")),
        pytest.param("uprobe.multi/libc.so.6:0x7fff0000", marks=pytest.mark.hook("uprobe.multi")),
    ],
)
def test_an_offset_beyond_the_end_of_a_file_says_how_long_the_file_is(section):
    error = refused(section)
    path = re.search(r": (/\S+) has ", error.what)[1]
    assert Path(path).name.startswith("libc")
    assert f"has {Path(path).stat().st_size:,} bytes, and offset 0x" in error.what
    assert f"objdump -d {path}" in error.hint


@pytest.mark.hook("uprobe")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the bytes are no instruction of x86-64")
def test_a_place_that_holds_no_instruction_is_named_with_what_it_holds(tmp_path):
    # Bytes that x86-64 has no instruction for, mapped as a program's own are: then the kernel looks at them.
    path = tmp_path / "program"
    shutil.copy("/bin/true", path)
    size = -(-path.stat().st_size // mmap.PAGESIZE) * mmap.PAGESIZE
    os.truncate(path, size)
    with path.open("a+b") as file:
        file.write(b"\x06" * mmap.PAGESIZE)
        file.flush()
        executable = mmap.PROT_READ | mmap.PROT_EXEC
        with mmap.mmap(file.fileno(), mmap.PAGESIZE, mmap.MAP_PRIVATE, executable, offset=size):
            error = refused(f"uprobe/{path}:{size + 16:#x}")
    assert f"no instruction that can be probed is at offset {size + 16:#x} of {path}" in error.what
    assert "(06 06 06 06 06 06 06 06)" in error.what
    assert "objdump -d" in error.hint


def test_a_file_of_a_filesystem_that_takes_no_probes_says_which_it_is():
    # No program can be started from such a filesystem here, so only the answer is tried, about one that can.
    section = parse_section("uprobe//bin/sh:0x10")
    target = parse_target(section.type, section.place)
    cause = _causes.find("attach", _causes.Failure("cannot attach h", errno.EIO, "h", section, target))
    df = subprocess.run(["df", "--output=fstype", "/bin/sh"], check=True, capture_output=True, text=True, timeout=60)
    assert f"files of a filesystem of type {df.stdout.split()[-1]} cannot be probed" in cause.what
