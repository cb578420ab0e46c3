"""The notebook of the three languages where the kernel cannot be used: it runs on its recordings."""

from __future__ import annotations

import nbformat
from test_replay_anywhere import (  # noqa: F401 (run and home are fixtures)
    EXECUTE,
    NOTEBOOKS,
    RECORDINGS,
    home,
    outputs_of,
    run,
)

from ebpflab.tracer import recorded

NOTEBOOK = NOTEBOOKS / "16_three_ways.ipynb"
READS = 5003


def test_every_bpftrace_cell_has_its_recording():
    texts = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        first, _, rest = cell.source.partition("\n")
        if cell.cell_type == "code" and first.startswith("%%bpftrace "):
            texts[first.split()[1]] = rest
    assert list(texts) == ["in_bpftrace"]
    for name, text in texts.items():
        path = RECORDINGS / NOTEBOOK.stem / f"{name}{recorded.SUFFIX}"
        trace = recorded.load(path)
        assert path.stat().st_size < 200_000
        assert trace.source.strip() == text.strip()
        assert (len(trace.events.df()), trace.lost) == (READS, 0)
        assert trace.maps["@took"].df()["count"].sum() == READS


def test_the_three_languages_replay_without_a_kernel(run, home):  # noqa: F811
    book = nbformat.reads(run(EXECUTE, NOTEBOOK, home), as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [output.evalue for cell in code for output in cell.outputs if output.output_type == "error"] == []
    for cell in code:
        if cell.source.startswith(("%%bpf ", "%%bpftrace ")):
            assert "A recording, since the process lacks CAP_BPF" in outputs_of(cell)
    assert sum(bool(outputs_of(cell, "image/png")) for cell in code) == 2
    table = outputs_of(code[-1], "text/html")
    assert table.count("5,003") == 3
