"""Mutate real logs and have them explained: no crash, and no log that takes longer than its length allows.

    python -m tests.fuzz_verifier [LOGS [SECONDS [SEED]]]

Explains so many mutated logs (1,000,000), but stops after so many seconds (no limit). The exit code is 1 if a
log raised or took too long; that log is then written to `build/fuzz-verifier.log`.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from ebpflab.verifier import explain

ROOT = Path(__file__).parents[1]
DATA = ROOT / "tests" / "data" / "verifier"
SLOW = 0.05  # seconds of this thread's own time, for a log of up to 100 kB
MOST = 100_000
CELLS = [path.read_text() for path in sorted(DATA.glob("*.bpf.c"))]
WORDS = (
    "R10=fp0", "frame1: R1=", "from 5 to 9: R0=0", "fp-16=mmmm????", "scalar(", "))", "((((", "id=", "0x" + "f" * 40,
    "9" * 30, "-", "; x @ cell:3", "; x @ cell:" + "9" * 20, "callee:", "caller:", "exit", "call pc-1", "goto pc-5",
    "Verification failed: Policy: x", "Causal path:", "  >>> 3 | x", "         | ^-- error: x", "processed 5 insns",
    "R1 !read_ok", "R3 invalid mem access 'scalar'", "Unreleased reference id=2 alloc_insn=4", "\0", "\r", "é",
    "invalid read from stack R3 off -24+8 size 16", "invalid read from stack R3 off -9999+9999 size 9999",
)  # fmt: skip


def real_logs() -> list[str]:
    """Return the logs that real kernels left, and that the mutations start from."""
    paths = sorted([*DATA.glob("*.log"), *DATA.glob("*.txt")])
    return [path.read_text()[-MOST // 4 :] for path in paths]


def _flip(chance: random.Random, log: str, _logs: Sequence[str]) -> str:
    letters = list(log)
    for _ in range(chance.randint(1, 20)):
        if letters:
            letters[chance.randrange(len(letters))] = chr(chance.randrange(1, 256))
    return "".join(letters)


def _cut(chance: random.Random, log: str, _logs: Sequence[str]) -> str:
    first, last = sorted(chance.randrange(len(log) + 1) for _ in range(2))
    return chance.choice((log[:first], log[last:], log[first:last], log[:first] + log[last:]))


def _join(chance: random.Random, log: str, logs: Sequence[str]) -> str:
    return chance.choice(("", "\n")).join((log, chance.choice(logs)))


def _shuffle(chance: random.Random, log: str, _logs: Sequence[str]) -> str:
    lines = log.split("\n")
    first = chance.randrange(len(lines))
    some = lines[first : first + chance.randint(1, 12)]
    chance.shuffle(some)
    lines[first : first + len(some)] = some * chance.choice((0, 1, 1, 2, 5))
    return "\n".join(lines)


def _numbers(chance: random.Random, log: str, _logs: Sequence[str]) -> str:
    wanted = chance.choice("0123456789")
    huge = chance.choice(("9" * 25, "-1", "0", "4294967296", "18446744073709551615", "", "0x"))
    return log.replace(wanted, huge, chance.randint(1, 30))


def _insert(chance: random.Random, log: str, _logs: Sequence[str]) -> str:
    at = chance.randrange(len(log) + 1)
    word = chance.choice(WORDS) * chance.choice((1, 1, 1, 3, 300))
    return log[:at] + chance.choice(("", "\n", " ")) + word + chance.choice(("", "\n", " ")) + log[at:]


def _repeat(chance: random.Random, log: str, _logs: Sequence[str]) -> str:
    first, last = sorted(chance.randrange(len(log) + 1) for _ in range(2))
    return log[:first] + log[first:last] * chance.randint(2, 6) + log[last:]


MUTATIONS: tuple[Callable[[random.Random, str, Sequence[str]], str], ...] = (
    _flip, _cut, _join, _shuffle, _numbers, _insert, _repeat,
)  # fmt: skip


def mutated(chance: random.Random, logs: Sequence[str]) -> str:
    """Return a real log after one to five mutations, of 100 kB at most."""
    log = chance.choice(logs)
    for _ in range(chance.randint(1, 5)):
        log = chance.choice(MUTATIONS)(chance, log, logs)[:MOST]
    return log


def seconds(log: str, cell: str | None) -> float:
    """Explain a log, look at all of the explanation, and return the time that this thread spent on it."""
    began = time.thread_time()
    found = explain(log, errno=13, file="cell", cell=cell)
    took = time.thread_time() - began
    assert found.message
    assert len(str(found).split("\n")) <= 30
    assert all(step.what for step in found.story)
    assert bool(found.snippet) == (found.snippet_line is not None)
    return took


def _keep(log: str, took: float) -> None:
    path = ROOT / "build" / "fuzz-verifier.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text(log)
    print(f"{len(log):,} characters took {took:.3f} s (inf: it raised); they are in {path}")


def main(arguments: Sequence[str]) -> int:
    """Explain as many mutated logs as were asked for."""
    count, limit, seed = [*map(float, arguments), *(1_000_000, float("inf"), 8)[len(arguments) :]]
    chance, logs = random.Random(int(seed)), real_logs()
    began, done, slowest = time.monotonic(), 0, 0.0
    while done < count and time.monotonic() - began < limit:
        log = mutated(chance, logs)
        cell = chance.choice([None, *CELLS])
        took = float("inf")
        try:
            took = seconds(log, cell)
            if took > SLOW:  # once more: the first may have had to wait for memory
                took = min(took, seconds(log, cell))
        finally:  # what raised is kept, too
            if took > SLOW:
                _keep(log, took)
        if took > SLOW:
            return 1
        done, slowest = done + 1, max(slowest, took)
    print(f"{done:,} logs in {time.monotonic() - began:.0f} s, the slowest in {slowest * 1000:.1f} ms")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
