"""Formats of the running kernel's tracepoints: held against clang, and against what the kernel itself prints."""

from __future__ import annotations

import mmap
import os
import random
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from ebpflab.errors import KernelSupportError, PrivilegeError
from ebpflab.inspectors import tracefs

PICKED = 200
SEED = 20251122
CONNECTIONS = 13  # a prime number
NAPS = 23
PAGES = 23


@pytest.fixture(scope="module")
def root() -> Path:
    try:
        return tracefs.tracefs_root()
    except (KernelSupportError, PrivilegeError) as error:
        pytest.skip(str(error))


class Place(NamedTuple):
    """A field as the test reads it: a line of a format file, cut at its semicolons and nothing more."""

    member: str
    offset: int
    size: int
    whole: bool  # of 1, 2, 4 or 8 bytes, and so with a sign
    signed: bool


def places(text: str) -> list[Place]:
    found = []
    for line in text.splitlines():
        if not line.startswith("\tfield:"):
            continue
        declaration, offset, size, signed, _ = line.split(";")
        declaration = declaration.removeprefix("\tfield:")
        name = declaration.replace("[", " [").split(" [")[0].split()[-1].lstrip("*")
        first = declaration.split()[0]
        where = first in ("__data_loc", "__rel_loc")
        if where:
            name = f"{first}_{declaration.split()[-1].split('[')[0]}"
        number = {part.split(":")[0].strip(): int(part.split(":")[1]) for part in (offset, size, signed)}
        plain = not where and not re.search(r"[*[]|^struct ", declaration) and number["size"] in (1, 2, 4, 8)
        found.append(Place(name, number["offset"], number["size"], plain, bool(number["signed"])))
    return found


def assertions(tag: str, text: str) -> list[str]:
    lines = []
    for place in places(text):
        member = f"((struct {tag} *)0)->{place.member}"
        lines.append(f'_Static_assert(__builtin_offsetof(struct {tag}, {place.member}) == {place.offset}, "{tag}");')
        lines.append(f'_Static_assert(sizeof({member}) == {place.size}, "{tag}.{place.member}");')
        if place.whole:
            lines.append(
                f'_Static_assert(((__typeof__({member}))-1 < 0) == {int(place.signed)}, "{tag} {place.member}");'
            )
    return lines


def text_of(root: Path, name: str) -> str:
    return (root / "events" / name.replace(":", "/") / "format").read_text()


def compile_all(names: list[str], root: Path) -> int:
    """Compile the structs of these tracepoints with assertions on every field; return how many fields there were."""
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed: apt install clang")
    source, fields = [], 0
    for name in names:
        made, text = tracefs.format(name), text_of(root, name)
        assert text.count("field:") == len(places(text)) == len(made.members)
        fields += len(made.members)
        source += [made.c(), *assertions(made.tag, text)]
    command = [clang, "-target", "bpf", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, input="\n".join(source), text=True, capture_output=True, timeout=300)
    assert done.returncode == 0, done.stderr[:4000]
    return fields


def test_clang_puts_the_fields_of_200_tracepoints_where_their_formats_say(root: Path) -> None:
    names = random.Random(SEED).sample(tracefs.events(), min(PICKED, len(tracefs.events())))
    assert compile_all(names, root) >= 5 * len(names)  # four fields are those of every tracepoint


def test_an_assertion_of_this_test_can_fail(root: Path) -> None:
    text = text_of(root, "sched:sched_switch")
    wrong = text.replace("offset:24;", "offset:28;")
    assert assertions("t", wrong) != assertions("t", text)
    command = ["clang", "-target", "bpf", "-fsyntax-only", "-x", "c", "-"]
    source = "\n".join([tracefs.format("sched:sched_switch").c("t"), *assertions("t", wrong)])
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed: apt install clang")
    assert subprocess.run(command, input=source, text=True, capture_output=True, timeout=60).returncode != 0


def test_the_print_format_of_every_tracepoint_is_understood(root: Path) -> None:
    notes, tables, called = {}, 0, 0
    for name in tracefs.events():
        made = tracefs.format(name)
        tables += len(made.to_dict()["symbols"])
        called += len(re.findall(r"__print_(?:flags|symbolic)", text_of(root, name)))
        if made.notes:
            notes[name] = made.notes
    print(f"{len(tracefs.events())} tracepoints, {called} calls that name values, {tables} tables, {len(notes)} notes")
    assert notes == {}
    assert tables >= called / 2  # many a tracepoint prints two fields of one kind, or one field twice


