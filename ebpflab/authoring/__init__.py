"""Help for whoever writes a ``%%bpf`` cell: what may follow at the cursor, and what a word means.

``place`` tells from the text alone what stands at the cursor, with ``lexer`` and ``source`` reading C that is not
finished; ``completing`` and ``explaining`` answer from the running kernel. Nothing here knows IPython.
"""

from .allowed import ask, wanted
from .completing import Completions, complete
from .explaining import Explanation, explain
from .magic_line import Notebook
from .names import Item
from .place import Place, is_cell, place_at

__all__ = [
    "Completions",
    "Explanation",
    "Item",
    "Notebook",
    "Place",
    "ask",
    "complete",
    "explain",
    "is_cell",
    "place_at",
    "wanted",
]
