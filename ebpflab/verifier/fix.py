# A mended line in the cell's own names. Only where the text of the cell leaves no doubt; otherwise there is none.

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from . import cell_text
from .explanation import Explanation, Step
from .remedies import release_of
from .story import Case


@dataclass(frozen=True)
class Snippet:
    """Text that goes before a line of the cell, in place of so many of its lines."""

    text: str = ""
    line: int | None = None
    replaces: int = 0


_NONE = Snippet()
_ASSIGNED = re.compile(r"^\s*(?:(?:const |volatile )*(?:struct |union )?\w+\s*\*+\s*)?([A-Za-z_]\w*)\s*=\s*(?!=)")
_POINTER = re.compile(r"([A-Za-z_]\w*)->(?:data|data_meta)\b")


def snippet(known: Explanation, case: Case) -> Snippet:
    """Return what mends the refusal; empty where that is not certain."""
    if not case.cell or not known.story:
        return _NONE
    lines = cell_text.without_comments(case.cell)
    cause = known.story[0]
    for regex, mend in _MENDINGS:
        if re.search(regex, f"{known.message}\n{cause.what}"):
            return mend(known, case, cause, lines)
    return _NONE


def _text(lines: list[str], line: int | None) -> str:
    return lines[line - 1] if line is not None and 1 <= line <= len(lines) else ""


def _null_test(known: Explanation, case: Case, cause: Step, lines: list[str]) -> Snippet:
    # Right behind the call whose result may be NULL.
    null = any("found it to be NULL" in step.what for step in known.story)
    if not null and not re.search(r"_or_null|NULL", known.message):
        return _NONE
    text = _text(lines, cause.line)
    match = _ASSIGNED.match(text)
    if match is None or cause.line is None or re.search(r"[{}]", text):
        return _NONE
    end = next((n for n in range(cause.line, min(cause.line + 5, len(lines))) if ";" in lines[n - 1]), None)
    leave = cell_text.leaving(lines, cause.line)
    if end is None or not leave or not cell_text.begins_statement(lines, cause.line) or _holds_other(case, cause):
        return _NONE
    if not lines[end - 1].rstrip().endswith(";") or len(re.findall(r";", lines[end - 1])) > 1:
        return _NONE
    pad = cell_text.indent(text)
    return Snippet(f"{pad}if (!{match[1]})\n{cell_text.deeper(pad)}{leave}", end + 1)


def _holds_other(case: Case, cause: Step) -> bool:
    # Whether something else is held where the function would be left.
    index = next((i for i, insn in enumerate(case.path.insns) if insn.number == cause.insn), None)
    if index is None:
        return True
    words = case.path.insns[index - 1].after if index else ""
    return "refs=" in words or any("_lock" in insn.text for insn in case.path.insns[:index])


def _packet_test(known: Explanation, _case: Case, cause: Step, lines: list[str]) -> Snippet:
    # Before the access: as many bytes as it needs, counted from the start of the packet.
    match = re.search(r"off=(\d{1,5}) size=(\d{1,5}), R\d+\((?:id=0)?,?(?:off=\d+)?,?r=\d+\)", known.message)
    start = _text(lines, cause.line)
    context, variable = _POINTER.search(start), _ASSIGNED.match(start)
    if match is None or context is None or variable is None or known.line is None or cause.line is None:
        return _NONE
    around = cell_text.function_at(lines, known.line)
    leave = cell_text.leaving(lines, known.line)
    same = around is not None and around.first <= cause.line
    if not same or not leave or not cell_text.begins_statement(lines, known.line) or "data_meta" in start:
        return _NONE
    if cell_text.loops_between(lines, cause.line, known.line):
        return _NONE
    if _changed(lines, variable[1], cause.line, known.line) or len(_POINTER.findall(start)) != 1:
        return _NONE
    pad = cell_text.indent(_text(lines, known.line))
    behind = _behind(lines, known.line) or f"(void *){variable[1]} + {int(match[1]) + int(match[2])}"
    end = _end_of_packet(lines, around.first if around else 1, known.line, context[1])
    return Snippet(f"{pad}if ({behind} > {end})\n{cell_text.deeper(pad)}{leave}", known.line)


def _behind(lines: list[str], line: int) -> str:
    # The end of the struct that a line reads, by its own pointer; "" if that is not certain.
    text = _text(lines, line)
    names = set(re.findall(r"(?<![\w.>)\]])([A-Za-z_]\w*)->", text))
    name = names.pop() if len(names) == 1 else ""
    declared = cell_text.declaration(lines, name, line - 1) if name and "[" not in text else None
    if declared is None or not re.search(rf"\bstruct \w+\s*\*\s*{name}\s*=(?!=)", declared[1]):
        return ""
    return f"(void *)({name} + 1)"


