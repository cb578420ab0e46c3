# What libbpf and the kernel said, as our errors. Nothing of libbpf's reaches the user but its words, as details.

from __future__ import annotations

import errno as errnos
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .. import verifier
from ..errors import AttachError, EbpflabError, KernelSupportError, LoadError, PrivilegeError, VerifierError
from ..inspectors import facilities, map_refusals, privileges, search
from ..program_types import Section, Target, parse_section
from . import _causes
from ._causes import ENOTSUPP, Failure
from .attach.base import Request
from .base import MapInfo

_DENIED = (errnos.EPERM, errnos.EACCES)
# What libbpf says and then goes on, as of every ring buffer with a record type, and logs that are shown elsewhere.
_HARMLESS = re.compile(
    r"Retrying without BTF|libbpf: prog '.*': BPF program load failed|failed to load object|-- (BEGIN|END) "
    r"|BTF loading error|BTF is optional|libbpf: prog '.*': failed to load: -\d+"
)
# What to do where nothing that was looked at tells the cause, by the kernel's number: what is meant by it most often.
_LOAD_HINTS = {
    errnos.E2BIG: "the program has more instructions than this kernel takes: 1,000,000, or 4,096 without CAP_BPF",
    errnos.EINVAL: "this kernel does not take such a program: features() lists the types and helpers that it has",
    ENOTSUPP: "this kernel does not offer it to this type of program: features() lists what it has",
    errnos.ESRCH: "a type or symbol that the program asks for is not in this kernel's BTF",
}
_ATTACH_HINTS = {
    errnos.EBUSY: "another program is attached there, and there is room for one: detach that first",
    errnos.EEXIST: "another program is attached there, and there is room for one: detach that first",
    errnos.E2BIG: "as many programs as the kernel allows are attached there: detach one first",
    errnos.ERANGE: "as many programs as the kernel allows are attached there: detach one first",
    errnos.EILSEQ: "the offset is not at the start of an instruction: `objdump -d` shows where they are",
    errnos.EADDRNOTAVAIL: "the kernel has several functions of that name and cannot tell which is meant: choose one "
    "that calls it",
    errnos.EOPNOTSUPP: "what it is attached to, or this kernel, does not offer it",
    errnos.ENODEV: "the device has gone: hooks() lists those that are there",
    ENOTSUPP: "what it is attached to, or this kernel, does not offer it",
}
_NO_OBJECT = "not a proper ELF|not an ELF|BPF object format"
# Of the verifier's log: it has looked at the program, and did not just refuse its kind or its hook.
_INSTRUCTION = re.compile(r"^\d+: \(", re.MULTILINE)
_PROGRAM = re.compile(r"prog '([^']+)': (?:BPF program load failed|failed to load|failed to find kernel BTF)")
_DOCTOR = "%bpf doctor tells what this kernel and machine lack"


def _words(lines: Sequence[str]) -> list[str]:
    return [re.sub(r"^libbpf: ", "", line) for line in lines if not _HARMLESS.search(line)]


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
    # The object is not as libbpf wants it; no kernel has seen it.
    found = _causes.find("load", Failure("libbpf cannot open this object", 0, words=words))
    if found:
        return LoadError(found.what, errno=error, hint=found.hint)
    alien = any(re.search(_NO_OBJECT, line) for line in words)
    hint = "give C text, or an object file made by clang -target bpf -g" if alien else _DOCTOR
    return LoadError(what, errno=error, details=words[:-1][:5], hint=hint)


