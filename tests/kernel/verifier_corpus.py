"""The programs of ``tests/data/verifier/corpus`` that the verifier refuses, and how well the refusals are explained.

    python tests/kernel/verifier_corpus.py [--logs FOLDER] [NAME ...]

loads them into the running kernel as root, prints what was expected and not found, and how many were right.
``--logs`` keeps each log as ``FOLDER/NAME.log``. The comments in the programs are described in
``tests/data/verifier/README.md``.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import cells
import forked
import kernel_has

FOLDER = Path(__file__).parents[1] / "data" / "verifier" / "corpus"
CHECKS = ("message", "category", "line", "cause", "fix", "log")
_SUFFIX = ".bpf.c"
_HEADER = re.compile(r"// (\w+)((?: [-+.\d]+)*): (.+)")
_MARK = re.compile(r"[ \t]*// <- (.*)$", re.MULTILINE)
_CAP_SYS_ADMIN = 21
_CAPABILITIES = {"CAP_PERFMON": 38}


@dataclass(frozen=True)
class Program:
    """One program, and what is expected of this kernel's refusal; lines are those that will do, none for no line."""

    name: str
    source: str
    message: str
    category: str
    fix: tuple[tuple[str, ...], ...]
    about: str
    refused: frozenset[int]
    cause: frozenset[int]
    kernels: str
    needs: str
    without: str
    open: frozenset[str]

    def expected_here(self) -> bool:
        """Whether kernels of this version refuse it in the expected way."""
        return not self.kernels or is_among(self.kernels)

    def absent(self) -> str | None:
        """Why this kernel does not refuse it in the expected way; None if it should."""
        if not self.expected_here():
            return f"the message is of kernels {self.kernels}"
        return kernel_has.absent(self.needs) if self.needs else None


@dataclass(frozen=True)
class Found:
    """What came of loading a program; the fields of the explanation are as plain as JSON."""

    error: str
    log: str = ""
    message: str = ""
    category: str | None = None
    line: int | None = None
    cause: int | None = None
    story: tuple[str, ...] = ()
    fix: str = ""
    lines: int = 0
    truncated: bool = False


@functools.cache
def kernel() -> tuple[int, int]:
    # While cells are compiled for a guest, that is the kernel that is meant.
    major, minor = re.match(r"(\d+)\.(\d+)", os.environ.get("EBPFLAB_VM") or os.uname().release).groups()
    return int(major), int(minor)


def is_among(versions: str) -> bool:
    """Whether the running kernel is among versions such as ``5.10``, ``6.4+``, ``-6.1`` and ``5.15-6.2``."""
    return any(_is_in(part) for part in versions.split())


def _is_in(part: str) -> bool:
    first, dash, last = part.removesuffix("+").partition("-")
    least = _version(first) if first else (0, 0)
    most = _version(last) if last else (least if not dash and not part.endswith("+") else (99, 0))
    return least <= kernel() <= most


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def names() -> list[str]:
    return sorted(path.name.removesuffix(_SUFFIX) for path in FOLDER.glob(f"*{_SUFFIX}"))


def read(name: str) -> Program:
    """Read a program, with what its comments say of the running kernel."""
    text = (FOLDER / f"{name}{_SUFFIX}").read_text()
    said = _headers(text)
    marked = _marks(text)
    return Program(
        name=name,
        source=_MARK.sub("", text),  # the kernel shows lines of source: they shall not give the answer away
        message=said["message"],
        category=said["category"],
        fix=tuple(tuple(word.strip() for word in words.split("|")) for words in said["fix"].split(",")),
        about=said["about"],
        refused=marked["refused"],
        cause=marked["cause"],
        kernels=said.get("kernels", ""),
        needs=said.get("needs", ""),
        without=said.get("without", ""),
        open=frozenset(said.get("open", "").split()),
    )


def _headers(text: str) -> dict[str, str]:
    # What is said of particular kernels takes precedence over what is said of all.
    said: dict[str, str] = {}
    special: dict[str, str] = {}
    for line in text.split("\n"):
        match = _HEADER.fullmatch(line)
        if not match:
            break
        key, versions, value = match.groups()
        if not versions:
            said[key] = value
        elif is_among(versions):
            special[key] = value
    return said | special


