"""Which helpers and kfuncs a program may call, as the running kernel's verifier tells.

Asking takes up to a few seconds the first time, mostly for what it imports, so the answers are kept on disk, and
whoever completes a word never waits: until :func:`ask` has run, nothing is known and everything may be offered.
"""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, NamedTuple

from ..btf import Kind
from ..errors import EbpflabError, HookNotFoundError
from ..inspectors.layout import vmlinux
from ..program_types import parse_section
from . import names

if TYPE_CHECKING:
    from collections.abc import Iterable


class Calls(NamedTuple):
    """The names of the helpers and kfuncs that programs of a type may call, each sorted.

    Those of which the kernel does not tell it to this process are among them, and in ``unknown`` as well.
    """

    helpers: tuple[str, ...]
    kfuncs: tuple[str, ...]
    unknown: tuple[str, ...] = ()


_MOSTLY = 0.5  # a kernel that tells less than this tells it to somebody without privileges: not kept on disk
_known: dict[str, Calls] = {}
_asked: set[str] = set()  # whatever the answer was: a kernel that refuses once would refuse at every keystroke
_wanted: dict[str, None] = {}  # in the order in which they came up


def calls(sections: Iterable[str]) -> Calls | None:
    """Return what programs of these sections may call, together; None until the kernel has been asked.

    Examples
    --------
    >>> ask(["xdp"]); "bpf_xdp_adjust_head" in calls(["xdp"]).helpers
    True
    """
    types = {found for section in sections if (found := program_type(section))}
    each = [_of(found) for found in types]
    if not each or any(found is None for found in each):
        return None
    known = [found for found in each if found is not None]
    helpers = {name for found in known for name in found.helpers}
    kfuncs = {name for found in known for name in found.kfuncs}
    sure = {name for found in known for name in {*found.helpers, *found.kfuncs}.difference(found.unknown)}
    # A kernel that cannot load such programs allows them nothing, which helps nobody who writes one.
    return Calls(*(tuple(sorted(each)) for each in (helpers, kfuncs, (helpers | kfuncs) - sure))) if helpers else None


def wanted() -> bool:
    """Tell whether :func:`calls` was asked for something that the kernel has not been asked about."""
    return bool(_wanted)


def ask(sections: Iterable[str] | None = None) -> None:
    """Ask the kernel what programs of these sections may call; without any, what :func:`calls` could not tell.

    A type that the kernel tells nothing about is not wanted again, and keeps none of the others from being asked.

    Raises
    ------
    KernelSupportError, PrivilegeError
        The kernel carries no BTF, or it cannot be read.
    """
    refused: EbpflabError | OSError | None = None
    types = list(_wanted) if sections is None else [found for each in sections if (found := program_type(each))]
    for found in types:
        try:
            _asked.add(found)
            if found not in _known:
                _known[found] = _probed(found)
        except (EbpflabError, OSError) as error:
            refused = refused or error
        finally:
            _wanted.pop(found, None)
    if refused:
        raise refused


def program_type(section: str) -> str:
    """Return the kernel's name of the type of a section's program, "" where that is not known.

    Examples
    --------
    >>> program_type("fentry/vfs_read")
    'tracing'
    """
    try:
        return _types().get(parse_section(section).type.type, "")
    except HookNotFoundError:  # not finished yet
        return ""


@functools.lru_cache(maxsize=1)
def _types() -> dict[int, str]:
    found = vmlinux().find("bpf_prog_type", Kind.ENUM, Kind.ENUM64)
    return {v.value: v.name.removeprefix("BPF_PROG_TYPE_").lower() for v in (found.values if found else ())}


def _of(program_type: str) -> Calls | None:
    if program_type not in _known:
        path = names.stored_path("calls", (program_type, names.modules()))
        found = names.load(path) if path else None
        if found is None:
            if program_type not in _asked:
                _wanted[program_type] = None
            return None
        _known[program_type] = Calls(*map(tuple, found))
    return _known[program_type]


def _probed(program_type: str) -> Calls:
    from ..inspectors.features import features

    found, unknown, share = list[tuple[str, ...]](), list[str](), 0.0
    for kind in ("helper", "kfunc"):
        frame = features(kind=kind, program_type=program_type)
        untold = frame["available"] == "unknown"
        share = max(share, float(untold.mean()))
        usable = frame.loc[frame["available"] != "no", "name"]
        found.append(tuple(sorted(name for name in usable if name != "*")))
        unknown += [name for name in frame.loc[untold, "name"] if name != "*"]
    known = Calls(found[0], found[1], tuple(sorted(unknown)))
    if share < _MOSTLY:
        names.keep(names.stored_path("calls", (program_type, names.modules())), known)
    return known


def _forked() -> None:
    # The thread that was asking is not in the child, which asks for itself.
    _asked.intersection_update(_known)


os.register_at_fork(after_in_child=_forked)
