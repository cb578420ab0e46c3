# Which story belongs to which message: those that have one of their own, and by the table's word for the rest.

from __future__ import annotations

from collections.abc import Callable

from .explanation import Step
from .holdings import (
    of_branch,
    of_empty,
    of_length,
    of_lock,
    of_loop,
    of_object,
    of_reference,
    of_stack,
    of_unmade,
)
from .story import Case
from .walks import of_exit, of_number, of_offset, of_packet, of_place, of_register, of_sum, of_unreferenced

Walk = Callable[[Case, dict[str, str]], "list[Step]"]

MESSAGES: tuple[tuple[str, Walk], ...] = (
    (r"Unreleased reference id=\d+ alloc_insn=(?P<insn>\d+)", of_reference),
    (r"would lead to reference leak|tail_call would lead", of_reference),
    (r"-ed region|is missing|while holding a lock|inside .*_lock|unlock of different", of_lock),
    (r"from stack (?:R\d+ )?off (?P<start>-\d{1,4})\+(?P<bad>\d{1,4}) size (?P<size>\d{1,4})", of_stack),
    (r"invalid (?:write to|read from|indirect access to) stack R\d+ off=", of_length),
    (r"must be referenced when passed to release|reference has not been acquired", of_unreferenced),
    (r"xpected an initialized (?:dynptr|iter)", of_unmade),
    (r"overwrite referenced dynptr|xpected uninitialized iter", of_object),
    (r"math between \w+ pointer and register", of_sum),
    (r"math between \w+ pointer and -?\d+ is", of_offset),
    (r"value \S+ makes \w+ pointer be out of bounds", of_sum),
    (r"(?:unbounded|variable-offset|variable) .*stack(?: access)?.*?(?P<reg>R\d+)?", of_number),
    (r"(?P<reg>R\d+) (?:unbounded memory access|min value is negative|invalid zero-sized)", of_number),
    (r"invalid zero-sized read", of_empty),
    (r"jumps is too complex", of_branch),
    (r"infinite loop detected|program is too large|too complex|loop is not converging", of_loop),
    (r"At program exit the register R0", of_exit),
    (r"invalid access to packet[^\n]*\n?(?:.*?(?P<reg>R\d+) offset is outside)?", of_packet),
    (r"(?P<reg>R\d+) (?:min|max) value is outside", of_number),
    (r"invalid bpf_context access|doesn't have \d+-th argument", of_place),
)


OTHERS: Walk = of_register  # of a message that the table does not know, too, if it names a register
KINDS: dict[str, Walk] = {
    "register": of_register,
    "call": of_register,
    "scalar": of_number,
    "packet": of_packet,
    "reference": of_reference,
    "loop": of_loop,
    "context": of_place,
}
