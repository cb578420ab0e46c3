"""What BPF of the running kernel offers: program types, map types, helpers, kfuncs and ways to attach.

Names and numbers come from the enums of bpf(2) in the kernel's own BTF (``include/uapi/linux/bpf.h``), and
each answer from asking the kernel: a program is loaded or a map created, and let go of at once. A kernel's
version decides nothing; its build options only explain.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from typing import TYPE_CHECKING, NamedTuple

from .. import _probes
from ..btf import Kind
from ..errors import CellError
from ..program_types import BY_KIND, PROGRAM_TYPES
from ..similar import did_you_mean, nearest
from . import _map_types, kernel
from ._attach import attach_features
from ._kfuncs import kfuncs
from ._ways import Reply, Way, Ways, enumerators
from .facilities import facility
from .layout import vmlinux
from .matching import matcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd

_DENIED = (errno.EPERM, errno.EACCES)
_FEW = 3  # types of program that an explanation may name

# What came after the first kernels with BTF, which an older kernel's enum lacks: number, name, version.
_LATER_TYPES = """
    26 tracing 5.5     27 struct_ops 5.6     28 ext 5.6     29 lsm 5.7     30 sk_lookup 5.9     31 syscall 5.14
    32 netfilter 6.4
"""
_LATER_MAPS = """
    26 struct_ops 5.6     27 ringbuf 5.8     28 inode_storage 5.10     29 task_storage 5.11
    30 bloom_filter 5.16  31 user_ringbuf 6.1     32 cgrp_storage 6.2     33 arena 6.9     34 insn_array 6.19
