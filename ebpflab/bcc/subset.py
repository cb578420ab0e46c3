# The kernel's types that one program needs, as C: by-value members whole, a pointer's target only where the
# program names the member that points at it, anything else by its tag.

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..compile import vmlinux
from . import declarations

_TAG = re.compile(r"\b(struct|union|enum)\s+([A-Za-z_]\w*)\b(\s*[*;])?")
_MOST = 500  # words in one question to the database


def tags(text: str, *, pointers: bool = True) -> set[str]:
    # The tags in a text, as "struct file"; without those that only stand before a "*".
    return {f"{m[1]} {m[2]}" for m in _TAG.finditer(text) if pointers or not m[3]}


def known(words: Iterable[str], module: str = "") -> set[str]:
    # The words that are typedefs or enumerators of the kernel, and its tags among "struct x" and the like; here and
    # below, with those of a module.
    return set(_blocks(words, module))


def types(
    roots: Iterable[str], members: set[str], defined: frozenset[str], declared: Iterable[str], module: str = ""
) -> str:
    # `roots`: tags ("struct file") and words; `members`: names of members that may be followed through a pointer.
    # `defined`: what the program defines itself; the kernel's get the name NAME___kern. `declared`: tags to declare.
    wanted = (root for root in roots if root.rpartition(" ")[2] not in defined)
    chosen = _close(set(_blocks(wanted, module).values()), members, module)
    marks = ",".join("?" * len(chosen))
    asked = f"SELECT text FROM block WHERE id IN ({marks}) ORDER BY id"  # noqa: S608 - marks only
    return _text(declarations.database(module).execute(asked, sorted(chosen)), defined, declared)


def all_types(defined: frozenset[str], declared: Iterable[str], module: str = "") -> str:
    return _text(declarations.database(module).execute("SELECT text FROM block ORDER BY id"), defined, declared)


def compatible() -> Mapping[str, str]:
    # The macros that stand for what other kernels had.
    return dict(declarations.database().execute("SELECT name, text FROM macro").fetchall())


def _text(rows: Iterable[tuple[str]], defined: frozenset[str], declared: Iterable[str]) -> str:
    text = declarations.header((row[0] for row in rows), declared)
    return vmlinux.rename(text, defined) if defined else text


def _blocks(words: Iterable[str], module: str = "") -> dict[str, int]:
    asked = sorted(set(words))
    found: dict[str, int] = {}
    for start in range(0, len(asked), _MOST):
        part = asked[start : start + _MOST]
        marks = ",".join("?" * len(part))
        query = f"SELECT word, block FROM name WHERE word IN ({marks})"  # noqa: S608 - marks only
        found.update(declarations.database(module).execute(query, part))
    return found


def _close(queue: set[int], members: set[str], module: str) -> set[int]:
    db = declarations.database(module)
    chosen: set[int] = set()
    while queue:
        block = queue.pop()
        if block not in chosen:
            chosen.add(block)
            queue.update(row[0] for row in db.execute("SELECT other FROM need WHERE block = ?", (block,)))
            pointers = db.execute("SELECT member, other FROM pointer WHERE block = ?", (block,))
            queue.update(other for member, other in pointers if member in members)
    return chosen
