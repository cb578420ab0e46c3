"""Which helpers and kfuncs a program may call, as the running kernel's verifier tells.

Asking takes up to a few seconds the first time, mostly for what it imports, so the answers are kept on disk, and
whoever completes a word never waits: until :func:`ask` has run, nothing is known and everything may be offered.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from ..btf import Kind
from ..errors import HookNotFoundError
from ..inspectors.layout import vmlinux
from ..program_types import parse_section
from . import names

if TYPE_CHECKING:
    from collections.abc import Iterable


class Calls(NamedTuple):
    """The names of the helpers and kfuncs that programs of a type may call, each sorted."""

    helpers: tuple[str, ...]
    kfuncs: tuple[str, ...]


_MOSTLY = 0.5  # a kernel that tells less than this tells it to somebody without privileges: not kept on disk
_known: dict[str, Calls] = {}
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
    # A kernel that cannot load such programs allows them nothing, which helps nobody who writes one.
    return Calls(tuple(sorted(helpers)), tuple(sorted(kfuncs))) if helpers else None


def wanted() -> bool:
    """Tell whether :func:`calls` was asked for something that the kernel has not been asked about."""
    return bool(_wanted)


def ask(sections: Iterable[str] | None = None) -> None:
    """Ask the kernel what programs of these sections may call; without any, what :func:`calls` could not tell.

    Raises
    ------
    KernelSupportError, PrivilegeError
        The kernel carries no BTF, or it cannot be read.
    """
    types = list(_wanted) if sections is None else [found for each in sections if (found := program_type(each))]
    for found in types:
        if found not in _known:
            _known[found] = _probed(found)
        _wanted.pop(found, None)


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
            _wanted[program_type] = None
            return None
        _known[program_type] = Calls(*map(tuple, found))
    return _known[program_type]


def _probed(program_type: str) -> Calls:
    from ..inspectors.features import features

    found, unknown = [], 0.0
    for kind in ("helper", "kfunc"):
        frame = features(kind=kind, program_type=program_type)
        unknown = max(unknown, float((frame["available"] == "unknown").mean()))
        usable = frame.loc[frame["available"] != "no", "name"]
        found.append(tuple(sorted(name for name in usable if name != "*")))
    if unknown < _MOSTLY:
        names.keep(names.stored_path("calls", (program_type, names.modules())), found)
    return Calls(*found)
