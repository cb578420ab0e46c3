# The verifier's log as the path that it walked to the refusal: instructions, their place in C, and the states of
# registers. The formats are those of Linux 5.10 to 7.3 (kernel/bpf/verifier.c and log.c):
#
#   ; v->n += 1; @ cell:15          the line of C; before Linux 6.9 without the place
#   7: (79) r1 = *(u64 *)(r0 +0)    an instruction; since 6.3 its state behind it: `; R1=scalar()`
#   7: R0_w=inv(id=0) R10=fp0       the state before an instruction; on lines of their own until 6.2
#   from 5 to 9: R0=0 R10=fp0       another path, which leaves the one before at instruction 5

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .instructions import Operation, operation
from .values import registers

INSTRUCTION = re.compile(r"(\d{1,9}): (\([0-9a-f]{2}\) [^;]*?|<[^;]*?)\s*(?:;.*| \d+: (?:frame\d+: ?)?R\d.*)?$")
STATE = re.compile(r"(?:^|[\s:])(?:frame(\d+): ?)?((?:R\d+|fp-\d+)(?:_\w+)?=.*)$")
RECORD = re.compile(r"; ?(.*) @ ([^@]*):(\d{1,9})$")
_NOISE = re.compile(r"mark_precise|regs=|last_idx|parent (?:didn't|already)|(?:old|cur) state:|\s*$|propagating")
_FROM = re.compile(r"from (\d{1,9}) to (\d{1,9})\b")
_FUNCTION = re.compile(r"Validating (\S+)\(\) func#|(Live regs before insn|func#\d+ @)")
LINE = 16_000  # characters of one line that are looked at


@dataclass(frozen=True)
class Place:
    """A line of C, as a record of the log names it; `line` is None where only its text is known."""

    source: str
    file: str | None = None
    line: int | None = None


@dataclass
class Insn:
    # One instruction on the path. `before` and `after` are the words of the states that the log shows around it.
    number: int
    text: str
    frame: int = 0
    place: Place | None = None
    before: str = ""
    after: str = ""
    left: bool = False  # another path from here has been walked already

    @property
    def operation(self) -> Operation:
        return operation(self.text)

    def known_before(self) -> dict[str, str]:
        return registers(self.before) if self.before else {}

    def known_after(self) -> dict[str, str]:
        return registers(self.after) if self.after else {}


@dataclass
class Path:
    # The instructions from the start of the program, or of what is left of the log, to the refusal.
    insns: list[Insn] = field(default_factory=list)
    whole: bool = False  # it begins at the program's first instruction
    function: str = ""  # a global function, which the verifier walks by itself
    lost: bool = False  # something was looked for that lies before it
    effort: int = 20_000  # how many instructions may still be looked at: no log shall take long

    def value(self, at: int, register: str) -> str:
        # The words for a register or slot right before instruction `at` runs; "" where the log does not show them.
        insns, frame = self.insns, self.insns[at].frame
        known = insns[at].known_before()
        if register in known:
            return known[register]
        for place in range(at - 1, max(-1, at - 3000), -1):
            insn = insns[place]
            self.effort -= 1
            if insn.frame < frame or self.effort < 0:
                break
            if insn.frame > frame:
                continue
            known = insn.known_after()
            if register in known:
                return known[register]
            if writes(insn, register):
                break
            known = insn.known_before()
            if register in known:
                return known[register]
        return self._computed(at, register)

    def _computed(self, at: int, register: str) -> str:
        # What the instructions alone tell, where the log shows no states (most of Linux before 6.3): a constant, or
        # an address on the stack.
        moved, frame = 0, self.insns[at].frame
        for place in range(at - 1, max(-1, at - 200), -1):
            insn = self.insns[place]
            self.effort -= 1
            if register == "R10" or insn.frame != frame or self.effort < 0:
                break
            if not writes(insn, register):
                continue
            done = insn.operation
            constant = re.fullmatch(r"-?\d{1,9}", done.operand)
            if done.kind == "move" and not done.operator:
                register = f"R{done.source}"
            elif done.kind == "arithmetic" and done.operator == "+" and constant:
                moved += int(done.operand)
            elif done.kind == "constant" and constant:
                return str(int(done.operand) + moved)
            else:
                return ""
        return f"fp{moved}" if register == "R10" and moved else ""

    def result(self, at: int, register: str) -> str:
        # The words for a register or slot right after instruction `at` ran.
        known = self.insns[at].known_after()
        if register in known or at + 1 >= len(self.insns):
            return known.get(register, "")
        following = self.insns[at + 1]
        return following.known_before().get(register, "") if following.frame == self.insns[at].frame else ""


def writes(insn: Insn, register: str) -> bool:
    # Whether the instruction gives a register a new value, as far as its words tell.
    done = insn.operation
    if register.startswith("fp"):
        return done.kind in ("store", "atomic") and done.base == 10 and f"fp{done.offset // 8 * 8}" == register
    if done.kind == "call":
        return register in _CLOBBERED
    return done.target is not None and register == f"R{done.target}"