def load_failed(
    error: int,
    lines: Sequence[str],
    log: str,
    aims: Mapping[str, tuple[Section, Target]] | None = None,
    maps: Sequence[MapInfo] = (),
    instructions: Mapping[str, int] | None = None,
) -> EbpflabError:
    words = _words(lines)
    failed = next((found[1] for line in lines if (found := _PROGRAM.search(line))), None)
    section, target = (aims or {}).get(failed or "", (None, None))
    action = f"loading {failed}" if failed else "loading"
    failure = Failure(f"{action} failed", error, failed or "", section, target, words, instructions=instructions)
    for info in maps:
        if any(line.startswith(f"map '{info.name}': failed to create") for line in words):
            return _no_map(info, replace(failure, action=f"the kernel cannot make the map {info.name!r}"))
    if failed and section and target and not _INSTRUCTION.search(log):
        explained = _unloadable(failed, section, target, error)
        if explained is not None:
            return explained
    if failed and re.sub(r"^processed .*", "", log, flags=re.MULTILINE).strip():
        return _refused_by_verifier(failed, error, log)
    if privileges.refused(error):
        what = f"the kernel refused {action}: {_name(error)}"
        return _denied(what, error, f"load:{section.kind if section else ''}", words)
    cause = _causes.find("load", failure)
    if cause:
        return LoadError(cause.what, errno=error, hint=cause.hint)
    what = f"{action} failed: {_reason(error, words)}"
    return LoadError(what, errno=error, details=words[:-1][:5], hint=_LOAD_HINTS.get(error, _DOCTOR))


def _denied(what: str, error: int, action: str, words: Sequence[str]) -> PrivilegeError:
    found = privileges.explain(error, action)
    details = [*_told(words, found.cause), *filter(None, [found.ruled_out])]
    return PrivilegeError(what, cause=found.cause, details=details, hint=found.hint, stage=action.partition(":")[0])


def _no_map(info: MapInfo, failure: Failure) -> EbpflabError:
    error = failure.error
    if privileges.refused(error):
        what = f"the kernel refused to make the map {info.name!r}: {_name(error)}"
        return _denied(what, error, f"load:{map_refusals.kind(info.type)}", failure.words)
    # A map that cannot be pinned, and a process that may not have more descriptors, are no fault of its definition.
    cause = _causes.find("load", failure) if error != errnos.ENOMEM else None
    if cause:
        return LoadError(cause.what, errno=error, hint=cause.hint)
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
    if section.kind == "struct_ops" and error == ENOTSUPP:
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


def attach_failed(
    program: str, section: Section, target: Target, error: int, lines: Sequence[str], request: Request | None = None
) -> EbpflabError:
    lacking = facilities.facility(section.kind, section.prefix)
    if lacking:
        return _unsupported(program, section, target, lacking, "attach")
    missing = search.explain_missing(section.kind, target.place, target.options.get("netns", ""))
    if missing is not None:
        return missing
    words = _words(lines)
    if privileges.refused(error):
        what = f"the kernel refused to attach {program} to {target}: {_name(error)}"
        return _denied(what, error, f"attach:{section.kind}", words)
    action = f"cannot attach {program} to {section.kind} {target}"
    found = _causes.find("attach", Failure(action, error, program, section, target, words, request))
    if found:
        return AttachError(found.what, errno=error, hint=found.hint)
    what = f"{action}: {_reason(error, words)}"
    return AttachError(what, errno=error, details=words[:-1][:5], hint=_ATTACH_HINTS.get(error, _DOCTOR))


def test_run_failed(program: str, section: str, error: int) -> EbpflabError:
    if error in (errnos.EOPNOTSUPP, ENOTSUPP):
        return LoadError(
            f"this kernel cannot test-run {program} ({section})",
            errno=error,
            hint="attach it and cause an event instead",
        )
    if privileges.refused(error):
        return _denied(f"the kernel refused to run {program}", error, f"load:{parse_section(section).kind}", ())
    hint = _DOCTOR
    if error == errnos.EINVAL:
        packet = parse_section(section).type.test_run == "data"
        hint = "give data= of at least 14 bytes (an Ethernet header)" if packet else "give ctx= with the whole context"
    return LoadError(f"test run of {program} failed: {_name(error)}", errno=error, hint=hint)


def _name(error: int) -> str:
    if error == ENOTSUPP:
        return "ENOTSUPP (not supported)"
    return f"{errnos.errorcode.get(error, error)} ({os.strerror(error)})"


def _reason(error: int, words: Sequence[str]) -> str:
    return words[-1] if words else _name(error)
