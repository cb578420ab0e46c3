"""Where compiled objects are kept: only in a directory of the user's own, and never a part of a file."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab import cache
from ebpflab.errors import EbpflabError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("EBPFLAB_CACHE", raising=False)
    return tmp_path


@pytest.fixture
def umask():
    before = os.umask(0)
    yield os.umask
    os.umask(before)


def names(folder):
    return sorted(entry.name for entry in os.scandir(folder))


def test_the_cache_is_where_the_xdg_convention_has_it(home, monkeypatch):
    assert cache.directory("objects") == home / ".cache/ebpflab/objects"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert cache.directory("objects") == home / "xdg/ebpflab/objects"
    monkeypatch.setenv("EBPFLAB_CACHE", str(home / "mine"))
    assert cache.directory("objects") == home / "mine/objects"
    assert (home / "mine/objects").is_dir()
    assert cache.directory("objects") == home / "mine/objects"


@pytest.mark.parametrize("mask", [0o000, 0o002, 0o022, 0o077])
def test_what_is_made_belongs_to_the_user_alone_whatever_the_umask(home, umask, mask):
    umask(mask)
    folder = cache.directory("objects")
    assert [p.stat().st_mode & 0o777 for p in (folder, folder.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("which", [".cache/ebpflab", ".cache/ebpflab/objects"])
@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_cache_that_others_can_write_to_is_refused(home, which, mode):
    cache.directory("objects")
    (home / which).chmod(mode)
    with pytest.raises(EbpflabError, match="can be written by other users") as caught:
        cache.directory("objects")
    assert str(home / which) in caught.value.what
    assert "chmod 700" in caught.value.hint
    assert caught.value.stage == "compile"


def test_the_hint_of_a_refused_cache_mends_it(home):
    folder = cache.directory("objects")
    folder.chmod(0o777)
    with pytest.raises(EbpflabError) as caught:
        cache.directory("objects")
    mode, path = re.search(r"chmod (\d+) (\S+?),", caught.value.hint).groups()
    Path(path).chmod(int(mode, 8))
    assert cache.directory("objects") == folder


def test_others_may_read_the_cache(home):
    cache.directory("objects").chmod(0o755)
    assert cache.directory("objects")


def test_a_cache_of_another_user_is_refused(home, monkeypatch):
    cache.directory("objects")
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(EbpflabError, match="other users"):
        cache.directory("objects")


def test_a_cache_that_cannot_be_made_is_an_error_with_a_hint(home, monkeypatch):
    (home / "file").touch()
    monkeypatch.setenv("EBPFLAB_CACHE", str(home / "file"))
    with pytest.raises(EbpflabError, match=r"file") as caught:
        cache.directory("objects")
    assert "EBPFLAB_CACHE" in caught.value.hint


def test_a_file_appears_whole_and_alone(tmp_path):
    cache.write(tmp_path / "a.o", b"one")
    cache.write(tmp_path / "a.o", b"two")
    assert (tmp_path / "a.o").read_bytes() == b"two"
    assert names(tmp_path) == ["a.o"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    cache.write(tmp_path / "a.o", b"one")
    with pytest.raises(TypeError):
        cache.write(tmp_path / "a.o", "text")
    assert (tmp_path / "a.o").read_bytes() == b"one"
    assert names(tmp_path) == ["a.o"]


def test_a_reader_never_sees_a_part_of_a_file(tmp_path):
    path, seen, done = tmp_path / "a.o", set(), threading.Event()
    cache.write(path, b"a" * 200_000)

    def read():
        while not done.is_set():
            data = path.read_bytes()
            seen.add((len(data), len(set(data))))

    reader = threading.Thread(target=read)
    reader.start()
    for letter in b"bcdefghijk" * 5:
        cache.write(path, bytes([letter]) * 200_000)
    done.set()
    reader.join()
    assert seen == {(200_000, 1)}


@given(
    st.lists(st.text(alphabet="abc", max_size=3), max_size=4), st.lists(st.text(alphabet="abc", max_size=3), max_size=4)
)
def test_keys_are_equal_when_their_parts_are(one, other):
    assert (cache.key(*one) == cache.key(*other)) == (one == other)


def test_a_key_is_a_plain_file_name_and_takes_bytes_that_are_no_text():
    assert re.fullmatch(r"[0-9a-f]{32}", cache.key("a", b"\xff", "caf\udce9"))
    assert cache.key("\udce9") == cache.key(b"\xe9")


def test_trimming_keeps_the_files_last_used(tmp_path):
    for age in range(10):
        path = tmp_path / f"{age}.o"
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "folder").mkdir()
    cache.trim(tmp_path, 3)
    assert names(tmp_path) == ["0.o", "1.o", "2.o", "folder"]
    cache.trim(tmp_path, 3)
    assert len(names(tmp_path)) == 4


def test_two_processes_may_trim_at_once(tmp_path, monkeypatch):
    for number in range(5):
        (tmp_path / f"{number}.o").touch()
    real = Path.iterdir

    def meanwhile(folder):
        for path in real(folder):
            if path.name == "3.o":
                path.unlink()
            yield path

    monkeypatch.setattr(Path, "iterdir", meanwhile)
    cache.trim(tmp_path, 2)
    assert len(names(tmp_path)) == 2


def test_a_relative_xdg_cache_home_is_ignored_as_its_specification_has_it(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("EBPFLAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "unknown")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cache.directory("objects") == tmp_path / ".cache" / "ebpflab" / "objects"
    assert not (tmp_path / "unknown").exists()
