"""eBPF instructions as text: :func:`disassemble` reads bytes, :class:`Disassembly` is what ``Session.disasm`` gives."""

from .decoding import Instruction, disassemble
from .listing import Disassembly

__all__ = ["Disassembly", "Instruction", "disassemble"]
