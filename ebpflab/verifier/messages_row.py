# One row of the table of the verifier's messages, and the words that its expressions share.

from __future__ import annotations

import re
from dataclasses import dataclass

CATEGORIES = (
    "Memory Safety",
    "Register Type Safety",
    "Call Type Safety",
    "Resource Lifetime Safety",
    "Execution Context Safety",
    "Program Structure",
    "Policy",
    "Verifier Limit",
    "Verifier Internal Error",
)
MEMORY, REGISTER, CALL, RESOURCE, CONTEXT, STRUCTURE, POLICY, LIMIT, INTERNAL = CATEGORIES

# How the story of a refusal is told, by walking back from it: the definitions of a register (and its copies); an
# acquired reference; writes to a stack slot; a packet pointer and its comparison with data_end; the bounds of a
# number; the branches of a loop; the region that was entered; the arguments of a call. "" has no story.
CAUSES = ("", "register", "reference", "stack", "packet", "scalar", "loop", "context", "call")

# Linux 7.3 names arguments that are passed on the stack by their place, older kernels name registers only.
REG = r"(?P<reg>R\d+|\*\(R11-\d+\))"
ARG = r"(?P<arg>(?:helper |trusted )?args? ?#?\d+|(?:helper |trusted )?(?:R\d+|\*\(R11-\d+\)))"


@dataclass(frozen=True)
class Pattern:
    # One message of the verifier. `placed` is False where the kernel finds the fault before or after its walk
    # through the instructions, so that the last instruction in the log has nothing to do with it. `said` are the
    # formats that the row stands for, as they are in the kernel (or in libbpf, which rewrites some messages).
    regex: re.Pattern[str]
    category: str
    cause: str
    meaning: str
    fix: str
    said: tuple[str, ...]
    placed: bool = True


def row(category: str, cause: str, regex: str, meaning: str, fix: str, *said: str, placed: bool = True) -> Pattern:
    # Names in {braces} in meaning and fix are the groups of the expression.
    return Pattern(re.compile(regex), category, cause, meaning, fix, said, placed)