_CLOBBERED = {f"R{n}" for n in range(6)}


Locate = Callable[[str, int], "int | None"]


def read(text: str, locate: Locate | None = None) -> Path:
    """Read the path to the refusal from a log, or from the end of one.

    Parameters
    ----------
    text
        Whole lines of the log, up to the refusal.
    locate
        Finds the line of C by its text and the line before it, for kernels whose records have no numbers.
    """
    reader = _Reader(locate)
    for line in text.split("\n"):
        reader.take(line if len(line) <= LINE else line[:LINE])
    return reader.finish()


class _Reader:
    def __init__(self, locate: Locate | None) -> None:
        self._path = Path()
        self._locate = locate
        self._place: Place | None = None
        self._last = 0  # the last line that is known
        self._called: list[str] = []  # the functions that were called since the last record
        self._frame = 0
        self._before = ""  # a state that belongs to the next instruction
        self._caller = False  # the next state is that of the calling function

    def take(self, line: str) -> None:
        # One line of the log.
        first = line[:1]
        if first.isdigit():
            self._numbered(line)
        elif first == ";":
            self._record(line)
        elif first == " ":
            self._state_alone(line)
        elif first == "f" and (match := _FROM.match(line)):
            self._branch(int(match[1]), line)
        elif line.startswith(("caller:", "returning from callee:")):
            self._caller = True
        elif line.startswith(("callee:", "to caller at ")):
            self._caller = False
        elif first in "VLf" and (match := _FUNCTION.match(line)):
            self._path, self._frame = Path(function=match[1] or ""), 0

    def finish(self) -> Path:
        # The path. Frames were counted from 0; a log that begins inside of a function may have led below.
        insns = self._path.insns
        lowest = min((insn.frame for insn in insns), default=0)
        for insn in insns if lowest < 0 else ():
            insn.frame -= lowest
        self._path.whole = (bool(insns) and insns[0].number == 0) or bool(self._path.function)
        return self._path

    def _numbered(self, line: str) -> None:
        match = INSTRUCTION.match(line)
        if match is None:
            if (shown := STATE.search(line)) and not line.startswith("; "):
                self._frame = int(shown[1] or 0)
                self._before = shown[2]
            return
        self._follow()
        insn = Insn(int(match[1]), match[2], self._frame, self._place, self._before)
        self._path.insns.append(insn)
        if function := insn.operation.function:
            self._called.append(function)
        self._before = ""
        rest = line[match.end(2) :]
        if "=" in rest and (shown := STATE.search(rest)):
            if rest.lstrip()[:1] == ";":
                insn.after = shown[2]
            else:  # the state at the instruction that a branch leads to
                self._before = shown[2]
                insn.left = True
            if not self._entered(insn):
                self._frame = insn.frame = int(shown[1] or 0)

    def _entered(self, insn: Insn) -> bool:
        # Whether the state behind it is already that of another frame.
        return insn.operation.kind in ("call", "exit")

    def _follow(self) -> None:
        # What the last instruction did to the frame, where no state has told.
        if not self._path.insns:
            return
        last = self._path.insns[-1]
        if self._before or self._frame != last.frame:
            return
        kind = last.text[5:]
        if kind.startswith("call pc"):
            self._frame += 1
        elif kind.startswith("exit"):
            self._frame -= 1

    def _record(self, line: str) -> None:
        match = RECORD.match(line)
        if match:
            self._place = Place(match[1].strip(), match[2], int(match[3]))
        else:
            text = line[1:].strip()
            again = self._place is not None and self._place.source == text and self._is_done(text)
            self._place = Place(text, None, self._locate(text, self._last + again) if self._locate else None)
            self._last = self._place.line or self._last
        self._called.clear()

    def _is_done(self, text: str) -> bool:
        # Whether all that a line calls was called: if the same text comes again, it is another line's.
        calls = re.findall(r"\b(bpf_\w+)\(", text)
        return bool(calls) and all(self._called.count(name) >= calls.count(name) for name in calls)

    def _state_alone(self, line: str) -> None:
        # Until Linux 6.2: after a branch and a call it is the state behind them, after an access the one before.
        shown = STATE.search(line)
        if shown is None or _NOISE.match(line.lstrip()):
            return
        if self._caller:
            return
        self._frame = int(shown[1] or 0)
        if not self._path.insns:
            self._before = shown[2]
            return
        insn = self._path.insns[-1]
        if insn.operation.kind in ("load", "store", "atomic"):
            insn.before = insn.before or shown[2]
        else:
            self._before = shown[2]

    def _branch(self, at: int, line: str) -> None:
        # Back to the instruction where the new path leaves; the last one of that number that was not yet left.
        insns = self._path.insns
        for index in range(len(insns) - 1, -1, -1):
            if insns[index].number == at and not insns[index].left:
                insns[index].left = True
                del insns[index + 1 :]
                break
        else:
            insns.clear()
        shown = STATE.search(line)
        if shown:
            self._before, self._frame = shown[2], int(shown[1] or 0)
