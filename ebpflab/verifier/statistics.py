# What the verifier counted of programs that it accepted: print_verification_stats() in kernel/bpf/verifier.c.

from __future__ import annotations

import re
from dataclasses import dataclass

INSNS_LIMIT = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS, include/linux/bpf.h
STACK_LIMIT = 512  # MAX_BPF_STACK, include/linux/filter.h
NEAR = 0.8  # of a limit: from here on a small change of the program can pass it

_PROCESSED = re.compile(
    r"^processed (\d{1,18}) insns \(limit (\d{1,18})\) max_states_per_insn (\d{1,18}) "
    r"total_states (\d{1,18}) peak_states (\d{1,18})",
    re.MULTILINE,
)
_TIME = re.compile(r"^verification time (\d{1,18}) usec", re.MULTILINE)
_STACK = re.compile(r"^stack depth ([\d+]{1,4096})$", re.MULTILINE)


@dataclass(frozen=True)
class Statistics:
    """What it took to verify one program.

    Parameters
    ----------
    processed, limit
        Instructions that the verifier walked through, each as often as it came by, and how many it would have.
    states, peak_states, states_per_insn
        Register states that it kept: in all, at a time, and of the instruction with the most.
    stack
        Bytes of stack of each function, the program's own first; None before BPF_LOG_STATS (Linux 5.2).
    microseconds
        How long it took; None if the kernel does not say.
    """

    processed: int
    limit: int
    states: int
    peak_states: int
    states_per_insn: int
    stack: tuple[int, ...] | None = None
    microseconds: int | None = None

    @property
    def hint(self) -> str:
        """What to do when the program is near a limit, or an empty text."""
        if self.processed >= NEAR * self.limit:
            return near_insns(self.processed, self.limit)
        if self.stack and sum(self.stack) >= NEAR * STACK_LIMIT:
            return (
                f"{sum(self.stack)} bytes of stack, of {STACK_LIMIT} for a function and those it calls: "
                "keep large variables in a BPF_MAP_TYPE_PERCPU_ARRAY map"
            )
        return ""


def near_insns(processed: int, limit: int = INSNS_LIMIT) -> str:
    """Say what to do about a program that is nearly too complex."""
    return (
        f"the verifier walked through {processed:,} instructions and gives up at {limit:,}: "
        "shorten loops, use bpf_loop(), or split the program with a global function"
    )


def statistics(log: str) -> Statistics | None:
    """Read the statistics at the end of a log, or return None where it has none.

    Parameters
    ----------
    log
        A log of any level; the stack and the time are there with BPF_LOG_STATS (4) only.

    Examples
    --------
    >>> text = "processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 1 peak_states 1 mark_read 0"
    >>> statistics(text).processed
    7
    """
    found = None
    for found in _PROCESSED.finditer(log):  # noqa: B007 - the last one is meant
        pass
    if found is None:
        return None
    processed, limit, per_insn, states, peak = (int(number) for number in found.groups())
    times, stacks = _TIME.findall(log), _STACK.findall(log)
    stack = tuple(int(depth) for depth in stacks[-1].split("+") if depth) if stacks else None
    return Statistics(processed, limit, states, peak, per_insn, stack, int(times[-1]) if times else None)
