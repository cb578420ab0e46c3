# What the text of a cell tells about a name and a line: no parser of C, but cautious where it is not sure.

from __future__ import annotations

import re
from dataclasses import dataclass

_BLANKS = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_FUNCTION = re.compile(r"^(?!struct \w+ \{|#|typedef|\s)[\w*(][^;={}]*\(", re.MULTILINE)
_STATEMENT_ENDS = (";", "{", "}", ":")


@dataclass(frozen=True)
class Function:
    """A function of a cell: its head, and the first and last line of its body, 1-based."""

    head: str
    first: int
    last: int

    @property
    def is_void(self) -> bool:
        return bool(re.search(r"\bvoid\s+\w+\s*\(", self.head)) and "BPF_PROG" not in self.head


def without_comments(cell: str) -> list[str]:
    """Return the lines of a cell with blanks in place of comments, so that places stay as they are."""
    return _BLANKS.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), cell).split("\n")


def function_at(lines: list[str], line: int) -> Function | None:
    """Return the function that a line is in: one whose head and closing brace begin in the first column."""
    opened = next((n for n in range(min(line, len(lines)), 0, -1) if lines[n - 1].startswith("{")), None)
    inline = next((n for n in range(min(line, len(lines)), 0, -1) if _is_head(lines[n - 1])), None)
    first = inline or 0
    if first == 0 or (opened is not None and opened < first):
        return None
    last = next((n for n in range(first, len(lines) + 1) if lines[n - 1].startswith("}")), None)
    if last is None or last < line:
        return None
    return Function(" ".join(lines[first - 1 : (opened or first)]), first, last)


def _is_head(text: str) -> bool:
    return bool(_FUNCTION.match(text)) and not text.startswith(("SEC", "return", "if", "for", "while", "}", "else"))


def declaration(lines: list[str], name: str, before: int | None) -> tuple[int, str] | None:
    """Return line and text of the last declaration of a local variable before a line; None if there is none."""
    declared = re.compile(
        rf"^\s+(?:const |volatile |static )*(?:struct |union |enum )?\w+(?:\s+|\s*\*+\s*)"
        rf"(?:[^;(=]*,\s*\*?)?{re.escape(name)}\s*(?:\[[^\]]*\]\s*)*(?:=|;|,)"
    )
    for number in range(min(before or len(lines), len(lines)), 0, -1):
        text = lines[number - 1]
        if declared.match(text) and not re.match(r"\s+(?:return|goto|else)\b", text):
            return number, text
    return None


def begins_statement(lines: list[str], line: int) -> bool:
    """Whether a statement may be put before a line: the one before is finished, and no branch hangs on it."""
    if not 1 <= line <= len(lines):
        return False
    here = lines[line - 1].strip()
    if not here or here.startswith(("else", "case", "default", "&&", "||", "?", ":", ".", "{", "}", "for", "while")):
        return False
    before = next((text.strip() for text in reversed(lines[: line - 1]) if text.strip()), "")
    if before.startswith(("if", "else", "for", "while")) and not before.endswith(("{", "}", ";")):
        return False
    return before.endswith(_STATEMENT_ENDS) and not _hangs(lines, line)


def _hangs(lines: list[str], line: int) -> bool:
    # Whether the statement that ended before this line was the body of an `if` without braces, and this is an `else`.
    return lines[line - 1].strip().startswith("else")


def indent(text: str) -> str:
    """Return the blanks that a line begins with."""
    return text[: len(text) - len(text.lstrip())]


def deeper(blanks: str) -> str:
    """Return the indentation of a statement that hangs on one with this indentation."""
    return f"{blanks}{'    ' if blanks and not blanks.strip(' ') else chr(9)}"


def leaving(lines: list[str], line: int) -> str:
    """Return the statement that leaves the function around a line as its other lines do; "" if that is not certain."""
    found = function_at(lines, line)
    if found is None:
        return ""
    if found.is_void:
        return "return;"
    body = "\n".join(lines[found.first : found.last])
    values = re.findall(r"\breturn\s+(-?\d+|[A-Z][A-Z0-9_]*)\s*;", body)
    if not values:
        last = re.findall(r"\breturn\s+[^;]*\?\s*[A-Z0-9_]+\s*:\s*([A-Z][A-Z0-9_]*|\d+)\s*;", body)
        values = last[-1:]
    section = re.search(r'SEC\("([^"/]*)', lines[found.first - 2] if found.first > 1 else "")
    kind = section[1] if section else ""
    if kind.startswith("xdp"):
        return f"return {'XDP_PASS' if 'XDP_' in body or not values else values[-1]};"
    return f"return {values[-1]};" if values else "return 0;" if section else ""


def loop_line(cell: str, line: int) -> tuple[int, str] | None:
    """Return line and text of the loop that a line is the first of, or that begins just above it."""
    texts = cell.split("\n")
    for number in range(min(line, len(texts)), max(0, line - 3), -1):
        if re.match(r"\s*(?:for|while|do|bpf_for\w*|bpf_repeat|#pragma unroll)\b|\s*\w+:\s*$", texts[number - 1]):
            return number, texts[number - 1].strip()
    return None


def argument(source: str, function: str, number: int) -> str:
    """Return the variable that is argument `number` of a call, without its `&`; "" if it is more than a name."""
    start = source.find(f"{function}(")
    if start < 0:
        return ""
    given, depth = [""], 0
    for char in source[start + len(function) + 1 :]:
        depth += (char in "([{") - (char in ")]}")
        if depth < 0:
            break
        if char == "," and not depth:
            given.append("")
        else:
            given[-1] += char
    name = given[number - 1].strip().lstrip("&").strip() if number <= len(given) else ""
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) else ""


def loops_between(lines: list[str], first: int, last: int) -> bool:
    """Whether a loop begins between two lines, so that the second may run more than once."""
    return any(re.search(r"\b(?:for|while|do|bpf_for\w*|bpf_repeat)\b", text) for text in lines[first - 1 : last])
