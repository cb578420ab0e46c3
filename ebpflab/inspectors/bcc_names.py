"""Hooks as programs in BCC's C name them: ``kprobe__vfs_read``, ``TRACEPOINT_PROBE(sched, sched_switch)``.

BCC's names are those of functions and macros (bcc: docs/reference_guide.md); what has none is attached by a call of
BCC's Python, which a cell writes as ``--attach FUNCTION=KIND:TARGET``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import EbpflabError, HookNotFoundError
from ..program_types import parse_section, tracepoint_target
from . import tracefs

if TYPE_CHECKING:
    import pandas as pd

    from ..program_types import ProgramType, Section

ENGINES = ("libbpf", "bcc")
_WORD = re.compile(r"\w+", re.ASCII)
# The macros that write the head of a program, and the kinds of their hooks.
MACROS = {
    "TRACEPOINT_PROBE": "tracepoint",
    "RAW_TRACEPOINT_PROBE": "raw_tracepoint",
    "KFUNC_PROBE": "fentry",
    "KRETFUNC_PROBE": "fexit",
    "KMOD_RET": "fmod_ret",
    "LSM_PROBE": "lsm",
    "BPF_ITER": "iter",
}
# What names of functions begin with, and the section that stands for it; bcc: src/python/bcc/__init__.py.
PREFIXES = {
    "kprobe__": "kprobe/",
    "kretprobe__": "kretprobe/",
    "syscall__": "ksyscall/",
    "tracepoint__": "tp/",
    "raw_tracepoint__": "raw_tp/",
    "kfunc__": "fentry/",
    "kretfunc__": "fexit/",
    "kmod_ret__": "fmod_ret/",
    "lsm__": "lsm/",
    "bpf_iter__": "iter/",
}
# Kinds that --attach writes with a colon, and the section that stands for them.
_BEFORE_COLON = {
    **{prefix.removesuffix("__"): section for prefix, section in PREFIXES.items() if prefix != "bpf_iter__"},
    **{kind: f"{kind}/" for kind in ("uprobe", "uretprobe", "usdt")},
}
_HEADS = {kind: macro for macro, kind in MACROS.items()}
_FUNCTIONS = {"kprobe": "kprobe__", "kretprobe": "kretprobe__", "ksyscall": "syscall__"}
# Kinds whose programs are given a place by --attach: how BCC calls the kind there.
_ATTACHED = {
    **dict.fromkeys(("kprobe", "kprobe.multi"), "kprobe"),
    "kretprobe": "kretprobe",
    **dict.fromkeys(("uprobe", "uprobe.multi"), "uprobe"),
    "uretprobe": "uretprobe",
    **{kind: kind for kind in ("usdt", "perf_event", "xdp", "tc")},
    "socket_filter": "socket",
}
# What BCC has for the same events.
_INSTEAD = {
    "tp_btf": "raw_tracepoint",
    "lsm_cgroup": "lsm",
    "fsession": "kfunc and kretfunc",
    "kprobe.session": "kprobe and kretprobe",
    "uprobe.session": "uprobe and uretprobe",
    "netkit": "tc",
}
_CGROUPS = ("cgroup_skb", "cgroup_sock", "cgroup_sock_addr", "cgroup_sockopt", "cgroup_sysctl", "cgroup_device",
            "sockops")  # fmt: skip
KINDS = tuple(dict.fromkeys((*_HEADS, *_FUNCTIONS, *_ATTACHED, *_CGROUPS)))
# Sections of these kinds that BCC has no word for: sleepable programs, those inside of maps, newer address families.
_WITHOUT = re.compile(r"[\w.]+\.(?:s|w|frags)|xdp.*/\w+|action|cgroup/\w+_unix", re.ASCII)


def check_engine(engine: str) -> None:
    """Raise HookNotFoundError for an engine whose C is none that the inspectors write.

    Examples
    --------
    >>> check_engine("bcc")
    """
    if engine not in ENGINES:
        raise HookNotFoundError(f"there is no C of an engine {engine!r}", nearest=ENGINES, hint="libbpf or bcc")


def head(section: Section, parameters: Sequence[str] = (), name: str = "NAME") -> str:
    """Return the head of a program in BCC's C, "" for a kind of program that BCC does not have.

    Parameters
    ----------
    section
        The hook, as libbpf's C has it.
    parameters
        Declarations of the hook's arguments, where its programs may have some.
    name
        What a function is called that has no name for its hook.

    Examples
    --------
    >>> head(parse_section("kprobe/vfs_read"), ["struct file *file"])
    'int kprobe__vfs_read(struct pt_regs *ctx, struct file *file)'
    """
    kind, row = section.kind, section.type
    if not knows(section):
        return ""
    if kind in _HEADS and is_named(section):
        of_hook = [", ".join(tracepoint_target(section.target))] if kind == "tracepoint" else [section.target]
        listed = parameters if kind in ("fentry", "fexit", "fmod_ret", "lsm") else ()
        return f"{_HEADS[kind]}({', '.join([*of_hook, *listed])})"
    if is_named(section):
        name = _function(section)
    return f"int {name}({', '.join([context_type(row), *parameters])})"


def spelled(section: Section, place: str = "") -> str:
    """Return how BCC's C names a hook, without its arguments: a macro, a function, or the words of ``--attach``.

    Examples
    --------
    >>> [spelled(parse_section(each)) for each in ("tp/sched/sched_switch", "kretprobe/vfs_read", "xdp")]
    ['TRACEPOINT_PROBE(sched, sched_switch)', 'kretprobe__vfs_read', '--attach NAME=xdp:INTERFACE']
    """
    if is_named(section):
        return head(section) if section.kind in _HEADS else _function(section)
    return f"--attach NAME={attached(section, place or section.type.target)}" if knows(section) else ""


def knows(section: Section) -> bool:
    """Tell whether BCC's C has programs for a hook.

    Examples
    --------
    >>> knows(parse_section("fentry/vfs_read")), knows(parse_section("fentry.s/vfs_read"))
    (True, False)
    """
    return section.kind in KINDS and not _WITHOUT.fullmatch(section.prefix)


def is_named(section: Section) -> bool:
    """Tell whether a program's name alone says in BCC's C where it is attached.

    Examples
    --------
    >>> is_named(parse_section("kprobe/vfs_read")), is_named(parse_section("kprobe/vfs_*"))
    (True, False)
    """
    named = knows(section) and (section.kind in _HEADS or section.kind in _FUNCTIONS) and section.target
    return bool(named) and all(_WORD.fullmatch(part) for part in re.split("[/:]", section.target) if part)


def attached(section: Section, place: str) -> str:
    """Return what ``--attach`` gives a program in BCC's C: its kind and where.

    Examples
    --------
    >>> attached(parse_section("uprobe/libc.so.6:malloc"), "")
    'uprobe:libc.so.6:malloc'
    """
    kind = _ATTACHED.get(section.kind, section.prefix)
    if section.kind == "tc" or section.kind in _CGROUPS:
        kind = section.prefix
    elif section.kind == "kprobe.multi" and section.prefix.startswith("kret"):
        kind = "kretprobe"
    elif section.kind == "uprobe.multi" and section.prefix.startswith("uret"):
        kind = "uretprobe"
    return f"{kind}:{section.target or place}"


def context_type(row: ProgramType) -> str:
    """Return how the head of a function declares the context of its kind of program.

    Examples
    --------
    >>> context_type(BY_KIND["xdp"])
    'struct xdp_md *ctx'
    """
    if row.kind in ("usdt", "perf_event"):
        return "struct pt_regs *ctx" if row.kind == "usdt" else "struct bpf_perf_event_data *ctx"
    return f"{row.context} *ctx" if row.context.startswith("struct ") else "struct pt_regs *ctx"


def section_of(text: str) -> str:
    """Return the section for a hook in BCC's words; any other text as it is.

    Examples
    --------
    >>> [section_of(each) for each in ("kprobe__vfs_read", "KFUNC_PROBE(vfs_read, struct file *f)", "tp/sched/x")]
    ['kprobe/vfs_read', 'fentry/vfs_read', 'tp/sched/x']
    """
    wanted = text.strip()
    if found := re.fullmatch(rf"({'|'.join(MACROS)})\s*\(([^()]*)\)?.*", wanted, re.DOTALL):
        kind = MACROS[found[1]]
        words = [word.strip() for word in found[2].split(",")]
        prefix = {"tracepoint": "tp", "raw_tracepoint": "raw_tp"}.get(kind, kind)
        return "/".join([prefix, *(words if kind == "tracepoint" else words[:1])])
    for prefix, section in PREFIXES.items():
        if wanted.startswith(prefix) and _WORD.fullmatch(wanted):
            if (call := re.fullmatch(r"k(ret|)probe__sys_(\w+)", wanted)) is not None:
                return f"k{call[1]}syscall/{call[2]}"
            return f"{section}{_target(section, wanted.removeprefix(prefix))}"
    if (found := re.fullmatch(r"(\w+):(?!:)(.+)", wanted)) and found[1] in _BEFORE_COLON:
        target = found[2].replace(":", "/", 1) if found[1] == "tracepoint" else found[2]
        return f"{_BEFORE_COLON[found[1]]}{target}"
    first, slash, rest = wanted.partition("/")
    of_kind = {"kfunc": "fentry", "kretfunc": "fexit", "kmod_ret": "fmod_ret"}.get(first)
    return f"{of_kind}{slash}{rest}" if of_kind else wanted


def unknown(section: Section, text: str) -> HookNotFoundError:
    """Return the error for a hook that BCC's C has no programs for; *text* is how the hook was asked for.

    Examples
    --------
    >>> unknown(parse_section("sk_msg"), "sk_msg").hint
    "in libbpf's C there is one: %bpf template sk_msg"
    """
    other = _INSTEAD.get(section.kind, "")
    hint = f"in libbpf's C there is one: %bpf template {text}"
    shown = section.prefix if section.kind != "iter" else f"iter/{section.target}"
    what = f'ebpflab has no BCC template for SEC("{shown}")'
    return HookNotFoundError(what, nearest=KINDS, hint=f"{hint}; BCC has {other}" if other else hint)


def of_row(section: str, name: str = "") -> str:
    """Return how BCC names the hook of a section, "" where it has no such programs.

    Parameters
    ----------
    section
        As libbpf's C has it.
    name
        Where the hook is, for one whose section does not say it.

    Examples
    --------
    >>> of_row("tp/sched/sched_switch"), of_row("xdp", "lo")
    ('TRACEPOINT_PROBE(sched, sched_switch)', '--attach NAME=xdp:lo')
    """
    try:
        return spelled(parse_section(section), name)
    except EbpflabError:  # the section of a hook whose names cannot be read
        return ""


def in_frame(found: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a search that BCC has programs for, with BCC's words in the place of sections.

    Examples
    --------
    >>> in_frame(hooks("sched_switch", kind="tracepoint"))["bcc"].tolist()
    ['TRACEPOINT_PROBE(sched, sched_switch)']
    """
    frame = found[found["kind"].isin(KINDS)].rename(columns={"section": "bcc"}).reset_index(drop=True)
    frame["bcc"] = [of_row(*row) for row in zip(frame["bcc"], frame["name"], strict=True)]
    return frame