"""

# Build options that bring a type of map or a helper, to say why there is none.
_OPTIONS = {
    "CONFIG_CGROUPS": "cgroup_array cgrp_storage",
    "CONFIG_CGROUP_BPF": "cgroup_storage percpu_cgroup_storage",
    "CONFIG_PERF_EVENTS": "stack_trace",
    "CONFIG_XDP_SOCKETS": "xskmap",
    "CONFIG_BPF_STREAM_PARSER": "sockmap sockhash",
    "CONFIG_BPF_JIT": "struct_ops arena",
    "CONFIG_BPF_LSM": "inode_storage task_storage bpf_inode_storage_get bpf_inode_storage_delete bpf_bprm_opts_set",
    "CONFIG_BPF_KPROBE_OVERRIDE": "bpf_override_return",
    "CONFIG_BPF_LIRC_MODE2": "bpf_rc_repeat bpf_rc_keydown bpf_rc_pointer_rel",
    "CONFIG_IMA": "bpf_ima_inode_hash bpf_ima_file_hash",
}
# The kind of program that stands for a way to attach.
_ATTACHED = {"trampoline": "fentry"}


class _Row(NamedTuple):
    kind: str
    name: str
    number: int | None
    available: str
    why: str = ""


def features(pattern: str = "", kind: str | None = None, program_type: str | None = None) -> pd.DataFrame:
    """Return what BPF of the running kernel offers, each as yes, no or unknown.

    The kernel is asked, which takes less than a second and leaves nothing behind. What it would not tell this
    process, for want of a capability say, is unknown and never no.

    Parameters
    ----------
    pattern
        A part of a name in either case; with ``*`` or ``?`` a glob for a whole name; between slashes
        (``/^bpf_ring/``) a regular expression.
    kind
        Only this kind: "program type", "map type", "helper", "kfunc" or "attach".
    program_type
        Only what depends on this type of program, such as "xdp" or "sched_cls": its own row, and whether each
        helper and kfunc may be called by it. Otherwise one type that may call it makes a helper available.

    Returns
    -------
    pandas.DataFrame
        kind; name in the kernel's spelling; number in bpf(2), NA where there is none; available ("yes", "no"
        or "unknown"); why: what is in the way, or "" where nothing more is known. kfuncs of a loaded module
        name it there. Of the kind "attach" is what attaching takes besides a type of program: btf, tracefs,
        tracepoint, kprobe, uprobe, perf_event link, kprobe.multi, uprobe.multi, trampoline, lsm, tcx, netkit.

    Raises
    ------
    CellError
        The kind, the program type or the regular expression is not one.
    KernelSupportError, PrivilegeError
        The kernel carries no BTF, or this process may not read it.

    Examples
    --------
    >>> features("ringbuf", kind="map type")["available"].tolist()
    ['yes', 'yes']
    """
    import pandas as pd

    wanted = matcher(pattern)
    kinds = _kinds(kind, program_type)
    asked = _Kernel(program_type)
    rows: list[_Row] = []
    for each in kinds:
        rows += _ROWS[each](asked, functools.partial(_is_wanted, wanted, each))
    frame = pd.DataFrame(rows, columns=_Row._fields)
    answers = pd.CategoricalDtype(["yes", "no", "unknown"])
    frame = frame.astype({"kind": str, "name": str, "number": "Int64", "available": answers, "why": str})
    if frame.empty:
        frame.attrs["note"] = f"nothing matches {pattern!r}"
    return frame


def _is_wanted(matches: Callable[[str, str], object], kind: str, name: str) -> object:
    return matches(name, f"{kind}/{name}")


def _kinds(kind: str | None, program_type: str | None) -> list[str]:
    if kind is not None and kind not in _ROWS:
        hint = did_you_mean(nearest(kind.replace("_", " "), _ROWS)) or f"kinds: {', '.join(_ROWS)}"
        raise CellError(f"there are no features of the kind {kind!r}", hint=hint)
    dependent = ("program type", "helper", "kfunc")
    return [k for k in _ROWS if kind in (None, k) and (program_type is None or k in dependent)]


class _Kernel:
    # The running kernel, and what is known of it before anything is asked.

    def __init__(self, program_type: str | None) -> None:
        self.btf = vmlinux()
        self.ways = Ways(self.btf)
        self.facts = kernel.facts()
        self.program_type = program_type and self._known(program_type)
        self._reasons: dict[tuple[str, _probes.Answer], tuple[str, str]] = {}

    def _known(self, program_type: str) -> str:
        name = program_type.removeprefix("BPF_PROG_TYPE_").lower()
        known = [*self.ways.types, *(each for _, each, _ in _later(_LATER_TYPES))]
        if name not in known:
            hint = did_you_mean(nearest(name, known)) or f"types: {', '.join(known)}"
            raise CellError(f"no type of program is called {program_type!r}", hint=hint)
        return name

    @functools.cached_property
    def callers(self) -> list[tuple[str, Way]]:
        # The ways to load a program whose calls matter; an ext program calls what the one that it replaces may.
        types = [self.program_type] if self.program_type else self.ways.types
        return [(each, way) for each in types if each != "ext" for way in self.ways.callers(each)]

    def refusal(self, type_name: str, answer: _probes.Answer) -> tuple[str, str]:
        # What it means that a program was not judged: "no" if nobody can load one here, else "unknown"; and why.
        asked = (type_name, answer)
        if asked not in self._reasons:
            forbidden = self._forbidden(*asked)
            self._reasons[asked] = ("no", forbidden) if forbidden else ("unknown", self._cause(*asked))
        return self._reasons[asked]

    def _cause(self, type_name: str, answer: _probes.Answer) -> str:
        # The verifier's last words, or else what the errno stands for.
        said = [line for line in answer.log.splitlines() if not line.startswith("processed ")]
        if said:
            return said[-1]
        if answer.errno not in _DENIED:
            name = errno.errorcode.get(answer.errno, str(answer.errno))
            return f"the kernel answered {name} ({os.strerror(answer.errno)})"
        return kernel.privilege_cause(answer.errno, f"load:{self.kind(type_name)}", self.facts)

    def _forbidden(self, type_name: str, answer: _probes.Answer) -> str:
        # Why even who lacks nothing is denied: some machines let no function be patched. "" where it is not that.
        row = BY_KIND.get(self.kind(type_name))
        if row is None or "trampoline" not in row.features or answer.errno not in _DENIED or answer.log:
            return ""
        entitled = not self.facts.user_namespace and all(map(self.facts.can, row.capabilities))
        return facility(row.kind) if entitled else ""

    def kind(self, type_name: str) -> str:
        # A kind of program of this type: one that takes the most, if there are several.
        rows = [row for row in PROGRAM_TYPES if row.type == self.ways.types.get(type_name)]
        return max(rows, key=lambda row: "trampoline" in row.features).kind if rows else ""

    def options_of(self, name: str) -> str:
        config = kernel.kernel_config()
        wanted = [option for option, names in _OPTIONS.items() if name in names.split()]
        missing = [option for option in wanted if config is not None and option not in config]
        return f"this kernel was built without {', '.join(missing)}" if missing else ""


def _program_types(asked: _Kernel, wanted: Callable[[str], object]) -> Iterator[_Row]:
    only = asked.program_type
    for name, number in asked.ways.types.items():
        if number and only in (None, name) and wanted(name):
            yield _Row("program type", name, number, *_program_type(asked, name))
    for number, name, version in _later(_LATER_TYPES):
        if name not in asked.ways.types and only in (None, name) and wanted(name):
            yield _Row("program type", name, number, "no", f"came with Linux {version}")


def _program_type(asked: _Kernel, name: str) -> tuple[str, str]:
    # A log means that the verifier has begun, and it does so only with a type that it knows.
    number = asked.ways.types[name]
    ways = asked.ways.of(name)
    answers = [*(way.answer for way in ways), _probes.load(_probes.Program(number))]
    if any(not answer.errno or answer.log for answer in answers):
        return "yes", ""
    others = [answer for answer in answers if answer.errno != errno.EINVAL]
    if others:
        return asked.refusal(name, others[0])
    kind = asked.kind(name)
    return ("no", facility(kind)) if kind else ("unknown", "newer than this version of ebpflab")


def _maps(asked: _Kernel, wanted: Callable[[str], object]) -> Iterator[_Row]:
    types = enumerators(asked.btf, "bpf_map_type", "BPF_MAP_TYPE_")
    for name, number in types.items():
        if number and wanted(name):
            yield _Row("map type", name, number, *_map_type(asked, name, number))
    for number, name, version in _later(_LATER_MAPS):
        if name not in types and wanted(name):
            yield _Row("map type", name, number, "no", f"came with Linux {version}")


def _map_type(asked: _Kernel, name: str, number: int) -> tuple[str, str]:
    answer, against = _map_types.ask(asked.btf, name, number)
    if not answer.errno:
        return "yes", ""
    if answer.errno != errno.EINVAL:
        return "unknown", asked.refusal("xdp", answer)[1]
    if name not in _map_types.SHAPES:
        return "unknown", "newer than this version of ebpflab"
    return "no", against or asked.options_of(name)


def _helpers(asked: _Kernel, wanted: Callable[[str], object]) -> Iterator[_Row]:
    for short, number in enumerators(asked.btf, "bpf_func_id", "BPF_FUNC_").items():
        name = f"bpf_{short}"
        if number and wanted(name):
            ask = functools.partial(Way.allows_helper, number=number)
            yield _Row("helper", name, number, *_callable(asked, name, ask))


def _kfuncs(asked: _Kernel, wanted: Callable[[str], object]) -> Iterator[_Row]:
    if asked.btf.find("bpf_kfunc_desc_tab", Kind.STRUCT) is None:
        if wanted("*"):
            yield _Row("kfunc", "*", None, "no", "came with Linux 5.13")
        return
    found = kfuncs(asked.btf)
    if not found:
        why = "the kernel does not tell its kfuncs: no tags in its BTF, no CONFIG_KALLSYMS_ALL"
        yield _Row("kfunc", "*", None, "unknown", why)
    modules = _probes.modules() if any(each.module for each in found) else {}
    for each in sorted(each for each in found if wanted(each.name)):
        with contextlib.ExitStack() as stack:
            fd = stack.enter_context(_probes.module(modules.get(each.module, 0))) if each.module else -1
            ask = functools.partial(Way.allows_kfunc, function=each, module=fd)
            available, why = _callable(asked, each.name, ask)
        place = f"in module {each.module}" if each.module else ""
        yield _Row("kfunc", each.name, None, available, "; ".join(filter(None, (place, why))))


def _callable(asked: _Kernel, name: str, ask: Callable[[Way], Reply]) -> tuple[str, str]:
    # Whether some type of program, or the one that is asked for, may make a call.
    if asked.program_type == "ext":
        return "unknown", "an ext program may call what the program that it replaces may call"
    silent: dict[tuple[str, str], list[str]] = {}
    for place, (each, way) in enumerate(asked.callers):
        reply = ask(way)
        if reply is True:
            # To the front with it: what is next in the kernel's lists is often for the same programs.
            asked.callers.insert(0, asked.callers.pop(place))
            return "yes", ""
        if isinstance(reply, _probes.Answer):
            silent.setdefault(asked.refusal(each, reply), []).append(each)
    for (answer, why), types in silent.items():
        if answer == "unknown":
            types = list(dict.fromkeys(types))
            return "unknown", why if len(types) > _FEW else f"{' and '.join(types)} programs cannot be asked: {why}"
    if not asked.facts.can("CAP_SYS_ADMIN"):
        return "unknown", "refused, perhaps only because the process lacks CAP_SYS_ADMIN"
    whose = f"{asked.program_type} programs" if asked.program_type else "any type of program"
    return "no", asked.options_of(name) or f"not for {whose}{' that this kernel loads' if silent else ''}"


def _attach(asked: _Kernel, wanted: Callable[[str], object]) -> Iterator[_Row]:
    for found in attach_features(asked.ways, asked.facts, wanted):
        available, why = found.available, found.why
        kind = _ATTACHED.get(found.name, found.name)
        if found.answer:
            available, why = asked.refusal(found.type, found.answer)
        if available == "no" and kind in BY_KIND:
            why = why or facility(kind)
        yield _Row("attach", found.name, None, available, why)


def _later(table: str) -> Iterator[tuple[int, str, str]]:
    words = iter(table.split())
    return ((int(number), name, version) for number, name, version in zip(words, words, words, strict=True))


_ROWS: dict[str, Callable[[_Kernel, Callable[[str], object]], Iterator[_Row]]] = {
    "program type": _program_types,
    "map type": _maps,
    "helper": _helpers,
    "kfunc": _kfuncs,
    "attach": _attach,
}
