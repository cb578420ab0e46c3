"""The error for a name that does not exist, with the nearest ones that do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import HookNotFoundError
from ..similar import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable

_FEW = 12  # names that a hint may list whole


def no_such(what: str, name: str, names: Iterable[str], hint: str | None = None) -> HookNotFoundError:
    """Return the error that offers the names that resemble one that does not exist.

    Parameters
    ----------
    what
        What the name is a name of: "function", "network interface".
    hint
        What to do where nothing is near; if not given, all names are listed, provided that they are few.

    Examples
    --------
    >>> no_such("tracepoint", "sched_swich", ["sched_switch"]).nearest
    ('sched_switch',)
    """
    known = sorted(set(names) - {name})
    near = nearest(name, known)
    listed = f"there {'are' if len(known) > 1 else 'is'} {', '.join(known)}" if 0 < len(known) <= _FEW else None
    return HookNotFoundError(f"no {what} is called {name!r}", nearest=near, hint=did_you_mean(near) or hint or listed)


def absent(what: str, name: str, names: frozenset[str], hint: str | None = None) -> HookNotFoundError | None:
    """Return None if *name* is one of *names*, else the error of :func:`no_such`."""
    return None if name in names else no_such(what, name, names, hint)