def _marks(text: str) -> dict[str, frozenset[int]]:
    marked: dict[str, set[int]] = {"refused": set(), "cause": set()}
    special: dict[str, set[int]] = {"refused": set(), "cause": set()}
    for number, line in enumerate(text.split("\n"), 1):
        match = _MARK.search(line)
        for mark in match[1].split(",") if match else ():
            kind, _, versions = mark.strip().partition(" ")
            if not versions:
                marked[kind].add(number)
            elif is_among(versions):
                special[kind].add(number)
    return {kind: frozenset(special[kind] or lines) for kind, lines in marked.items()}


def load(program: Program) -> Found:
    """Load a program into the running kernel, without a capability if it asks for that."""
    if not program.without:
        return _load(program.source)
    return Found(**json.loads(forked.told(functools.partial(_load_without, program))))


def _load_without(program, tell):
    held = int(re.search(r"CapEff:\t(\w+)", Path("/proc/self/status").read_text())[1], 16)
    dropped = 1 << _CAPABILITIES[program.without] | 1 << _CAP_SYS_ADMIN  # which stands for all others
    cells.keep_only_capabilities(held & ~dropped)
    tell(json.dumps(asdict(_load(program.source))))


def _load(source: str) -> Found:
    import ebpflab

    try:
        ebpflab.load(source, attach=False, engine="libbpf").close()
    except ebpflab.errors.VerifierError as error:
        told = error.explanation
        story = tuple(f"{step.line}: {step.what}" for step in told.story)
        return Found(
            error=type(error).__name__,
            log=error.log,
            message=told.message,
            category=told.category,
            line=told.line,
            cause=told.story[0].line if told.story else None,
            story=story,
            fix=f"{told.fix}\n{told.snippet}",
            lines=told.lines,
            truncated=told.truncated,
        )
    except ebpflab.EbpflabError as error:
        return Found(error=f"{type(error).__name__}: {error}")
    return Found(error="the kernel took it")


def misses(program: Program, found: Found) -> dict[str, str]:
    """Compare, and return for each of `CHECKS` that is not as expected what was expected and what was found."""
    if found.error != "VerifierError":
        return dict.fromkeys(CHECKS, f"expected a refusal; {found.error}")
    fix = found.fix.lower()
    complete = re.search(r"processed \d+ insns", found.log) is not None
    right = {
        "message": program.message in found.log,
        "category": found.category == program.category,
        "line": found.line in (program.refused or {None}),
        "cause": found.cause in (program.cause or program.refused | {None}),
        "fix": all(any(word.lower() in fix for word in words) for words in program.fix),
        # One message of Linux 6.18 has no line end, and is read as if it had.
        "log": (complete or found.truncated) and found.lines - len(found.log.splitlines()) in (0, 1),
    }
    shown = {
        "message": f"expected {program.message!r}; the log ends {found.log.rstrip()[-300:]!r}",
        "category": f"expected {program.category!r}, got {found.category!r}",
        "line": f"expected {sorted(program.refused) or None}, got {found.line}",
        "cause": f"expected {sorted(program.cause) or None}, got {found.cause}: {list(found.story)}",
        "fix": f"expected words {program.fix}, got {found.fix!r}",
        "log": f"{found.lines} lines counted, truncated: {found.truncated}, complete: {complete}",
    }
    return {check: f"{shown[check]} ({found.message})" for check in CHECKS if not right[check]}


def share(wrong: dict[str, dict[str, str]], check: str) -> float:
    """The part of the programs that one of `CHECKS` was right of; `wrong` has the misses of each program."""
    return sum(check not in missed for missed in wrong.values()) / (len(wrong) or 1)


def summary(wrong: dict[str, dict[str, str]]) -> str:
    """Say of how many programs each of `CHECKS` was right."""
    return ", ".join(f"{check} {share(wrong, check):.1%}" for check in CHECKS) + f" of {len(wrong)} programs"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--logs", type=Path, metavar="FOLDER")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    wrong: dict[str, dict[str, str]] = {}
    for name in options.names or names():
        program = read(name)
        reason = program.absent()
        if reason:
            print(f"{name}: left out: {reason}", flush=True)
            continue
        found = load(program)
        if options.logs and found.log:
            options.logs.mkdir(parents=True, exist_ok=True)
            (options.logs / f"{name}.log").write_text(found.log)
        wrong[name] = misses(program, found)
        for check, text in wrong[name].items():
            print(f"{name}: {check}: {text}", flush=True)
    print(summary(wrong))
    return 1 if any(wrong.values()) else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(main())