def how_to_read(kind: str, number: int, read: str) -> str:
    """Return how BCC's C reads a part of a context, from how libbpf's does.

    Parameters
    ----------
    kind
        Of the program.
    number
        Of the part among those of the context, from 1.
    read
        How libbpf's C reads it.

    Examples
    --------
    >>> how_to_read("tracepoint", 3, "ctx->flags"), how_to_read("kprobe", 1, "BPF_CORE_READ(file, ...)")
    ('args->flags', 'file->..., or PT_REGS_PARM1(ctx)')
    """
    if kind == "tracepoint":
        read = re.sub(r"TP_DATA_LOC_STR\(buffer, sizeof\(buffer\), ctx, (\w+)\)",
                      r"TP_DATA_LOC_READ_STR(&buffer, \1, sizeof(buffer))", read)  # fmt: skip
        return read.replace("ctx->", "args->")
    if kind == "usdt":
        return "bpf_usdt_readarg(n, ctx, &arg)"
    read = re.sub(r"BPF_CORE_READ\((\w+), \.\.\.\)", r"\1->...", read)
    in_register = kind in ("kprobe", "ksyscall") and "PT_REGS" not in read
    return f"{read}, or PT_REGS_PARM{number}(ctx)" if in_register and re.match(r"\w+(->|$)", read) else read


def _function(section: Section) -> str:
    prefix = _FUNCTIONS[section.kind]
    if section.kind == "ksyscall" and section.prefix.startswith("kret"):
        return f"kretprobe__sys_{section.target}"
    return f"{prefix}{section.target}"


def _target(section: str, name: str) -> str:
    if section != "tp/":
        return name
    # Both names of a tracepoint may hold two underscores; the kernel knows which pair exists.
    try:
        found = tracefs.struct_for(f"tracepoint__{name}")
    except EbpflabError:
        return name.replace("__", "/", 1)
    return f"{found.category}/{found.name}"