def _end_of_packet(lines: list[str], first: int, line: int, context: str) -> str:
    # The cell's own variable for the end of the packet, or the context's field.
    declared = re.compile(rf"^\s+(?:const )?void \*([A-Za-z_]\w*) = \(void \*\)\(\w+\){context}->data_end;")
    found = {match[1]: n for n in range(first, line) if (match := declared.match(lines[n - 1]))}
    ends = [name for name, n in found.items() if not _changed(lines, name, n, line)]
    return ends[0] if len(found) == len(ends) == 1 else f"(void *)(long){context}->data_end"


def _changed(lines: list[str], name: str, first: int, last: int) -> bool:
    # Whether a variable gets another value between two lines.
    assigned = re.compile(
        rf"(?<![\w.>]){re.escape(name)}\s*(?:[-+*/|&^%]|<<|>>)?=(?!=)|(?:\+\+|--)\s*{re.escape(name)}\b"
        rf"|\b{re.escape(name)}\s*(?:\+\+|--)"
    )
    return any(assigned.search(text) for text in lines[first : last - 1])


def _index_test(known: Explanation, case: Case, _cause: Step, lines: list[str]) -> Snippet:
    # Before `array[index]`, where the array's size is in the cell.
    text = _text(lines, known.line)
    found = re.findall(r"(?:\b|->|\.)([A-Za-z_]\w*)\[([A-Za-z_]\w*)\]", text)
    # Of an element whose address is taken more may be used than the element.
    whole_element = "&" not in re.sub(r"\b__(?:sync|atomic)_\w+\(&", "", text)
    if (
        known.line is None
        or len(set(found)) != 1
        or not whole_element
        or not cell_text.begins_statement(lines, known.line)
    ):
        return _NONE
    array, index = found[0]
    whole = "\n".join(lines)
    sizes = set(re.findall(rf"\b\w+\s+{array}\[(\w+)\]\s*[;={{,]", whole))
    declared = cell_text.declaration(lines, index, known.line)
    around = cell_text.function_at(lines, known.line)
    head = re.search(rf"\b(\w+)\s+{index}\s*[,)]", around.head) if around else None
    kind = head[1] if head and not declared else (declared[1].split()[0] if declared else "")
    leave = cell_text.leaving(lines, known.line)
    if len(sizes) != 1 or not leave or not re.fullmatch(r"(?:__)?[us](?:8|16|32|64)|int|long|unsigned|size_t", kind):
        return _NONE
    if "refs=" in "".join(insn.after[-40:] for insn in case.path.insns[-3:]):
        return _NONE
    pad = cell_text.indent(text)
    signed = kind.lstrip("_")[0] in "sil" and kind != "size_t"
    test = f"{index} < 0 || {index} >= {sizes.pop()}" if signed else f"{index} >= {sizes.pop()}"
    return Snippet(f"{pad}if ({test})\n{cell_text.deeper(pad)}{leave}", known.line)


def _copied(known: Explanation, case: Case, cause: Step, lines: list[str]) -> Snippet:
    # Before the line that reads one character at an address of the calling process: a copy of it.
    text = _text(lines, known.line)
    found = set(re.findall(r"(?<![\w.>])([A-Za-z_]\w*(?:->[A-Za-z_]\w*)?)\[0\]", text))
    around = cell_text.function_at(lines, known.line or 0)
    head = "\n".join(lines[max(0, around.first - 2) : around.first]) if around else ""
    user = re.search(r"\bsyscalls\s*[,/]\s*sys_enter_", head)
    done = case.path.insns[case.at].operation
    if known.line is None or len(found) != 1 or not user or (done.kind, done.size) != ("load", 1):
        return _NONE
    name = found.pop()
    declared = cell_text.declaration(lines, name, known.line)
    is_text = declared is not None and bool(re.search(rf"\bchar\s*\*\s*{name}\b", declared[1]))
    if not is_text and f" = {name}: an address" not in cause.what:
        return _NONE
    if re.search(r"\bfirst\b", "\n".join(lines)) or not cell_text.begins_statement(lines, known.line):
        return _NONE
    pad = cell_text.indent(text)
    copy = f"{pad}char first = 0;\n{pad}bpf_probe_read_user(&first, sizeof(first), {name});"
    return Snippet(f"{copy}\n{text.replace(f'{name}[0]', 'first').rstrip()}", known.line, 1)


_LENGTH = re.compile(r"\b(bpf_probe_read\w*|bpf_copy_from_user\w*)\((&?)([A-Za-z_][\w.>-]*),\s*([A-Za-z_]\w*),")


def _length_test(known: Explanation, case: Case, cause: Step, lines: list[str]) -> Snippet:
    # Before a helper that is given a buffer and a length in a variable.
    text = _text(lines, known.line)
    match = _LENGTH.search(text)
    if match is None or known.line is None or not cell_text.begins_statement(lines, known.line):
        return _index_test(known, case, cause, lines)
    _, address, buffer, length = match.groups()
    last = re.split(r"->|\.", buffer)[-1]
    is_array = bool(re.search(rf"\b\w+\s+{last}\[\w+\]\s*;", "\n".join(lines)))
    declared = cell_text.declaration(lines, length, known.line)
    if declared is None or not re.match(r"\s*(?:(?:__)?[us]\d\d?|unsigned|size_t|int|long)\b", declared[1]):
        return _NONE
    if not address and not is_array:
        pointed = cell_text.declaration(lines, buffer, known.line)
        if pointed is None or not re.search(rf"struct \w+\s*\*\s*{buffer}\b", pointed[1]):
            return _NONE
    size = f"sizeof({buffer})" if address or is_array else f"sizeof(*{buffer})"
    signed = bool(re.match(r"\s*(?:(?:__)?s\d|int|long)", declared[1]))
    pad = cell_text.indent(text)
    test = f"{length} < 0 || {length} > {size}" if signed else f"{length} > {size}"
    return Snippet(f"{pad}if ({test})\n{cell_text.deeper(pad)}{length} = {size};", known.line)


