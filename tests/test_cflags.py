"""Options for the compiler: those that a cell may bring, and those that it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ebpflab import cflags, options
from ebpflab.errors import CellError


def test_options_are_words_with_their_arguments_and_whole_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = cflags.parse("-DPAGES=8 -D DEBUG '-DNAME=\"a b\"' -Iinclude -I /usr/x -UOLD -Wno-unused")
    assert found == (
        "-DPAGES=8",
        "-DDEBUG",
        '-DNAME="a b"',
        f"-I{tmp_path}/include",
        "-I/usr/x",
        "-UOLD",
        "-Wno-unused",
    )
    assert cflags.parse(found) == found
    assert cflags.folders(found) == [tmp_path / "include", Path("/usr/x")]
    assert cflags.defines(found) == '#define PAGES 8\n#define DEBUG 1\n#define NAME "a b"\n'
    assert cflags.parse("") == cflags.parse([]) == ()


@pytest.mark.parametrize(
    "word",
    ["-o/tmp/x", "-o", "-c", "-S", "-E", "-target", "--target=x86_64", "@file", "-fplugin=/tmp/x.so", "-Xclang", "x.c",
     "-Wl,-x", "-Wa,-x", "-Wp,-MD,/tmp/x", "-MD", "-MF/tmp/x", "-march=native", "-D=1", "-D1X", "-D", "-I", "-",
     "--sysroot=/", "-include/etc/passwd", "-x", "-save-temps", "-B/tmp", "-DX=\0"],
)  # fmt: skip
def test_what_would_change_where_an_object_goes_or_run_something_is_refused(word: str) -> None:
    with pytest.raises(CellError, match="is not one for a cell") as caught:
        cflags.parse([word])
    assert "-D, -U, -I and -W" in str(caught.value.hint)


def test_an_open_quote_is_told() -> None:
    with pytest.raises(CellError, match="cannot be read"):
        cflags.parse("-DX='a")


@pytest.mark.parametrize(
    "line", ['x --cflags "-DX=1 -DY"', "x --cflags -DX=1 --cflags -DY", "x --cflags=-DX=1 --cflags=-DY"]
)
def test_a_cell_s_line_takes_them_in_any_form(line: str) -> None:
    assert options.parse(line).cflags == ("-DX=1", "-DY")
    assert options.parse("x").cflags == ()
