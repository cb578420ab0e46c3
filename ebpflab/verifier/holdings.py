# The stories of what is no register: references, locks, objects and buffers on the stack, loops.

from __future__ import annotations

import re
from dataclasses import replace

from .cell_text import argument, declaration, loop_line, without_comments
from .explanation import Step
from .story import Case
from .tracing import definitions, offset_of, slot_of
from .values import short, value
from .walks import branches, direction, of_number, of_place, register_of

_TAKES_LOCK = re.compile(r"bpf_(?:res_)?spin_lock\w*$|bpf_rcu_read_lock$|bpf_preempt_disable$|bpf_local_irq_save$")


def of_reference(case: Case, words: dict[str, str]) -> list[Step]:
    # What was acquired, and the branches that led past its release.
    wanted = words.get("insn", "")
    index = next((i for i in range(case.at, -1, -1) if str(case.path.insns[i].number) == wanted), None)
    if index is None:
        return of_place(case, words)
    function = case.path.insns[index].operation.function or "this call"
    # What stays on the stack, such as a dynptr, is not in R0.
    returned = "R0" if value(case.path.result(index, "R0")).kind not in ("scalar", "") else ""
    steps = [case.step(index, f"{function}() acquires it here, and it has to be given back on every path", returned)]
    for branch in [i for i in branches(case, index) if not _tests_own(case, i, index)][-2:]:
        steps.append(case.step(branch, f"this path {direction(case, branch)}, and does not give it back"))
    return steps


def _tests_own(case: Case, branch: int, made: int) -> bool:
    # Whether a branch tests the acquired pointer for NULL.
    done = case.path.insns[branch].operation
    if done.operand not in ("0", "0x0"):
        return False
    found = list(definitions(case.path, branch, f"R{done.base}"))
    return bool(found) and found[-1].index == made


def of_lock(case: Case, words: dict[str, str]) -> list[Step]:
    # Where the lock was taken that is still held.
    for index in range(case.at - 1, -1, -1):
        if _TAKES_LOCK.match(function := case.path.insns[index].operation.function):
            steps = [case.step(index, f"{function}() takes it here, and it is held from here on")]
            for branch in branches(case, index)[-2:]:
                steps.append(case.step(branch, f"this path {direction(case, branch)}, and does not let go of it"))
            return steps
    return of_place(case, words)


def of_object(case: Case, words: dict[str, str]) -> list[Step]:
    # A dynptr or iterator on the stack, which a call has set up before.
    done = case.path.insns[case.at].operation
    slot = slot_of(case.path, case.at, done) if done.kind == "store" else ""
    if not slot and (register := register_of(case, words)):
        slot = case.path.value(case.at, register)
    for index in range(case.at - 1, -1, -1):
        insn = case.path.insns[index]
        for name, state in insn.known_after().items():
            near = abs(_number(name) - _number(slot)) <= 8
            if near and state.startswith(("dynptr", "iter")) and insn.operation.kind == "call":
                what = f"{insn.operation.function}() sets up what is on the stack at {name}"
                return [case.step(index, what)]
    return of_place(case, words)


def of_unmade(case: Case, words: dict[str, str]) -> list[Step]:
    # A dynptr or iterator that was never set up, or was written over since.
    slot = _object(case, words)
    insns, over = case.path.insns, None
    for index in range(case.at - 1, -1, -1):
        done = insns[index].operation
        if insns[index].frame != insns[case.at].frame:
            continue
        if done.kind == "store" and over is None and _is_within(offset_of(case.path, index, done), slot):
            over = index
        if done.kind == "call" and over is not None:
            given = [f"R{n}" for n in range(1, 6) if slot and case.path.value(index, f"R{n}") == slot]
            if given and re.search(r"dynptr|iter", done.function):
                return [case.step(over, f"this writes over what {done.function}() has set up at {slot}")]
    return of_place(case, words)


def _object(case: Case, words: dict[str, str]) -> str:
    # The slot whose address is passed on. Helpers counted "arg #1" from 1 at first, and from 0 since Linux 6.2.
    register = register_of(case, words)
    near = (register, f"R{int(register[1:]) - 1}") if register in ("R2", "R3", "R4", "R5") else (register,)
    slots = [case.path.value(case.at, name) for name in near if name]
    return next((slot for slot in slots if slot.startswith("fp")), "")


def _is_within(at: int | None, slot: str) -> bool:
    return at is not None and _number(slot) <= at < _number(slot) + 16  # the size of struct bpf_dynptr


def of_empty(case: Case, words: dict[str, str]) -> list[Step]:
    # A length that may be 0; Linux before 6.17 does not say which argument it is: a number behind a pointer.
    function = case.path.insns[case.at].operation.function
    for number in range(2, 6) if not function.startswith("bpf_map_") else ():
        length = value(case.path.value(case.at, f"R{number}"))
        pointer = value(case.path.value(case.at, f"R{number - 1}")).kind
        if length.kind == "scalar" and not length.umin and pointer not in ("scalar", "ctx", ""):
            return of_number(case, {"reg": f"R{number}"})
    return of_place(case, words)


