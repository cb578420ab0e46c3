"""Every notebook runs, from top to bottom, against the running kernel."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT = 120


def errors_of(cell):
    return [f"{output.ename}: {output.evalue}" for output in cell.get("outputs", []) if output.output_type == "error"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_events_of_this_kernel(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(
        notebook, timeout=CELL_TIMEOUT, resources={"metadata": {"path": str(tmp_path)}}, allow_errors=True
    ).execute()
    meant_to_fail = [cell for cell in notebook.cells if "raises-exception" in cell.metadata.get("tags", [])]
    assert [error for cell in notebook.cells if cell not in meant_to_fail for error in errors_of(cell)] == []
    assert [cell.source for cell in meant_to_fail if not errors_of(cell)] == []
    shown = [
        output.data.get("text/html", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "data" in output
    ]
    assert any("first 5 of" in table for table in shown)
