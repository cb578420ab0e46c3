# The verifier's messages, one row each: what to look for, the category it belongs to, what it means, what to do.

from __future__ import annotations

from . import messages_call, messages_memory, messages_policy, messages_register, messages_resource, messages_structure
from .messages_row import CATEGORIES, CAUSES, REGISTER, Pattern

__all__ = ["CATEGORIES", "CAUSES", "NULL", "NUMBER", "PATTERNS", "Pattern"]

# The first row that matches wins, so a particular message stands before a general one, and one that names the fault
# before those of the lines that the kernel prints on its way there.
PATTERNS = (
    *messages_call.FIRST,
    *messages_register.ROWS,
    *messages_memory.ROWS,
    *messages_resource.ROWS,
    *messages_policy.POLICIES,
    *messages_policy.LIMITS,
    *messages_call.ROWS,
    *messages_structure.ROWS,
    *messages_policy.FAULTS,
)

# A dereference of 0 where a test for NULL came before: not in the table, because the message alone cannot tell.
NUMBER = next(p.regex for p in PATTERNS if p.regex.search("R1 invalid mem access 'scalar'"))
NULL = Pattern(
    NUMBER,
    REGISTER,
    "register",
    "{reg} is NULL on one way to this line: the lookup or reservation that made it can fail.",
    "Test it first: if (!p) return 0;",
    ("R%d invalid mem access '%s'",),
)
