"""Names of addresses: of the kernel's from ``/proc/kallsyms``, of a process's from its maps and ELF files."""

from __future__ import annotations

from .kernel import KernelSymbols
from .user import UserSymbols

__all__ = ["KernelSymbols", "UserSymbols"]
