# What libbpf and the kernel said, as our errors. Nothing of libbpf's reaches the user but its words, as details.

from __future__ import annotations

import errno as errnos
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import verifier
from ..errors import AttachError, EbpflabError, KernelSupportError, LoadError, PrivilegeError, VerifierError
from ..inspectors import facilities, map_refusals, privileges, search
from ..program_types import Section, Target, parse_section
from .base import MapInfo

_DENIED = (errnos.EPERM, errnos.EACCES)
# What libbpf says and then goes on, as of every ring buffer with a record type, and logs that are shown elsewhere.
_HARMLESS = re.compile(
    r"Retrying without BTF|libbpf: prog '.*': BPF program load failed|failed to load object|-- (BEGIN|END) "
    r"|BTF loading error|BTF is optional|libbpf: prog '.*': failed to load: -\d+"
)
# What to do about a load that failed: by libbpf's words, or else by the kernel's number.
_LOAD_HINTS = (
    (r"map '.*': failed to create: Invalid", "check the map's type, key, value, max_entries and flags"),
    (
        r"\(func ksym\).*incompatible",
        "declare it with the types that this kernel's function has; `bpftool btf dump` shows them",
    ),
    (r"\(func ksym\)|\(var ksym\)", "this kernel has no symbol of that name; declare it __weak to go without it"),
    (r"find BTF for extern", "define it in the cell, or declare a kernel function with __ksym"),
    (r"not a proper ELF|not an ELF|BPF object format", "give C text, or an object file made by clang -target bpf -g"),
)
_LOAD_HINTS_BY_NUMBER = {
    errnos.ENOMEM: "the kernel had no memory for it: free -m shows what is left, memory.max what the cgroup may use",
    errnos.E2BIG: "the program has more instructions than this kernel takes: 1,000,000, or 4,096 without CAP_BPF",
    errnos.EMFILE: "this process has too many files open: close a session, or raise `ulimit -n`",
    errnos.ENFILE: "the machine has too many files open: fs.file-max is the limit",
    errnos.EINVAL: "this kernel does not take such a program: features() lists the types and helpers that it has",
    524: "this kernel does not offer it to this type of program: features() lists what it has",  # ENOTSUPP
    errnos.ESRCH: "a type or symbol that the program asks for is not in this kernel's BTF",
}
# What to do about an attachment that failed, by the kernel's number.
_ATTACH_HINTS = {
    errnos.EBUSY: "another program is attached there, and there is room for one: detach that first",
    errnos.EEXIST: "another program is attached there, and there is room for one: detach that first",
    errnos.E2BIG: "as many programs as the kernel allows are attached there: detach one first",
    errnos.ENOSPC: "all hardware counters or breakpoints are in use: detach a program that uses one",
    errnos.EMFILE: "this process has too many files open: close a session, or raise `ulimit -n`",
    errnos.EILSEQ: "the offset is not at the start of an instruction: `objdump -d` shows where they are",
    errnos.EADDRNOTAVAIL: "the kernel has several functions of that name and cannot tell which is meant: choose one "
    "that calls it",
    errnos.EOPNOTSUPP: "what it is attached to, or this kernel, does not offer it",
    errnos.ENODEV: "the device has gone: hooks() lists those that are there",
    errnos.ENOMEM: "the kernel had no memory for it: free -m shows what is left, memory.max what the cgroup may use",
    524: "what it is attached to, or this kernel, does not offer it",  # ENOTSUPP, include/linux/errno.h
}
# Where there is room for any number of programs, EEXIST is about this one (bpf_prog_array_copy() in kernel/bpf/core.c).
_MANY_PROGRAMS = ("tracepoint", "kprobe", "kretprobe", "ksyscall", "uprobe", "uretprobe", "perf_event")
_NO_FAULT = (*_DENIED, errnos.EMFILE, errnos.ENFILE)  # of a map: who asks, not what is asked for, is refused
_ENOTSUPP = 524  # the kernel's own, include/linux/errno.h
# Of the verifier's log: it has looked at the program, and did not just refuse its kind or its hook.
_INSTRUCTION = re.compile(r"^\d+: \(", re.MULTILINE)
_PROGRAM = re.compile(r"prog '([^']+)': (?:BPF program load failed|failed to load|failed to find kernel BTF)")
_DOCTOR = "%bpf doctor tells what this kernel and machine lack"


def _words(lines: Sequence[str]) -> list[str]:
    return [re.sub(r"^libbpf: ", "", line) for line in lines if not _HARMLESS.search(line)]


def _load_hint(error: int, words: Sequence[str]) -> str:
    said = "\n".join(words)
    hint = next((hint for pattern, hint in _LOAD_HINTS if re.search(pattern, said)), None)
    return hint or _LOAD_HINTS_BY_NUMBER.get(error, _DOCTOR)


def open_failed(error: int, lines: Sequence[str]) -> EbpflabError:
    words = _words(lines)
    if any("no program" in line or "doesn't provide a program" in line for line in words):
        return LoadError(
            "there is no BPF program in this object",
            errno=error,
            details=words,
            hint='put a SEC("...") before a function',
        )
    what = f"libbpf cannot open this object: {_reason(error, words)}"
    asked = 0 if error == errnos.EINVAL else error  # the object is not as libbpf wants it; no kernel has seen it
    return LoadError(what, errno=error, details=words[:-1][:5], hint=_load_hint(asked, words))