@pytest.fixture
def instance(root: Path) -> Iterator[Path]:
    """Give a ring buffer of the test's own beside that of the machine, and take it away again."""
    folder = root / "instances" / f"ebpflab-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"tracefs makes no instance: {error}")
    try:
        if not (folder / "options/fields").exists():
            pytest.skip("this kernel cannot print fields as numbers (Linux 6.4)")
        yield folder
    finally:
        (folder / "events/enable").write_text("0")
        folder.rmdir()


def traced(instance: Path, event: str, condition: str, cause: Callable[[], None]) -> list[tuple[str, str]]:
    """Return what the kernel printed for each record of an event: in its own words, and as plain fields."""
    folder = instance / "events" / event.replace(":", "/")
    (folder / "filter").write_text(condition)
    (folder / "enable").write_text("1")
    try:
        cause()
    finally:
        (folder / "enable").write_text("0")
    kinds = []
    for fields in ("0", "1"):
        (instance / "options/fields").write_text(fields)
        lines = [line for line in (instance / "trace").read_text().splitlines() if line and not line.startswith("#")]
        kinds.append([line.partition(f": {event.partition(':')[2]}: ")[2] for line in lines])
    words, numbers = kinds
    assert len(words) == len(numbers)
    return list(zip(words, numbers, strict=True))


def held(numbers: str, field: str) -> int:
    found = re.search(rf"\b{field}=(?:0x[0-9a-f]+ \((-?\d+)\)|(-?\d+)|0x([0-9a-f]+))", numbers)
    assert found is not None, numbers
    return int(found[3], 16) if found[3] else int(found[1] or found[2])


def test_states_of_tasks_read_as_in_the_kernels_own_trace(instance: Path) -> None:
    def nap() -> None:
        for _ in range(NAPS):
            time.sleep(0.002)

    lines = traced(instance, "sched:sched_switch", f"prev_pid == {os.getpid()}", nap)
    switch = tracefs.format("sched:sched_switch")
    states = [re.search(r"prev_state=(\S+) ==>", words)[1] for words, _ in lines]  # type: ignore[index]
    assert [switch.symbol("prev_state", held(numbers, "prev_state")) for _, numbers in lines] == states
    # A nap ends in sleep; being preempted in between (R+) is the scheduler's affair.
    assert states.count("S") == NAPS


def test_states_of_connections_read_as_in_the_kernels_own_trace(instance: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def connect() -> None:
            for _ in range(CONNECTIONS):
                with socket.create_connection(("127.0.0.1", port)):
                    server.accept()[0].close()

        lines = traced(instance, "sock:inet_sock_set_state", f"dport == {port} || sport == {port}", connect)
    changed = tracefs.format("sock:inet_sock_set_state")
    for words, numbers in lines:
        shown = dict(part.split("=", 1) for part in words.split())
        read = {
            field: changed.symbol(field, held(numbers, field))
            for field in ("oldstate", "newstate", "family", "protocol")
        }
        assert read == {field: shown[field] for field in read}
    ours = [words for words, _ in lines if f"dport={port} " in words]
    assert sum("oldstate=TCP_CLOSE newstate=TCP_SYN_SENT" in words for words in ours) == CONNECTIONS


def test_flags_of_pages_read_as_in_the_kernels_own_trace(instance: Path) -> None:
    def touch() -> None:
        with mmap.mmap(-1, PAGES * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as area:
            area.madvise(mmap.MADV_NOHUGEPAGE)
            for page in range(PAGES):
                area[page * mmap.PAGESIZE] = 1

    lines = traced(instance, "kmem:mm_page_alloc", f"common_pid == {os.getpid()}", touch)
    alloc = tracefs.format("kmem:mm_page_alloc")
    shown = [re.search(r"gfp_flags=(\S+)", words)[1] for words, _ in lines]  # type: ignore[index]
    assert [alloc.symbol("gfp_flags", held(numbers, "gfp_flags")) for _, numbers in lines] == shown
    # The pages of the process come zeroed; those for its page table may be among them.
    assert sum("|" in each and "__GFP_ZERO" in each for each in shown) >= PAGES
