"""USDT probes and patterns of functions in binaries: captured notes, and small files of every byte order."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ebpflab.errors import AttachError, CellError, HookNotFoundError
from ebpflab.inspectors.binaries import usdt_names, usdt_notes
from ebpflab.inspectors.search import explain_missing, hooks

# What readelf -n says of the binary that the notes were taken from.
PYTHON = {
    *("python:audit", "python:line", "python:function__entry", "python:function__return", "python:gc__start"),
    *("python:gc__done", "python:import__find__load__start", "python:import__find__load__done"),
}
NOTES = (Path(__file__).parent / "data/usdt/python3.11.bin").read_bytes()

# Two notes as sys/sdt.h's macros leave them, and one of somebody else's between.
PROGRAM = """
int start_work(int x) { return x; }
int stop_work(int x) { return x; }
__asm__(
    ".pushsection .note.stapsdt,\\"\\",@note\\n"
    ".balign 4\\n .4byte 2f-1f, 4f-3f, 3\\n 1: .asciz \\"stapsdt\\"\\n 2: .balign 4\\n"
    "3: ADDRESS 1, 2, 0\\n .asciz \\"shop\\"\\n .asciz \\"sale__start\\"\\n .asciz \\"8@%rdi\\"\\n 4: .balign 4\\n"
    ".4byte 4, 4, 3\\n .asciz \\"GNU\\"\\n .4byte 7\\n"
    ".4byte 2f-1f, 4f-3f, 3\\n 1: .asciz \\"stapsdt\\"\\n 2: .balign 4\\n"
    "3: ADDRESS 9, 9, 0\\n .asciz \\"shop\\"\\n .asciz \\"sale__end\\"\\n .asciz \\"\\"\\n 4: .balign 4\\n"
    ".popsection\\n");
"""


@pytest.fixture(params=["x86_64", "i386", "s390x", "powerpc"])
def binary(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed: apt install clang")
    path = tmp_path / "shop.so"
    source = PROGRAM.replace("ADDRESS", ".8byte" if request.param in ("x86_64", "s390x") else ".4byte")
    command = [clang, "-target", f"{request.param}-linux-gnu", "-O0", "-c", "-x", "c", "-", "-o", str(path)]
    done = subprocess.run(command, input=source, text=True, capture_output=True, timeout=60)
    if "unable to create target" in done.stderr:
        pytest.skip(f"this clang has no back end for {request.param}")
    assert done.returncode == 0, done.stderr
    return path


def test_the_notes_of_a_real_binary_are_those_that_readelf_shows() -> None:
    assert set(usdt_notes(NOTES, "<", 8)) == PYTHON


def test_probes_are_read_from_binaries_of_either_width_and_byte_order(binary: Path) -> None:
    assert usdt_names(binary) == {"shop:sale__start", "shop:sale__end"}


def test_a_missing_probe_offers_the_nearest_ones(binary: Path) -> None:
    assert explain_missing("usdt", f"{binary}:shop:sale__end") is None
    error = explain_missing("usdt", f"{binary}:shop:sale_start")
    assert error is not None
    assert error.nearest[0] == "shop:sale__start"
    elsewhere = explain_missing("usdt", f"{binary.parent}/shpo.so:shop:sale__end")
    assert elsewhere is not None
    assert elsewhere.nearest == (str(binary),)


def test_a_binary_without_probes_says_so(tmp_path: Path) -> None:
    bare = tmp_path / "bare.o"
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed: apt install clang")
    subprocess.run(
        [clang, "-c", "-x", "c", "-", "-o", bare], input=b"int f(void) { return 1; }", check=True, timeout=60
    )
    error = explain_missing("usdt", f"{bare}:shop:sale")
    assert error is not None
    assert "built without them" in str(error.hint)


@pytest.mark.parametrize("target", ["libc.so.6", "libc.so.6:setjmp", "a:b:c:d", "::"])
def test_a_target_that_is_no_probe_at_all_says_what_to_write(target: str) -> None:
    with pytest.raises(AttachError, match="path:provider:name"):
        explain_missing("usdt", target)


def test_a_pattern_matches_functions_as_libbpfs_does(binary: Path) -> None:
    for pattern in ("start_*", "st??t_work", "*", "stop_work", "0x10"):
        assert explain_missing("uprobe.multi", f"{binary}:{pattern}") is None
    # libbpf knows no other wildcards: brackets are letters.
    for pattern in ("[s]tart_work", "begin*", "start_work?"):
        error = explain_missing("uprobe.session", f"{binary}:{pattern}")
        assert error is not None
        assert pattern in error.what
    near = explain_missing("uprobe.multi", f"{binary}:strat_wor*")
    assert near is not None
    assert near.nearest[0] == "start_work"


def test_hooks_lists_what_is_in_a_binary_that_the_pattern_names(binary: Path) -> None:
    functions = hooks(f"{binary}:WORK", kind="uprobe.multi")
    assert functions["section"].tolist() == [f"uprobe.multi/{binary}:{name}" for name in ("start_work", "stop_work")]
    probes = hooks(f"{binary}:shop:*end", kind="usdt")
    assert probes["name"].tolist() == [f"{binary}:shop:sale__end"]
    both = hooks(f"{binary}:st")
    assert both[both["kind"].isin(["uprobe", "usdt"])]["section"].tolist() == [
        f"uprobe/{binary}:start_work",
        f"uprobe/{binary}:stop_work",
        f"usdt/{binary}:shop:sale__start",
    ]


def test_a_search_in_binaries_has_to_name_one_that_exists(tmp_path: Path) -> None:
    with pytest.raises(HookNotFoundError, match="no binary"):
        hooks(f"{tmp_path}/nothing:x", kind="uprobe")
    for pattern in ("", "malloc", "/libc:x/"):
        with pytest.raises(CellError, match="has to name a binary"):
            hooks(pattern, kind="uprobe")


@given(st.binary(max_size=300), st.sampled_from("<>"), st.sampled_from([4, 8]))
@settings(deadline=None)  # this machine may be busy with other things
def test_any_bytes_are_read_as_notes_without_an_error(data: bytes, order: str, address: int) -> None:
    assert all(isinstance(name, str) for name in usdt_notes(data, order, address))


@given(st.integers(0, len(NOTES)), st.binary(max_size=12), st.integers(0, 40))
@settings(deadline=None)  # this machine may be busy with other things
def test_damaged_notes_are_read_as_far_as_they_go(at: int, put: bytes, cut: int) -> None:
    found = list(usdt_notes(NOTES[:at] + put + NOTES[at + cut :], "<", 8))
    assert len(found) <= len(PYTHON) + len(put)
    whole = list(usdt_notes(NOTES[:at], "<", 8))
    assert found[: len(whole)] == whole


@given(st.binary(max_size=20), st.integers(0, 1500), st.integers(0, 100))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_binary_gives_names_or_is_refused(binary: Path, put: bytes, at: int, cut: int) -> None:
    whole = binary.read_bytes()
    damaged = binary.with_suffix(".damaged")
    damaged.write_bytes(whole[:at] + put + whole[at + cut :])
    try:
        assert isinstance(usdt_names(damaged), frozenset)
    except HookNotFoundError as error:
        assert "not an ELF binary" in error.what  # noqa: PT017