def _initialised(_known: Explanation, _case: Case, cause: Step, lines: list[str]) -> Snippet:
    # The declaration of a variable on the stack, with a value.
    text = _text(lines, cause.line)
    match = re.match(r"^(\s+(?:struct \w+|\w+)\s+[A-Za-z_]\w*(?:\[\w+\])?);\s*$", text)
    if match is None or cause.insn is not None:
        return _NONE
    return Snippet(f"{match[1]} = {{}};", cause.line, 1)


_RELEASE = r"\b\w*(?:submit|discard|release|drop|put|kptr_xchg|push|add|unlock)\w*\([^;]*"


def _given_back(_known: Explanation, _case: Case, cause: Step, lines: list[str]) -> Snippet:
    # Before the only return that leaves without giving back.
    text = _text(lines, cause.line)
    if lock := re.search(r"\bbpf_(spin_lock|rcu_read_lock|preempt_disable)\(([^;]*)\);", text):
        release = {"spin_lock": "spin_unlock", "rcu_read_lock": "rcu_read_unlock", "preempt_disable": "preempt_enable"}
        return _before_return(f"bpf_{release[lock[1]]}({lock[2]});", release[lock[1]], cause, lines)
    name = _ASSIGNED.match(text)
    called = re.search(r"=\s*(?:\([^()]*\)\s*)?(bpf_\w+)\(", text)
    back = release_of(called[1], text) if name and called else ""
    if name is None or not back:
        return _NONE
    return _before_return(back, rf"{_RELEASE}\b{name[1]}\b", cause, lines, name[1])


def leaking_return(lines: list[str], line: int, released: str, name: str = "") -> int | None:
    """Return the line of the only `return` after a line that no release comes before; None if not certain."""
    around = cell_text.function_at(lines, line)
    if around is None or re.search(r"\bgoto\b", "\n".join(lines[around.first : around.last])):
        return None
    leaking = []
    for number in range(line + 1, around.last + 1):
        if re.search(r"\breturn\b", lines[number - 1]) and not _released(lines, line, number, released, name):
            leaking.append(number)
    return leaking[0] if len(leaking) == 1 else None


def _released(lines: list[str], first: int, last: int, released: str, name: str) -> bool:
    # Whether a release stands on the way to a return, or the return is that of the test for NULL.
    before = "\n".join(lines[max(first, last - 2) : last])
    if name and re.search(rf"!\s*{name}\b|\b{name}\s*==\s*(?:NULL|0)", before):
        return True
    depth = 0
    for text in reversed(lines[first : last - 1]):
        depth += text.count("}") - text.count("{")
        if depth <= 0 and re.search(released, text):
            return True
        depth = max(depth, 0)
    return bool(re.search(released, lines[last - 1]))


def _before_return(back: str, released: str, cause: Step, lines: list[str], name: str = "") -> Snippet:
    line = None if cause.line is None else leaking_return(lines, cause.line, released, name)
    if line is None:
        return _NONE
    text = lines[line - 1]
    pad = cell_text.indent(text)
    tested = rf"!\s*{name}\b|\b{name}\s*==\s*(?:NULL|0)"
    if name and not re.search(tested, "\n".join(lines[(cause.line or 1) - 1 : line])):
        back = f"if ({name})\n{cell_text.deeper(pad)}{back}"
    if cell_text.begins_statement(lines, line):
        return Snippet(f"{pad}{back}", line)
    above = lines[line - 2]
    if re.match(r"\s*if\s*\(.*\)\s*$", above) and text.strip().startswith("return"):
        return Snippet(f"{above.rstrip()} {{\n{pad}{back}\n{text.rstrip()}\n{cell_text.indent(above)}}}", line - 1, 2)
    return _NONE


Mend = Callable[[Explanation, Case, Step, list[str]], Snippet]
_MENDINGS: tuple[tuple[str, Mend], ...] = (
    (r"returns a pointer that may be NULL", _null_test),
    (r"^invalid access to packet", _packet_test),
    (r"an address that the program was handed", _copied),
    (r"^Unreleased reference|reference leak|-ed region|is missing", _given_back),
    (r"are never written|before they are read", _initialised),
    (r"min value is negative|unbounded memory access|(?:max|min) value is outside", _length_test),
    (r"unbounded (?:min|max) value|variable-offset|unbounded variable", _index_test),
)
