"""Patterns for names of hooks, and tables of 60,000 names in which they are looked for.

Arrow's arrays hold the names: they are searched, filtered and put into a frame without a Python object for each.
"""

from __future__ import annotations

import fnmatch
import functools
import itertools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..errors import CellError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True, eq=False)
class Table:
    """Names in order, and what to write in ``SEC()`` for each: two ``pyarrow`` arrays of one length."""

    names: Any
    sections: Any

    def matching(self, pattern: str) -> Table:
        """Return the rows that match a pattern; see :func:`ebpflab.hooks` for what it may be.

        Raises
        ------
        CellError
            It is not a regular expression.
        """
        import pyarrow as pa

        text = pattern.strip()
        if is_expression(text):
            search = _compiled(text).search
            kept = pa.array([found is not None for found in map(search, self._listed)], pa.bool_())
        elif "[" in text and re.search(r"[*?]", text):
            # Only Python knows classes of characters in globs.
            rows = zip(self._listed, self.sections.to_pylist(), strict=True)
            kept = pa.array([bool(found) for found in itertools.starmap(matcher(text), rows)], pa.bool_())
        else:
            kept = self._kept(text)
        return Table(self.names.filter(kept), self.sections.filter(kept))

    @functools.cached_property
    def _listed(self) -> list[str]:
        return cast("list[str]", self.names.to_pylist())

    def _kept(self, text: str) -> Any:
        import pyarrow.compute as pc

        column, before = (self.sections, "/") if "/" in text else (self.names, ":")
        if not re.search(r"[*?]", text):
            return pc.call_function("match_substring", [column], pc.MatchSubstringOptions(text, ignore_case=True))
        # SQL's way to write a glob; a name also matches without what stands before it.
        like = re.sub(r"([%_\\])", r"\\\1", text).replace("*", "%").replace("?", "_")
        whole, part = (
            pc.call_function("match_like", [column], pc.MatchSubstringOptions(each, ignore_case=True))
            for each in (like, f"%{before}{like}")
        )
        return pc.call_function("or", [whole, part])


def table(section: str, names: Iterable[str]) -> Table:
    """Return the table of these names; a section that ends with a slash is followed by the name.

    Examples
    --------
    >>> table("tp/", ["sched:sched_switch"]).sections.to_pylist()
    ['tp/sched/sched_switch']
    """
    return _table(section, names if isinstance(names, frozenset | tuple) else tuple(names))


def matcher(pattern: str) -> Callable[[str, str], object]:
    """Return the function that tells whether a name, given with its section, matches a pattern.

    Raises
    ------
    CellError
        The pattern is between slashes, and no regular expression.

    Examples
    --------
    >>> bool(matcher("vfs_*")("vfs_read", "kprobe/vfs_read"))
    True
    """
    text = pattern.strip()
    if is_expression(text):
        search = _compiled(text).search
        return lambda name, _: search(name)
    in_section = "/" in text
    if "*" in text or "?" in text:
        glob = re.compile(fnmatch.translate(text), re.IGNORECASE).match
        if in_section:
            return lambda _, section: glob(section) or glob(section.partition("/")[2])
        return lambda name, _: glob(name) or (":" in name and glob(name.partition(":")[2]))
    folded = text.lower()
    return lambda name, section: folded in (section if in_section else name).lower()


def is_expression(pattern: str) -> bool:
    """Tell whether a pattern is a regular expression: between slashes."""
    return len(pattern) > 1 and pattern[0] == pattern[-1] == "/"


def _compiled(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text[1:-1], re.IGNORECASE)
    except re.error as error:
        raise CellError(f"{text} is not a regular expression: {error}") from None


# The names of functions are the same set from one search to the next, until a module comes or goes.
@functools.lru_cache(maxsize=24)
def _table(section: str, names: frozenset[str] | tuple[str, ...]) -> Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    listed = sorted(names)
    try:
        array = pa.array(listed, pa.large_string())
    except UnicodeEncodeError:
        # A cgroup or a device may be named with bytes that are no text: these are shown, not written.
        array = pa.array([n.encode(errors="backslashreplace").decode() for n in listed], pa.large_string())
    if not section.endswith("/"):
        return Table(array, pa.repeat(pa.scalar(section, pa.large_string()), len(array)))
    slashed = array
    if section == "tp/":
        slashed = pc.call_function("replace_substring", [array], pc.ReplaceSubstringOptions(":", "/"))
    start, between = (pa.scalar(text, pa.large_string()) for text in (section, ""))
    return Table(array, pc.call_function("binary_join_element_wise", [start, slashed, between]))
