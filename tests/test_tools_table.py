"""docs/tools.md says what the headers of the tools say."""

from __future__ import annotations

from benchmarks import tools


def test_the_table_of_tools_is_made_from_their_headers():
    assert tools.DOCUMENT.read_text() == tools.document(), "run python -m benchmarks tools"
