"""The tools for files and disks: exact counts, held against what system calls returned and /proc/diskstats."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import threading
import time
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from forked import Child
from workloads_io import PAGE, cached_folder, cold_file, disk, enter_mount_namespace, mount, unmount

READS, WRITES, OPENS, CREATED, SYNCS = 101, 53, 31, 7, 3
VECTORS, OLD_OPENS, OLD_CREATED = 19, 11, 5
OPEN, CREAT = 2, 85  # asm/unistd_64.h; the C library calls openat(2), and arm64 has none of them
HAS_OLD_CALLS = platform.machine() == "x86_64"
TRACING = Path("/sys/kernel/tracing")
READ_ONLY = 1  # MS_RDONLY


@pytest.fixture
def loop():
    try:
        with disk() as made:
            yield made
    except FileNotFoundError as error:
        pytest.skip(f"not in this kernel: loop devices ({error})")


@pytest.fixture
def cached(tmp_path):
    with cached_folder(tmp_path) as folder:
        yield folder


@pytest.fixture
def slow_file():
    """A regular file that can be read once something is written to another: a buffer of ftrace, nobody else's."""
    folder = TRACING / "instances" / f"ebpflab-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder / "trace_pipe", folder / "trace_marker"
    finally:
        folder.rmdir()


def picture_of(session):
    axes = session.plot()
    assert axes.has_data() or axes.patches
    plt.close("all")


def of_diskstats(name):
    """Requests and sectors of a disk that were read and written (Documentation/admin-guide/iostats.rst)."""
    for line in Path("/proc/diskstats").read_text().splitlines():
        _, _, found, *numbers = line.split()
        if found == name:
            return [int(numbers[i]) for i in (0, 2, 4, 6)]
    raise AssertionError(f"{name} is not in /proc/diskstats")