def _number(slot: str) -> int:
    return int(slot[2:]) if re.fullmatch(r"fp-?\d{1,6}", slot) else 10**6


def of_length(case: Case, words: dict[str, str]) -> list[Step]:
    # A buffer on the stack that is smaller than the length that was given with it.
    done = case.path.insns[case.at].operation
    # The keys and values of maps have no length of their own in a call.
    if done.kind == "call" and not done.function.startswith("bpf_map_") and (register := register_of(case, words)):
        length = f"R{int(register[1:]) + 1}"
        if value(case.path.value(case.at, length)).number is None:
            return of_number(case, {"reg": length})
    return of_place(case, words)


def of_stack(case: Case, words: dict[str, str]) -> list[Step]:
    # Which bytes of a buffer on the stack were written, and by which lines.
    start, bad, size = (int(words[name]) for name in ("start", "bad", "size"))
    stores = []
    written: set[int] = set()
    buffer = set(range(start, start + size))
    frame = case.path.insns[case.at].frame
    for index, insn in enumerate(case.path.insns[:-1]):
        if insn.frame == frame and insn.operation.kind == "store":
            at = offset_of(case.path, index, insn.operation)
            here = set() if at is None else set(range(at, at + insn.operation.size)) & buffer
            if here:
                stores.append(index)
                written |= here
    whole = f"the {size} bytes at fp{start:+d}"
    missing = _ranges([b - start for b in range(start, start + size) if b not in written]) or f"{bad}"
    declared = _declared(case)
    if not stores:
        what = f"nothing is stored in {whole} before they are read"
        return [_at(declared, what)] if declared else [case.step(case.at, what)]
    what = f"only bytes {_ranges([b - start for b in sorted(written)])} of {whole} were written"
    steps = [case.step(index, "part of it is written here") for index in stores]
    first = [_at(declared, f"bytes {missing} of {whole} are never written")] if declared else []
    return [*first, *steps[:-1][:3], case.step(stores[-1], what, f"fp{start}")]


def _at(declared: tuple[int, str], what: str) -> Step:
    return Step(None, declared[0], None, declared[1].strip(), "", "", what)


def _declared(case: Case) -> tuple[int, str] | None:
    # Line and text of the declaration of the variable whose address the refused line passes on.
    place = case.place(case.at)
    register = register_of(case, {})
    function = case.path.insns[case.at].operation.function
    if place is None or not register or not function:
        return None
    name = argument(place.source, function, int(register[1:]))
    return declaration(without_comments(case.cell), name, place.line) if name and case.cell else None


def _ranges(numbers: list[int]) -> str:
    # 0..3, 8..15
    ranges: list[list[int]] = []
    for number in numbers[:512]:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(f"{a}..{b}" if a != b else f"{a}" for a, b in ranges)


def of_loop(case: Case, words: dict[str, str]) -> list[Step]:
    # The jump back that was taken most often at the end of the log, and what decides whether to go on.
    insns = case.path.insns
    jumps: dict[tuple[int, int], list[int]] = {}
    for index in range(max(0, case.at - 4000), case.at):
        if insns[index + 1].number <= insns[index].number and insns[index].operation.kind in ("branch", "jump"):
            jumps.setdefault((insns[index].number, insns[index + 1].number), []).append(index)
    if not jumps:
        return of_place(case, words)
    (last, first), found = max(jumps.items(), key=lambda item: len(item[1]))
    once = list(range(found[-2] + 1 if len(found) > 1 else found[-1], found[-1] + 1))
    what = f"the loop begins again here, at instruction {first}, after instruction {last}"
    steps = [_loop_head(case, once, case.step(found[-1] + 1, what))]
    for index in once[::-1]:
        done = insns[index].operation
        if done.kind == "branch":
            register = f"R{done.base}"
            held = case.path.value(index, register)
            what = f"{register} decides here whether the loop goes on"
            return [*steps, case.step(index, what, register, short(held) if held else "")]
    return steps


def of_branch(case: Case, words: dict[str, str]) -> list[Step]:
    # A loop with a branch in it, of which every round leaves one more way to be walked.
    return [
        case.step(case.at, "every round leaves one more way here that is still to be walked"),
        *of_loop(case, words),
    ]


def _loop_head(case: Case, indices: list[int], step: Step) -> Step:
    # The line with the loop's own word, where the cell shows it; otherwise the first of its lines.
    places = [place for index in indices if (place := case.place(index)) and place.line]
    if not places:
        return step
    first = min(places, key=lambda place: place.line or 0)
    heads = [place for place in places if re.match(r"\}?\s*(?:for|while|do)\b", place.source)]
    first = heads[0] if heads and not case.cell else first
    line, source = loop_line(case.cell, first.line or 0) or (first.line, first.source)
    return replace(step, line=line, source=source)
