from __future__ import annotations

import json
from pathlib import Path

import pytest

from ebpflab.program_types import PROGRAM_TYPES
from tests import hook_table


def report(tmp_path: Path, kernel: str, **kinds: tuple[int, int, str]) -> Path:
    path = tmp_path / f"{kernel}.json"
    rows = {kind: dict(zip(("passed", "failed", "absent"), row, strict=True)) for kind, row in kinds.items()}
    path.write_text(json.dumps({"kernel": kernel, "release": kernel, "kinds": rows}))
    return path


def test_a_kind_works_if_a_test_passed_and_none_failed(tmp_path: Path) -> None:
    path = report(tmp_path, "6.1", xdp=(3, 0, ""), tc=(3, 1, ""), lsm=(0, 0, "no trampolines"))
    assert hook_table.merged({}, [path]) == {"6.1": {"lsm": "absent: no trampolines", "tc": "fails", "xdp": "works"}}


def test_a_run_of_some_kinds_leaves_what_is_known_of_the_others(tmp_path: Path) -> None:
    path = report(tmp_path, "6.1", xdp=(0, 1, ""))
    assert hook_table.merged({"6.1": {"tc": "works", "xdp": "works"}}, [path]) == {
        "6.1": {"tc": "works", "xdp": "fails"}
    }


def test_kernels_stand_in_order_and_other_machines_last(tmp_path: Path) -> None:
    reports = [report(tmp_path, kernel, xdp=(1, 0, "")) for kernel in ("6.18.44-fc", "7.3", "5.10", "6.1", "6.12")]
    assert list(hook_table.merged({}, reports)) == ["5.10", "6.1", "6.12", "7.3", "6.18.44-fc"]


def test_a_kind_that_worked_and_does_not_is_worse_and_so_is_each_that_fails() -> None:
    before = {"6.1": {"xdp": "works", "tc": "works", "lsm": "absent: x"}}
    after = {"6.1": {"xdp": "works", "lsm": "absent: x", "iter": "fails"}}
    assert hook_table.worse(before, after) == ["iter on 6.1: fails", "tc on 6.1: not tested"]
    assert hook_table.worse(before, before) == []


def test_the_document_has_a_row_for_each_kind_and_says_why_one_is_not_there() -> None:
    matrix = {"6.1": {row.kind: "works" for row in PROGRAM_TYPES} | {"lirc_mode2": "absent: built without LIRC"}}
    text = hook_table.document(matrix)
    assert text.count("\n| `") == 2 * len(PROGRAM_TYPES)
    assert "`lirc_mode2` on 6.1: built without LIRC" in text


def test_the_saved_document_is_that_of_the_saved_matrix() -> None:
    matrix = json.loads(hook_table.MATRIX.read_text())
    assert hook_table.DOCUMENT.read_text() == hook_table.document(matrix)


@pytest.mark.parametrize("row", PROGRAM_TYPES, ids=lambda row: row.kind)
def test_every_kind_works_on_a_kernel_of_the_matrix_or_says_why_on_none(row) -> None:
    matrix = json.loads(hook_table.MATRIX.read_text())
    said = {kernel: kinds.get(row.kind, "not tested") for kernel, kinds in matrix.items()}
    if "works" not in said.values():
        assert row.kind == "lirc_mode2", said  # takes CONFIG_BPF_LIRC_MODE2, which no stock kernel has, and a receiver
        assert all(verdict.startswith("absent: ") for verdict in said.values())