@pytest.mark.parametrize("queued", [False, True], ids=["from the disk", "from the queue"])
def test_biolatency_counts_each_request_of_a_disk_by_operation(tool, loop, queued):
    session = tool("biolatency", vars={"disk": loop.name, "queued": queued})
    before, began = of_diskstats(loop.name), time.monotonic_ns()
    for i in range(23):
        loop.read(PAGE, i * PAGE)
    for i in range(11):
        loop.write(2 * PAGE, i * 2 * PAGE)
    passed = time.monotonic_ns() - began
    rows = session.rows()
    counts = rows.groupby(["disk", "operation"], observed=True)["count"].sum().to_dict()
    assert counts == {(loop.name, "READ"): 23, (loop.name, "WRITE"): 11}
    assert [b - a for a, b in zip(before, of_diskstats(loop.name), strict=True)] == [
        *(23, 23 * PAGE // 512),
        *(11, 11 * 2 * PAGE // 512),
    ]
    assert 0 < (rows["low"] * rows["count"]).sum() <= passed / 1000, "one request at a time: they took no longer"
    picture_of(session)


def test_biolatency_takes_a_request_as_queued_once_it_starts_where_the_kernel_tells(tool, loop):
    session = tool("biolatency", vars={"disk": loop.name, "queued": True})
    way = "io_start" if (TRACING / "events/block/block_io_start").exists() else "insert"
    assert f"on_start__tp_btf_{way}" in set(session.programs["name"])


def test_biolatency_leaves_out_other_disks(tool, loop):
    session = tool("biolatency", vars={"disk": f"{loop.name}1"})
    loop.read(PAGE, 0)
    assert session.rows().empty


def test_biosnoop_tells_the_place_the_size_and_the_process_of_each_request(tool, loop):
    session = tool("biosnoop", vars={"pid": os.getpid(), "disk": loop.name})
    sectors, longest = [8 * (7 * i % 13) for i in range(13)], 0
    for sector in sectors:
        began = time.monotonic_ns()
        loop.read(PAGE, sector * 512)
        longest = max(longest, time.monotonic_ns() - began)
    loop.write(3 * PAGE, 5 * PAGE)
    assert session.events.wait(14, timeout=5)
    rows = session.rows()
    reads, writes = rows[rows["operation"] == "READ"], rows[rows["operation"] == "WRITE"]
    assert reads["sector"].tolist() == sectors
    assert set(reads["bytes"]) == {PAGE}
    assert writes[["sector", "bytes"]].to_numpy().tolist() == [[5 * PAGE // 512, 3 * PAGE]]
    assert (set(rows["pid"]), set(rows["disk"]), set(rows["error"])) == ({os.getpid()}, {loop.name}, {"OK"})
    assert 0 < reads["took"].max().value <= longest
    assert (rows["queued"].dt.total_seconds() >= 0).all()
    picture_of(session)


def test_biosnoop_tells_the_error_of_a_request_that_failed(tool, loop):
    fcntl.fcntl(loop.memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    session = tool("biosnoop", vars={"disk": loop.name})
    for _ in range(3):
        with pytest.raises(OSError, match="Input/output error"):
            loop.write(PAGE, 0)
        loop.read(PAGE, 0)
    assert session.events.wait(6, timeout=5)
    assert session.rows()["error"].tolist() == ["EIO", "OK"] * 3


def test_biosnoop_leaves_out_other_processes_and_quick_requests(tool, loop):
    other = tool("biosnoop", vars={"disk": loop.name, "pid": 1})
    slow = tool("biosnoop", vars={"disk": loop.name, "min_us": 3_600_000_000})
    every = tool("biosnoop", vars={"disk": loop.name})
    loop.read(PAGE, 0)
    assert every.events.wait(1, timeout=5)
    assert [s.events.stats()["received"] + s.events.stats()["pending"] for s in (other, slow)] == [0, 0]


def waits_for(fd, thread):
    """Tell whether a thread sleeps in a system call whose first argument is a descriptor (proc(5), syscall)."""
    _, *arguments = Path(f"/proc/{thread}/syscall").read_text().split()
    return bool(arguments) and int(arguments[0], 0) == fd


def test_fileslower_shows_reads_that_waited_and_no_others(tool, slow_file, tmp_path):
    pipe, marker = slow_file
    (tmp_path / "quick").write_bytes(b"x" * 100)
    session = tool("fileslower", vars={"pid": os.getpid(), "min_us": 50_000})
    fd, lengths = os.open(pipe, os.O_RDONLY), []
    try:
        for _ in range(5):
            reader = threading.Thread(target=lambda: lengths.append(len(os.read(fd, 4096))))
            reader.start()
            while not waits_for(fd, reader.native_id):
                time.sleep(0.001)
            time.sleep(0.06)
            marker.write_text("go on\n")
            reader.join(timeout=10)
            (tmp_path / "quick").read_bytes()
    finally:
        os.close(fd)
    assert session.events.wait(5, timeout=5)
    rows = session.rows()
    slow = rows[rows["file"] == "trace_pipe"]
    assert slow["bytes"].tolist() == lengths
    assert (set(slow["operation"]), set(slow["error"]), set(slow["pid"])) == ({"READ"}, {"OK"}, {os.getpid()})
    assert (slow["took"].dt.total_seconds() >= 0.06).all()
    picture_of(session)


def test_fileslower_tells_offset_bytes_and_error_of_every_call(tool, tmp_path):
    session = tool("fileslower", vars={"pid": os.getpid(), "min_us": 0})
    path = tmp_path / "offsets-and-bytes"
    path.write_bytes(b"x" * 1000)
    fd = os.open(path, os.O_RDONLY)
    for i in range(11):
        os.pread(fd, 100, 97 * i)
    os.lseek(fd, 995, os.SEEK_SET)
    os.read(fd, 100)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"x")
    os.close(fd)
    session.events.wait(14, timeout=5)
    rows = session.rows()
    rows = rows[rows["file"] == path.name]
    assert rows[["operation", "offset", "bytes", "error"]].to_numpy().tolist() == [
        ["WRITE", 0, 1000, "OK"],
        *(["READ", 97 * i, min(100, 1000 - 97 * i), "OK"] for i in range(11)),
        ["READ", 995, 5, "OK"],
        ["WRITE", 1000, 0, "EBADF"],
    ]


def by_system_calls(session):
    return any(name.startswith("on_call__tp") for name in session.programs["name"])


def test_fileslower_tells_the_offset_of_reads_and_writes_with_vectors(tool, tmp_path):
    session = tool("fileslower", vars={"pid": os.getpid(), "min_us": 0})
    if not by_system_calls(session):
        pytest.skip("vfs_read and vfs_write, which this kernel can watch, are not called with vectors")
    path = tmp_path / "vectors"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwritev(fd, [b"x" * 100, b"y" * 31], 17)
    os.lseek(fd, 41, os.SEEK_SET)
    for offset in (7, -1, 97):  # -1: where the file is
        os.preadv(fd, [bytearray(10), bytearray(3)], offset)
    os.close(fd)
    session.events.wait(4, timeout=5)
    rows = session.rows()
    assert rows.loc[rows["file"] == path.name, ["operation", "offset", "bytes"]].to_numpy().tolist() == [
        ["WRITE", 17, 131],
        *(["READ", offset, 13] for offset in (7, 41, 97)),
    ]


def test_filetop_adds_up_reads_and_writes_with_vectors(tool, tmp_path):
    session = tool("filetop", vars={"pid": os.getpid()})
    if not by_system_calls(session):
        pytest.skip("vfs_read and vfs_write, which this kernel can watch, are not called with vectors")
    fd = os.open(tmp_path / "vectors", os.O_RDWR | os.O_CREAT)
    for _ in range(7):
        os.pwritev(fd, [b"x" * 100, b"y" * 31], 0)
    for _ in range(5):
        os.preadv(fd, [bytearray(10), bytearray(3)], 0)
    os.close(fd)
    rows = session.rows()
    rows = rows[rows["file"] == "vectors"].set_index("operation")
    assert rows.loc[["READ", "WRITE"], ["calls", "bytes"]].to_numpy().tolist() == [[5, 5 * 13], [7, 7 * 131]]


@pytest.mark.parametrize("all_files", [False, True])
def test_filetop_adds_up_calls_and_bytes_by_file_and_process(tool, tmp_path, all_files):
    session = tool("filetop", vars={"pid": os.getpid(), "all_files": all_files})
    path = tmp_path / "busy"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    ours, theirs = os.pipe()
    try:
        for _ in range(17):
            os.write(fd, b"x" * 1000)
        read = sum(len(os.pread(fd, 700, 600 * i)) for i in range(29))
        for _ in range(7):
            os.write(theirs, b"x")
    finally:
        for each in (fd, ours, theirs):
            os.close(each)
    rows, about = session.rows(), path.stat()
    assert set(rows["pid"]) == {os.getpid()}
    assert rows["bytes"].is_monotonic_decreasing
    busy = rows[rows["file"] == "busy"].set_index("operation")
    assert busy.loc[["READ", "WRITE"], ["calls", "bytes"]].to_numpy().tolist() == [[29, read], [17, 17_000]]
    assert set(zip(busy["device"], busy["inode"], strict=True)) == {(about.st_dev, about.st_ino)}
    piped = rows[(rows["operation"] == "WRITE") & (rows["calls"] == 7) & (rows["bytes"] == 7)]
    assert len(piped) == all_files
    picture_of(session)


def open_with_old_calls(folder, path):
    call = ctypes.CDLL(None).syscall
    for _ in range(OLD_OPENS):
        os.close(call(OPEN, os.fsencode(path), os.O_RDONLY))
    for i in range(OLD_CREATED):
        os.close(call(CREAT, os.fsencode(folder / f"old-{i}"), 0o600))
        (folder / f"old-{i}").unlink()


def work_with_files(folder):
    """Make known numbers of calls; the files that it creates are gone afterwards."""
    path = folder / "worked-with"
    fd = os.open(path, os.O_RDWR)
    for _ in range(READS):
        os.pread(fd, 1, 0)
    for _ in range(WRITES):
        os.pwrite(fd, b"x", 0)
    for _ in range(OPENS - 1):
        os.close(os.open(path, os.O_RDONLY))
    for i in range(CREATED):
        os.close(os.open(folder / f"new-{i}", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        (folder / f"new-{i}").unlink()
    for _ in range(VECTORS):
        os.preadv(fd, [bytearray(1)], 0)
    if HAS_OLD_CALLS:
        open_with_old_calls(folder, path)
    for sync in (os.fsync, os.fdatasync, os.fsync):
        sync(fd)
    os.close(fd)


def test_vfsstat_counts_calls_by_kind(tool, tmp_path):
    (tmp_path / "worked-with").write_bytes(b"x")
    wait, go = os.pipe()

    def work_when_told(tell):
        tell(str(os.getpid()))
        os.dup2(wait, 3)
        os.closerange(4, 1 << 16)  # what else was inherited: a compiler waits for the end of one of its pipes
        os.read(3, 1)
        work_with_files(tmp_path)
        os._exit(0)  # not to close any of it again

    process = Child(work_when_told)
    try:
        child = int(process.line())
        while not waits_for(3, child):
            time.sleep(0.001)
        session = tool("vfsstat", vars={"pid": child})
    finally:
        os.close(wait)
        os.close(go)
        status = process.end()
    assert status == 0
    rows = session.rows()
    assert dict(zip(rows["call"], rows["calls"], strict=True)) == {
        "READ": READS + VECTORS * by_system_calls(session),
        "WRITE": WRITES,
        "OPEN": OPENS + CREATED + (OLD_OPENS + OLD_CREATED) * HAS_OLD_CALLS,
        "CREATE": CREATED + OLD_CREATED * HAS_OLD_CALLS,
        "FSYNC": SYNCS,
    }
    picture_of(session)


def test_vfsstat_is_watched_over_time(tool, tmp_path):
    (tmp_path / "worked-with").write_bytes(b"x")
    session = tool("vfsstat", vars={"pid": os.getpid()})
    work_with_files(tmp_path)
    with session.maps["calls"].watch(0.05) as watch:
        while len(watch) < 2:
            time.sleep(0.01)
        before = len(watch)
        work_with_files(tmp_path)
        while len(watch) < before + 2:
            time.sleep(0.01)
    readings = watch.df()
    synced = readings[readings["call"] == "FSYNC"]["calls"]
    assert synced.iloc[-1] - synced.iloc[0] == SYNCS
    assert set(watch.rate()["call"]) == {"READ", "WRITE", "OPEN", "CREATE", "FSYNC"}


def cache_counts(session):
    """Hits, misses, pages added and dirtied of this process; no frame is made, which would read modules meanwhile."""
    key = {"pid": os.getpid()}
    found = session.maps["pages"].get(key)
    return [0, 0, 0, 0] if found is None else [found.hits, found.misses, found.added, found.dirtied]


def since(before, session):
    return [b - a for a, b in zip(before, cache_counts(session), strict=True)]


@pytest.fixture
def cachestat(tool):
    session = tool("cachestat", vars={"pid": os.getpid()})
    cache_counts(session)  # the first look at a map imports what later ones have
    return session


def test_cachestat_tells_pages_that_were_there_from_those_that_were_not(cachestat, cached):
    pages, counts = 211, []
    fd = cold_file(cached / "pages", pages)
    try:
        for _ in ("cold", "warm"):
            before = cache_counts(cachestat)
            for i in range(pages):
                os.pread(fd, PAGE, i * PAGE)
            counts.append(since(before, cachestat))
        before = cache_counts(cachestat)
        for i in range(53):
            os.pwrite(fd, b"x", i * PAGE)
        counts.append(since(before, cachestat))
    finally:
        os.close(fd)
    assert counts == [[0, pages, pages, 0], [pages, 0, 0, 0], [0, 0, 0, 53]]
    rows = cachestat.rows()
    assert rows.loc[rows["pid"] == os.getpid(), "misses"].item() >= pages
    picture_of(cachestat)


def write_and_read_back(path, pages):
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        for i in range(pages):
            os.pwrite(fd, bytes(PAGE), i * PAGE)
        os.fsync(fd)
        for i in range(pages):
            assert len(os.pread(fd, PAGE, i * PAGE)) == PAGE
    finally:
        os.close(fd)


def read_at_once(path, pages):
    fd = cold_file(path, pages)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_NORMAL)
    try:
        assert len(os.pread(fd, 1 << 20, 0)) == pages * PAGE  # more is asked for than there is
    finally:
        os.close(fd)


def read_cold(path, pages, size):
    fd = cold_file(path, pages)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_NORMAL)
    try:
        assert sum(len(os.pread(fd, size, at)) for at in range(0, pages * PAGE, size)) == pages * PAGE
    finally:
        os.close(fd)


def read_in_small_steps(path, pages):
    fd = cold_file(path, pages)
    try:
        for at in range(0, pages * PAGE, PAGE // 4 * 3):
            os.pread(fd, PAGE // 4 * 3, at)
    finally:
        os.close(fd)


def counts_of(work, cachestat, folder, *arguments):
    """What a work on a file counts as, the second time: the first one also reads the code that it runs."""
    for name in ("rehearsal", "performance"):
        before = cache_counts(cachestat)
        work(folder / name, *arguments)
        counts = since(before, cachestat)
    return counts


def test_cachestat_finds_what_the_same_process_has_just_written(cachestat, cached):
    assert counts_of(write_and_read_back, cachestat, cached, 59) == [59, 0, 59, 59]


def test_cachestat_counts_pages_of_long_reads_once(cachestat, cached):
    # The file is written first, and leaves the cache again.
    hits, misses, added, dirtied = counts_of(read_at_once, cachestat, cached, 211)
    assert (hits + misses, added, dirtied) == (211, 2 * 211, 211)
    assert misses > 0


@pytest.mark.parametrize("size", [64 * PAGE, 2048 * PAGE])
def test_cachestat_counts_pages_of_cold_reads_once_however_long_they_are(cachestat, cached, size):
    hits, misses, _, _ = counts_of(read_cold, cachestat, cached, 2039, size)
    assert hits + misses == 2039
    if size >= 2039 * PAGE:
        assert misses == 2039, "one read: all of it had to be fetched"


def test_cachestat_counts_a_read_that_ends_in_the_page_where_the_one_before_it_ended(cachestat, cached):
    if "on_read__tp_btf" not in set(cachestat.programs["name"]):
        pytest.skip("not in this kernel: mm_filemap_get_pages; a page that is read in pieces counts once")
    hits, misses, _, _ = counts_of(read_in_small_steps, cachestat, cached, 60)
    assert (hits + misses, misses) == (80 + 40, 60), "of three reads of three quarters of a page, two touch two pages"


def mounts(folder):
    """In a mount namespace of this process's own: five mounts, five that end, three that were none, all of a folder."""
    assert enter_mount_namespace() == 0
    for _ in range(5):
        assert mount("ours", folder, "tmpfs", READ_ONLY) == 0
        assert unmount(folder) == 0
    for _ in range(3):
        assert unmount(folder) == errno.EINVAL


def test_mountsnoop_shows_what_was_mounted_where_and_what_failed(tool, tmp_path):
    every, failed = tool("mountsnoop"), tool("mountsnoop", vars={"only_failed": True})
    process = Child(lambda tell: mounts(tmp_path))
    assert process.end() == 0
    assert every.events.wait(13, timeout=5)
    assert failed.events.wait(3, timeout=5)
    rows = every.rows()
    rows = rows[rows["target"] == str(tmp_path)]
    assert rows[["call", "source", "type", "flags", "error"]].to_numpy().tolist() == [
        *([["MOUNT", "ours", "tmpfs", READ_ONLY, "OK"], ["UMOUNT", "", "", 0, "OK"]] * 5),
        *([["UMOUNT", "", "", 0, "EINVAL"]] * 3),
    ]
    assert rows["pid"].nunique() == 1
    assert (rows["took"].dt.total_seconds() > 0).all()
    rows = failed.rows()
    assert rows[rows["target"] == str(tmp_path)]["error"].tolist() == ["EINVAL"] * 3
    picture_of(every)
