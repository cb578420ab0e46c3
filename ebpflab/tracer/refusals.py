"""Why bpftrace refused a program, as our errors: its words, the place in the cell, what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import (
    AttachError,
    CellError,
    CompileError,
    Diagnostic,
    EbpflabError,
    HookNotFoundError,
    KernelSupportError,
    Location,
    PrivilegeError,
    UnsafeError,
)
from ..inspectors import kernel, search
from ..inspectors.facilities import facility
from ..similar import did_you_mean, nearest

_PLACED = re.compile(
    r"(?:stdin|[^\s:]*\.bt):(?P<line>\d+)(?:-(?P<last>\d+))?(?::(?P<from>\d+)(?:-(?P<to>\d+))?)?: "
    r"(?P<severity>ERROR|WARNING|HINT|BUG|FATAL)?:? ?(?P<message>.+)"
)
_PLAIN = re.compile(r"(?P<severity>ERROR|WARNING|HINT|BUG|FATAL): (?P<message>.+)")
_FROM_CLANG = re.compile(r"\S+\.h:\d+:\d+: (?:fatal )?error: (?P<message>.+)")
_UNDERLINE = re.compile(r"\s*~*\s*")
# The limit is no longer used for BPF since Linux 5.11, and a container may forbid setting it.
_HARMLESS = re.compile(r"RLIMIT_MEMLOCK|is not traceable \(either|^Addrspace |^Attaching ")
_NO_TRACEPOINT = re.compile(r"tracepoint not found: (\S+)", re.IGNORECASE)
_NOT_ATTACHED = re.compile(r"(?:Error attaching probe|Unable to attach probe|Could not (?:attach|resolve)[^:]*|"
                           r"Failed to attach probe|Probe does not exist):? '?([^'\s]+)'?", re.IGNORECASE)  # fmt: skip
_NO_FUNCTION = re.compile(r"Unknown function:? '?(\w+)")
_NO_FIELD = re.compile(r"'(?:const )?(?:struct )?(\w+)[^']*' does not contain a field named '(\w+)'")
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include[ \t]*[<\"](?:linux|asm|net|uapi)/[^\n]*", re.MULTILINE)
_NO_TYPE = re.compile(r"unknown type name|missing type definitions|incomplete type|file not found", re.IGNORECASE)
_IN_C = re.compile(
    r"^[ \t]*(?:SEC\s*\(|BPF_[A-Z_0-9]+\s*\(|TRACEPOINT_PROBE\s*\(|RAW_TRACEPOINT_PROBE\s*\(|"
    r"(?:static\s+)?int\s+\w+\s*\(|[^\n]*\bSEC\s*\(\s*\")[^\n]*", re.MULTILINE)  # fmt: skip
_NO_INCLUDE = "leave the #include out: bpftrace knows the kernel's types"
_EPERM = re.compile(r"Operation not permitted|Permission denied|running as the root user|must be root", re.IGNORECASE)
_PROBE = re.compile(
    r"(?:^|[\s,}])((?:k|u|t|i|rawt|hardw|softw|usdt|kfunc|kret|uret|fentry|fexit|profile)[\w]*:[^\s{,]+)"
)
_PREFIXES = {
    "k": "kprobe", "kr": "kretprobe", "t": "tracepoint", "u": "uprobe", "ur": "uretprobe", "U": "usdt",
    "rt": "raw_tracepoint", "rawtracepoint": "raw_tracepoint", "kprobe": "kprobe", "kretprobe": "kretprobe",
    "fentry": "fentry",
    "kfunc": "fentry", "fexit": "fexit", "kretfunc": "fexit", "tracepoint": "tracepoint", "uprobe": "uprobe",
    "uretprobe": "uretprobe", "usdt": "usdt",
}  # fmt: skip
_FUNCTIONS = (
    "avg", "buf", "cat", "cgroupid", "clear", "count", "delete", "exit", "hist", "join", "kaddr", "kptr", "kstack",
    "ksym", "lhist", "macaddr", "max", "min", "ntop", "override", "path", "print", "printf", "pton", "reg", "signal",
    "sizeof", "skboutput", "stats", "str", "strerror", "strftime", "strncmp", "sum", "system", "time", "uaddr",
    "unwatch", "uptr", "usym", "ustack", "zero", "has_key", "len", "tseries",
)  # fmt: skip


def read(errors: Sequence[str], text: str) -> tuple[Diagnostic, ...]:
    """Turn what bpftrace wrote on standard error into diagnostics with the places of the cell; nothing is raised.

    Examples
    --------
    >>> read(["stdin:1:14-17: ERROR: Unknown function: foo"], "BEGIN { @x = foo(); }")[0].where.column
    14
    """
    found: dict[Diagnostic, None] = {}
    lines = text.split("\n")
    for line in errors:
        if _HARMLESS.search(line):
            continue
        if match := _PLACED.match(line):
            severity = (match["severity"] or "error").lower()
            found[Diagnostic(severity, match["message"].strip(), _location(match, lines))] = None
        elif match := _PLAIN.match(line):
            found[Diagnostic(match["severity"].lower(), match["message"].strip())] = None
        elif match := _FROM_CLANG.match(line):
            found[Diagnostic("error", match["message"], _quoted_place(match["message"], lines))] = None
        elif not _UNDERLINE.fullmatch(line) and line.strip() not in (each.strip() for each in lines):
            found[Diagnostic("note", line.strip())] = None
    return tuple(found)


def refusal(errors: Sequence[str], text: str, status: int | None) -> EbpflabError:
    """Make the error to raise when bpftrace ended before its probes were attached.

    Parameters
    ----------
    errors
        The lines of its standard error.
    text
        The program.
    status
        Its exit status, negative for a signal.
    """
    said = read(errors, text)
    wrong = [d for d in said if d.severity in ("error", "bug", "fatal")] or list(said)
    if not wrong:
        how = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
        return EbpflabError(f"bpftrace ended with {how} and gave no reason", stage="attach")
    first, *others = wrong
    details = [_one_line(d) for d in [*others, *(d for d in said if d not in wrong)][:5]]
    whole = "\n".join(d.message for d in said)
    if match := _IN_C.search(text):
        where = _place(match[0].strip(), text)
        return CellError("this is C, and bpftrace has a language of its own", where=where, hint="%%bpf NAME runs C")
    found = _privilege(first, whole, details) or _hook(first, whole, text, details)
    if found := found or _unsafe(first, details) or _support(first, details):
        return found
    return _compile(first, said, details, len(wrong), text)


def _privilege(first: Diagnostic, whole: str, details: list[str]) -> EbpflabError | None:
    if not _EPERM.search(whole):
        return None
    if "root" in first.message:
        cause, hint = "bpftrace asks for user id 0, whatever the capabilities are", "start the notebook as root"
    else:
        cause, hint = kernel.privilege_cause(1, "load"), "%bpf doctor shows what this process may do"
    return PrivilegeError(
        f"bpftrace may not trace here: {cause}", cause=cause, hint=hint, details=[first.message, *details]
    )


def _hook(first: Diagnostic, whole: str, text: str, details: list[str]) -> EbpflabError | None:
    if match := _NO_TRACEPOINT.search(whole):
        return _unknown("tracepoint", match[1], f"there is no tracepoint {match[1]}", first, details, text)
    if match := _NOT_ATTACHED.search(whole):
        probe, failed = match[1].rstrip("."), f"bpftrace could not attach {match[1]}"
    elif re.search(r"No probes to attach|Attachment failed for all", whole):
        probes = _PROBE.findall(text)
        probe, failed = (probes[0] if probes else ""), "nothing matches the probes of the program"
    else:
        return None
    provider, _, target = probe.partition(":")
    kind = _PREFIXES.get(provider, "")
    details = [each for each in dict.fromkeys([first.message, *details]) if each]
    return _unknown(kind, target, failed, Diagnostic("error", failed, _place(probe, text)), details, text)


def _unknown(kind: str, target: str, what: str, first: Diagnostic, details: list[str], text: str) -> EbpflabError:
    where = first.where or _place(target, text)
    try:
        known = search.explain_missing(kind, target.replace(":", "/", 1) if kind == "tracepoint" else target)
    except EbpflabError as error:  # its names cannot be read here, which is a reason as well
        return AttachError(what, where=where, hint=error.what, details=details)
    if known is None:
        hint = (facility(kind) if kind else "") or (f"%bpf hooks {target} looks for hooks" if target else None)
        return AttachError(what, where=where, details=details, hint=hint)
    near = [name.replace("/", ":", 1) if kind == "tracepoint" else name for name in known.nearest]
    return HookNotFoundError(what, nearest=near, where=where, details=details, hint=did_you_mean(near) or known.hint)


def _unsafe(first: Diagnostic, details: list[str]) -> EbpflabError | None:
    if "unsafe function" not in first.message:
        return None
    hint = "leave it out: programs that act on the machine are for bpftrace --unsafe in a shell"
    return UnsafeError(first.message, where=first.where, hint=hint, details=details)


def _support(first: Diagnostic, details: list[str]) -> EbpflabError | None:
    if not re.search(
        r"not available for your kernel|not supported|without BPF|kernel.*(?:too old|does not)", first.message
    ):
        return None
    return KernelSupportError(
        first.message, where=first.where, hint="%bpf doctor shows what this kernel has", details=details
    )


def _compile(first: Diagnostic, said: Sequence[Diagnostic], details: list[str], count: int, text: str) -> EbpflabError:
    if "USAGE" in first.message:
        return CellError("the program is empty", hint='write one, as in BEGIN { printf("hello\\n"); }')
    what = f"{count} error{'s' if count > 1 else ''}: {first.message}"
    where, hint = first.where, _hint(first)
    if (match := _INCLUDE.search(text)) and any(_NO_TYPE.search(d.message) for d in said):
        where, hint = where or _place(match[0].strip(), text), _NO_INCLUDE
    return CompileError(what, diagnostics=said, where=where, hint=hint, details=details)


def _hint(first: Diagnostic) -> str | None:
    if match := _NO_FUNCTION.search(first.message):
        return did_you_mean(nearest(match[1], _FUNCTIONS)) or "bpftrace(8) lists its functions"
    if match := _NO_FIELD.search(first.message):
        return _fields(match[1], match[2])
    if match := re.search(r"unexpected end of file, expect(?:ing|ed) (\S)$", first.message):
        return f"a {match[1]} is missing"
    if "Invalid probe type" in first.message:
        return "a probe begins with one of tracepoint, kprobe, kretprobe, uprobe, usdt, interval, profile, BEGIN, END"
    return None


def _fields(struct: str, field: str) -> str | None:
    # bpftrace calls the context of a tracepoint struct _tracepoint_CATEGORY_EVENT: both may have underscores.
    name = struct.removeprefix("_tracepoint_")
    if name == struct:
        return f"%bpf type {struct} shows its members"
    from ..inspectors import tracefs

    for at in (match.start() for match in re.finditer("_", name)):
        try:
            fields = tracefs.format(f"{name[:at]}:{name[at + 1 :]}").fields["field"].tolist()
        except EbpflabError:  # not split there
            continue
        own = [each for each in fields if not each.startswith("common_")]
        return did_you_mean(nearest(field, own)) or f"it has {', '.join(own)}"
    return None


def _location(match: re.Match[str], lines: list[str]) -> Location | None:
    number = min(max(int(match["line"]), 1), len(lines))
    text = lines[number - 1]
    if number < int(match["line"]):  # behind the end
        return Location(number, max(len(text), 1), text)
    if not text or match["from"] is None or match["last"] is not None:
        return Location(number, None, text)
    start = _characters(text, int(match["from"]))
    end = _characters(text, int(match["to"])) if match["to"] else start + 1
    return Location(number, start, text, max(1, min(end, len(text) + 1) - start))


def _characters(text: str, column: int) -> int:
    # bpftrace counts bytes of UTF-8 from 1.
    return len(text.encode("utf-8", "surrogateescape")[: max(column - 1, 0)].decode("utf-8", "ignore")) + 1


def _place(word: str, text: str) -> Location | None:
    for number, line in enumerate(text.split("\n"), 1):
        if word and (at := line.find(word)) >= 0:
            return Location(number, at + 1, line, len(word))
    return None


def _quoted_place(message: str, lines: list[str]) -> Location | None:
    match = re.search(r"'([^']+)'", message)
    return _place(match[1], "\n".join(lines)) if match else None


def _one_line(said: Diagnostic) -> str:
    return f"line {said.where.line}: {said.message}" if said.where else said.message
