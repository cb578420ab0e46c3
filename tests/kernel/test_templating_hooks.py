"""Cells made for functions of the kernel, on every kernel that can hook them: each row tells what happened."""

from __future__ import annotations

import os

import pytest
from cells import wait_until

from ebpflab.inspectors.templating import template

N = 23


def of_this_process(session, at_least):
    wait_until(lambda: (session.events.df()["pid"] == os.getpid()).sum() >= at_least, 30)
    frame = session.events.df()
    return frame[frame["pid"] == os.getpid()]


HOOKED = {
    "kprobe": "kprobe/vfs_open",
    "kretprobe": "kretprobe/vfs_open",
    "fentry": "fentry/vfs_open",
    "fexit": "fexit/vfs_open",
    "fsession": "fsession/vfs_open",
    "lsm": "lsm/file_open",
    "fmod_ret": "fmod_ret/security_file_open",
}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.hook(kind)) for kind in HOOKED])
def test_the_template_of_a_function_that_opens_files_tells_each_open_and_its_name(load, tmp_path, kind):
    made = template(HOOKED[kind])
    session = load(made.source)
    path = tmp_path / "an opened file"
    path.touch()
    before = len(of_this_process(session, 1))
    for _ in range(N):
        path.read_bytes()
    rows = of_this_process(session, before + N)
    if kind == "kretprobe":  # which has no arguments any more
        assert rows["ret"].tolist()[-N:] == [0] * N
        return
    column = "file_name" if made.section.endswith("file_open") else "path_name"
    seen = rows[rows[column].astype(str) == path.name]
    assert len(seen) == (2 * N + 2 if kind == "fsession" else N + 1)
    if kind == "fexit":
        assert set(seen["ret"]) == {0}
        assert set(seen["file_name"].astype(str)) == {path.name}


@pytest.mark.hook("ksyscall")
def test_the_template_of_a_system_call_at_a_kprobe_reads_what_the_process_gave(load, tmp_path):
    session = load(template("ksyscall/unlinkat").source)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for number in range(N):
            (tmp_path / f"{number}").touch()
            os.unlink(f"{number}", dir_fd=folder)
        rows = of_this_process(session, N)
    finally:
        os.close(folder)
    assert rows["pathname"].astype(str).tolist() == [f"{n}" for n in range(N)]
    assert set(rows["dfd"]) == {folder}
