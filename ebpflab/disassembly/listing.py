# A program's instructions between the lines that they were made from: as text, as a frame, below a cell.

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..engines.base import Instructions
from ..formatting import Code, Head, Note, Part, html, number, text
from .decoding import Instruction, disassemble

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 400  # instructions below a cell


@dataclass(frozen=True)
class Disassembly:
    """The instructions of a loaded program, as the verifier left them; made by :meth:`Session.disasm`.

    Dead code is gone, and the kernel has put its own instructions in place of some calls and loads.

    Attributes
    ----------
    program
        The program's name.
    instructions
        Its instructions in order, those of the functions that it calls included.
    jited_bytes
        Bytes of machine code that the kernel made of them; 0 where it interprets them, or does not tell.
    problem
        Why there is nothing to see, or names are missing; else empty.

    Examples
    --------
    >>> s.disasm("on_open").df()["text"].str.contains("call").sum()
    5
    """

    program: str
    instructions: tuple[Instruction, ...]
    jited_bytes: int = 0
    problem: str = ""

    @classmethod
    def of(cls, program: str, given: Instructions) -> Disassembly:
        """Disassemble a program of this name."""
        return cls(program, disassemble(given), given.jited_bytes, given.problem)

    @property
    def jited(self) -> bool:
        """Whether the kernel made machine code of the program."""
        return self.jited_bytes > 0

    @property
    def text(self) -> str:
        """All of it: functions, source lines after a semicolon, numbered instructions."""
        return "\n".join(_lines(self.instructions))

    def df(self) -> pd.DataFrame:
        """Return a row for each instruction: insn, function, file, line, source, text, bytes (in hexadecimal).

        ``line`` is 0 where the compiler names none.

        Examples
        --------
        >>> s.disasm().df().groupby("line").size()
        """
        import pandas as pd

        rows = [(i.insn, i.function, i.file, i.line, i.source, i.text, i.code.hex(" ")) for i in self.instructions]
        return pd.DataFrame(rows, columns=["insn", "function", "file", "line", "source", "text", "bytes"])

    def __repr__(self) -> str:
        return text(self._document())

    def _repr_html_(self) -> str:
        return html(self._document())

    def _document(self) -> list[Part]:
        count = len(self.instructions)
        jited = f", {number(self.jited_bytes)} bytes of machine code" if self.jited else ""
        state, tone = ("jited", "ok") if self.jited else ("not jited", "muted")
        document: list[Part] = [Head(self.program, state, tone, f"{number(count)} instructions{jited}")]
        if self.problem:
            document.append(Note(self.problem, "warning"))
        if count:
            document.append(Code("\n".join(_lines(self.instructions[:_SHOWN]))))
        if count > _SHOWN:
            document.append(Note(f"{number(count - _SHOWN)} more: .text and .df() have all of them"))
        return document


def _lines(instructions: Sequence[Instruction]) -> Iterator[str]:
    function, place = "", ("", 0)
    for insn in instructions:
        if insn.function != function:
            function, place = insn.function, ("", 0)
            yield f"{function}:"
        if (insn.file, insn.line) != place:
            place = (insn.file, insn.line)
            # As Linux 6.9 and later write it into the verifier's log.
            source = f"{insn.source} " if insn.source else ""
            yield f"; {source}@ {insn.file.rpartition('/')[2]}:{insn.line}"
        yield f"{insn.insn:4}: {insn.text}"
