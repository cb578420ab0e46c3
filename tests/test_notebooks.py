"""Every notebook is saved with what it showed: a reader on the web sees tables and pictures."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def outputs_of(notebook):
    return [(cell, output) for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def unexpected_errors(notebook):
    return [
        f"{output.ename}: {output.evalue}"
        for cell, output in outputs_of(notebook)
        if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", [])
    ]


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS][:1] == ["00_quickstart.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_saved_with_tables_and_pictures_and_without_surprises(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert unexpected_errors(notebook) == []
    kinds = {kind for _, output in outputs_of(notebook) for kind in output.get("data", {})}
    assert {"text/html", "text/plain", "image/png"} <= kinds
    silent = [c.source for c in notebook.cells if c.source.startswith("%%bpf") and not c.outputs]
    assert silent == []
