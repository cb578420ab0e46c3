"""The programs that the verifier refuses: too many to compile for a guest that is not going to be asked about them.

So they are not among the ``CELLS`` that every guest gets: ``tests/vm/warm.py`` takes them for runs of their tests.
"""

from __future__ import annotations

import verifier_corpus as corpus

ON_REQUEST: dict[str, str] = {
    f"verifier: {name}": program.source for name in corpus.names() if (program := corpus.read(name)).expected_here()
}