def load_failed(
    error: int,
    lines: Sequence[str],
    log: str,
    aims: Mapping[str, tuple[Section, Target]] | None = None,
    maps: Sequence[MapInfo] = (),
) -> EbpflabError:
    words = _words(lines)
    for info in maps:
        if any(line.startswith(f"map '{info.name}': failed to create") for line in words) and error not in _NO_FAULT:
            return _no_map(info, error)
    failed = next((found[1] for line in lines if (found := _PROGRAM.search(line))), None)
    section, target = (aims or {}).get(failed or "", (None, None))
    if failed and section and target and not _INSTRUCTION.search(log):
        explained = _unloadable(failed, section, target, error)
        if explained is not None:
            return explained
    if failed and re.sub(r"^processed .*", "", log, flags=re.MULTILINE).strip():
        return _refused_by_verifier(failed, error, log)
    action = f"loading {failed}" if failed else "loading"
    if error in _DENIED:
        what = f"the kernel refused {action}: {_name(error)}"
        return _denied(what, error, f"load:{section.kind if section else ''}", words)
    what = f"{action} failed: {_reason(error, words)}"
    return LoadError(what, errno=error, details=words[:-1][:5], hint=_load_hint(error, words))


def _denied(what: str, error: int, action: str, words: Sequence[str]) -> PrivilegeError:
    found = privileges.explain(error, action)
    details = [*_told(words, found.cause), *filter(None, [found.ruled_out])]
    return PrivilegeError(what, cause=found.cause, details=details, hint=found.hint, stage=action.partition(":")[0])


def _no_map(info: MapInfo, error: int) -> LoadError:
    shape = (info.type, info.key_size, info.value_size, info.max_entries, info.flags)
    what, hint = map_refusals.explain(info.name, error, shape)
    return LoadError(what, errno=error, hint=hint)


def _refused_by_verifier(program: str, error: int, log: str) -> VerifierError:
    explanation = verifier.explain(log, errno=error, file="cell")
    what = f"the verifier refused {program}: {explanation.message}"
    return VerifierError(what, program=program, log=log, explanation=explanation, errno=error)


def _unloadable(program: str, section: Section, target: Target, error: int) -> EbpflabError | None:
    # Why a program could not be loaded whatever it does: its kind, or the hook that it is checked for.
    lacking = facilities.facility(section.kind, section.prefix)
    if lacking:
        return _unsupported(program, section, target, lacking, "load")
    if section.kind == "struct_ops" and error == _ENOTSUPP:
        what = f"{program} is in no struct of functions that this kernel takes"
        hint = 'name it in one: SEC(".struct_ops") struct tcp_congestion_ops mine = {...}; hooks(kind="struct_ops")'
        return LoadError(what, errno=error, hint=hint)
    if error in _DENIED:
        return None
    if section.kind == "lsm_cgroup":
        return search.explain_missing("lsm", section.target)
    typed = section.type.typed and not section.type.hook
    return search.explain_missing(section.kind, target.place) if typed else None


def _unsupported(program: str, section: Section, target: Target, lacking: str, stage: str) -> KernelSupportError:
    place = section.target or target.place
    hint = facilities.instead(section.kind, place) or "it takes another kernel: hooks() tells what this one has"
    return KernelSupportError(f"{program} ({section.prefix}): {lacking}", hint=hint, stage=stage)


def _told(words: Sequence[str], cause: str) -> list[str]:
    # libbpf blames RLIMIT_MEMLOCK for every EPERM; where that is not the cause it only misleads.
    guess = re.compile("RLIMIT_MEMLOCK|ulimit -l")
    return [line for line in words if not guess.search(line) or "memlock" in cause.lower()][:3]


def attach_failed(program: str, section: Section, target: Target, error: int, lines: Sequence[str]) -> EbpflabError:
    lacking = facilities.facility(section.kind, section.prefix)
    if lacking:
        return _unsupported(program, section, target, lacking, "attach")
    missing = search.explain_missing(section.kind, target.place, target.options.get("netns", ""))
    if missing is not None:
        return missing
    words = _words(lines)
    if error in _DENIED:
        what = f"the kernel refused to attach {program} to {target}: {_name(error)}"
        return _denied(what, error, f"attach:{section.kind}", words)
    pid = target.options.get("pid", "")
    if pid.isdigit() and not Path(f"/proc/{pid}").exists():
        return AttachError(f"{program}: there is no process {pid}", errno=error, hint="pid= takes a running process")
    if error == errnos.EEXIST and section.kind in _MANY_PROGRAMS:
        what = f"{program} is attached to {section.kind} {target} already"
        return AttachError(what, errno=error, hint="a program can be there once; s.detach() takes it off")
    what = f"cannot attach {program} to {section.kind} {target}: {_reason(error, words)}"
    return AttachError(what, errno=error, details=words[:-1][:5], hint=_ATTACH_HINTS.get(error, _DOCTOR))


def test_run_failed(program: str, section: str, error: int) -> EbpflabError:
    if error in (errnos.EOPNOTSUPP, _ENOTSUPP):
        return LoadError(
            f"this kernel cannot test-run {program} ({section})",
            errno=error,
            hint="attach it and cause an event instead",
        )
    if error in _DENIED:
        return _denied(f"the kernel refused to run {program}", error, f"load:{parse_section(section).kind}", ())
    hint = _DOCTOR
    if error == errnos.EINVAL:
        packet = parse_section(section).type.test_run == "data"
        hint = "give data= of at least 14 bytes (an Ethernet header)" if packet else "give ctx= with the whole context"
    return LoadError(f"test run of {program} failed: {_name(error)}", errno=error, hint=hint)


def _name(error: int) -> str:
    if error == _ENOTSUPP:
        return "ENOTSUPP (not supported)"
    return f"{errnos.errorcode.get(error, error)} ({os.strerror(error)})"


def _reason(error: int, words: Sequence[str]) -> str:
    return words[-1] if words else _name(error)
