# The story of a register: its definitions, walked back from the refusal, as steps.

from __future__ import annotations

import re
from collections.abc import Iterator

from . import sentences
from .explanation import Step
from .story import Case
from .tracing import Definition, definitions
from .values import short, value

_MOVES_PACKET = re.compile(
    r"bpf_(?:xdp_adjust_\w+|skb_(?:pull_data|change_\w+|store_bytes|adjust_room|vlan_\w+)|l[34]_csum_replace"
    r"|clone_redirect|lwt_\w+|msg_(?:pull|push|pop)_data|csum_level|skb_under_cgroup_move)"
)
_RELEASES = re.compile(
    r"bpf_(?:ringbuf_(?:submit|discard)\w*|sk_release|\w+_release\w*|obj_drop\w*|percpu_obj_drop\w*|\w+_put|"
    r"dynptr_\w+_release|kptr_xchg|list_push_\w+|rbtree_add\w*|key_put|iter_\w+_destroy)"
)
_FOLLOWED = re.compile(r"invalid mem access '(?:scalar|inv)'")
_NAMED = re.compile(r"\bR\d{1,2}\b")
_ARGUMENT = re.compile(r"\bargs? ?#?([0-4])\b")
_RELOAD = "pointers taken before are no longer valid"
_FARTHEST = 0xFFFF  # MAX_PACKET_OFF, kernel/bpf/verifier.c: a number this large makes any comparison useless
_CASTS = re.compile(r"bpf_(?:sk_fullsock|tcp_sock|skc_to_\w+|rdonly_cast|cast_to_kern_ctx)$")


def of_register(case: Case, words: dict[str, str], *, number: bool = False) -> list[Step]:
    # Where the content of the register at fault came from.
    register = register_of(case, words)
    if not register:
        return of_place(case, words)
    chain = list(definitions(case.path, case.at, register, number=number))
    if not number:
        if ended := _ended(case, chain):
            return ended
        chain = _before_constant_null(case, chain)
    chain = _once(case, _from_loss(case, chain, number))
    return [step for found in reversed(chain) for step in _steps(case, found, number)] or of_place(case, words)


def _once(case: Case, chain: list[Definition]) -> list[Definition]:
    # Of the rounds of a loop only the last.
    kept: dict[tuple[str, int, str], Definition] = {}
    for found in chain:
        kept.setdefault((found.kind, case.path.insns[found.index].number, found.register), found)
    return list(kept.values())


def _from_loss(case: Case, chain: list[Definition], number: bool) -> list[Definition]:
    # From where the verifier forgot the bounds of a number: the stack keeps them of whole registers only.
    for place, found in enumerate(chain):
        if number and found.kind == "fill" and value(case.path.result(found.index, found.register)).unbounded:
            after = [later for later in chain[place:] if later.kind == "spill"]
            if after and not value(held := _stored(case, after[0])).unbounded and held:
                return [*chain[:place], Definition("forgotten", found.index, found.register)]
    return chain


def _stored(case: Case, spill: Definition) -> str:
    return case.path.value(spill.index, f"R{case.path.insns[spill.index].operation.source}")


def _before_constant_null(case: Case, chain: list[Definition]) -> list[Definition]:
    # Clang writes the constant 0 where a test has found a pointer to be NULL: then go on from the test.
    made = chain[-1]
    done = case.path.insns[made.index].operation
    if made.kind != "constant" or done.operand not in ("0", "0x0") or "invalid mem access" not in case.message:
        return chain
    for index in reversed(branches(case, 0)):
        test = case.path.insns[index].operation
        register = f"R{test.base}"
        if test.operand in ("0", "0x0") and _is_zero(case, index, register):
            found = list(definitions(case.path, index, register))
            if found[-1].kind in ("call", "load"):
                return [*chain, Definition("test", index, register), *found]
    return chain


def _is_zero(case: Case, index: int, register: str) -> bool:
    # Whether a branch goes on, on this path, where the register is 0.
    if words := case.path.result(index, register):
        return value(words).number == 0
    operator = case.path.insns[index].operation.operator
    return (operator == "==") == (direction(case, index) == "takes this branch") and operator in ("==", "!=")


def register_of(case: Case, words: dict[str, str]) -> str:
    # Functions of the kernel count their arguments from 0 ("arg#0"), helpers name the register.
    if match := _NAMED.search(words.get("reg", "")) or _NAMED.search(case.message):
        return match[0]
    if match := _ARGUMENT.search(case.message):
        return f"R{int(match[1]) + 1}"
    done = case.path.insns[case.at].operation
    if done.kind == "call" and "struct" in case.message:
        # An object of the kernel, of which the message names a part: the only one that is passed on.
        kinds = {f"R{n}": value(case.path.value(case.at, f"R{n}")).kind for n in range(1, 6)}
        objects = [name for name, kind in kinds.items() if "ptr_" in kind and kind != "map_ptr"]
        return objects[0] if len(objects) == 1 else ""
    return f"R{done.base}" if done.kind in ("load", "store", "atomic") else ""


def _steps(case: Case, found: Definition, number: bool) -> Iterator[Step]:
    # The steps of one definition; most moves and sums are none.
    match found.kind:
        case "test":
            yield from _test(case, found, number)
        case "arithmetic" if number:
            yield from _sum(case, found)
        case "start":
            what = f"argument {found.register[1:]} of {case.path.function}(), which the verifier checks by itself"
            if case.path.function:
                yield case.step(0, what, found.register, _given(case, found))
            elif found.register == "R1":
                yield case.beginning("the program's context is given to it")
        case "unwritten":
            yield from _unwritten(case, found)
        case "forgotten":
            what = "it is read back from the stack, where the verifier did not keep its bounds"
            yield case.step(found.index, what, found.register)
        case "move" | "fill" | "arithmetic" | "lost":
            return
        case _:
            tested = number or not re.search(r"or_null|NULL|invalid mem access '(?:scalar|inv)'", case.message)
            followed = not number and bool(_FOLLOWED.search(case.message))
            if what := sentences.of_definition(case.path, found, tested=tested, followed=followed):
                yield case.step(found.index, what, found.register)


def _given(case: Case, found: Definition) -> str:
    words = case.path.value(0, found.register)
    return short(words) if words else ""


def _test(case: Case, found: Definition, number: bool) -> Iterator[Step]:
    done = case.path.insns[found.index].operation
    after = value(case.path.result(found.index, found.register))
    null = done.operand in ("0", "0x0") and _is_zero(case, found.index, found.register)
    if null and not number:
        yield case.step(found.index, "this path goes on where the test found it to be NULL", found.register)
    elif number and after.kind == "scalar" and not after.unbounded and after.number is None:
        yield case.step(found.index, f"this test leaves {short(after.words)}", found.register)


def _sum(case: Case, found: Definition) -> Iterator[Step]:
    done = case.path.insns[found.index].operation
    if done.operator == "&" and done.operand:
        yield case.step(found.index, f"& {done.operand} leaves only those bits", found.register)
    if done.source is None:
        return
    before = value(case.path.value(found.index, found.register))
    if before.kind not in ("scalar", "") or value(case.path.value(found.index, f"R{done.source}")).kind != "scalar":
        pointer = f": {short(before.words)}" if before.words else ""
        what = "it is added here" if before.kind == "scalar" else f"it is added to the pointer{pointer}"
        yield case.step(found.index, what, f"R{done.source}")


def _unwritten(case: Case, found: Definition) -> Iterator[Step]:
    # Nothing was ever stored there: the branches show why this path is one that does not.
    taken = branches(case, 0)[-2:]
    name = found.register
    if not taken:
        exits = case.path.insns[case.at].operation.kind == "exit"
        what = "the function ends here, and returns nothing" if exits else f"nothing was stored in {name} before this"
        yield case.step(case.at, what, found.register)
    for index in taken:
        yield case.step(index, f"this path {direction(case, index)}: nothing is stored in {name}", found.register)


def branches(case: Case, start: int) -> list[int]:
    insns = case.path.insns
    return [i for i in range(start, case.at) if insns[i].operation.kind == "branch"]


def direction(case: Case, index: int) -> str:
    insns = case.path.insns
    jumped = index + 1 < len(insns) and insns[index + 1].number != insns[index].number + 1
    return "takes this branch" if jumped else "does not take this branch"


def _ended(case: Case, chain: list[Definition]) -> list[Step]:
    # A pointer that a call on the path has made invalid: a record given back, a packet that may have moved.
    made = chain[-1]
    if made.kind not in ("call", "load"):
        return []
    for index in range(case.at - 1, made.index, -1):
        function = case.path.insns[index].operation.function
        if _MOVES_PACKET.match(function) and _is_packet(case, made):
            return [*_calls_to(case, index), case.step(index, f"{function}() may move the packet: {_RELOAD}")]
        if _RELEASES.match(function) and index != made.index and _same_origin(case, index, made):
            what = f"{function}() gives it back: no pointer to it may be used from here on"
            return [*_calls_to(case, index), case.step(index, what)]
        if function and _gives_up(case, index, made):
            return [case.step(index, f"{function}() gives back what it belongs to: it may not be used from here on")]
    return []


def _gives_up(case: Case, index: int, made: Definition) -> bool:
    # Whether the reference that the pointer is part of was held before an instruction, and not after it.
    before, after = case.path.insns[index - 1].after, case.path.insns[index + 1].after
    held = set(_references(before)) - set(_references(after)) if after else set()
    return bool(held & _belongs_to(case, made))


def _belongs_to(case: Case, made: Definition) -> set[str]:
    # The references that a pointer lives as long as. Linux 7.3 names its parent: a dynptr, which has one, too.
    more = value(case.path.result(made.index, made.register)).more
    found = {more.get("ref_obj_id", ""), more.get("parent_id", "")}
    for words in case.path.insns[made.index].known_after().values():
        parent = value(words).more
        if parent.get("id") in found:
            found.add(parent.get("parent_id", ""))
    return found - {""}


def _references(state: str) -> list[str]:
    match = re.search(r"\brefs=([\d,]+)", state)
    return match[1].split(",") if match else []


def _calls_to(case: Case, index: int) -> list[Step]:
    # The calls, in the refused function, of the functions that led to an instruction.
    insns, frame = case.path.insns, case.path.insns[index].frame
    steps: list[Step] = []
    while index >= 0 and frame > insns[case.at].frame:
        while index >= 0 and insns[index].frame >= frame:
            index -= 1
        frame -= 1
        if index >= 0:
            steps.insert(0, case.step(index, "the function that is called here does it"))
    return steps


def _is_packet(case: Case, made: Definition) -> bool:
    if made.kind != "load":
        return False
    if words := case.path.result(made.index, made.register):
        return value(words).kind.startswith("pkt")
    place = case.place(made.index)
    return bool(place and re.search(r"->data(?:_meta)?\b", place.source))


def _same_origin(case: Case, index: int, made: Definition) -> bool:
    return any(list(definitions(case.path, index, f"R{n}"))[-1:] == [made] for n in (1, 2))


def of_number(case: Case, words: dict[str, str]) -> list[Step]:
    # A number, or what was added to a pointer, that nothing on the path bounded.
    return of_register(case, words, number=True)


def of_sum(case: Case, words: dict[str, str]) -> list[Step]:
    # "math between ... and register": the register is the one that the refused instruction adds.
    done = case.path.insns[case.at].operation
    if done.source is None or done.target is None:
        return of_place(case, words)
    target = value(case.path.value(case.at, f"R{done.target}"))
    return of_number(case, {"reg": f"R{done.target if target.kind == 'scalar' else done.source}"})


def of_packet(case: Case, words: dict[str, str]) -> list[Step]:
    # Where the packet pointer came from, and how many bytes of it were compared with the end.
    register = register_of(case, words)
    steps = of_register(case, {"reg": register})
    held = value(case.path.value(case.at, register))
    known = {step.insn for step in steps}
    variable = [step for step in of_number(case, {"reg": register}) if step.insn not in known]
    if not variable or not held.moved:
        return [*steps, *_compared(case, register)]
    if held.umax is not None and held.umax >= _FARTHEST:
        return variable
    return sorted([*steps, *variable], key=lambda step: -1 if step.insn is None else step.insn)


def _compared(case: Case, register: str) -> list[Step]:
    # The comparison with data_end that left the bytes of the packet that are checked, too few of them.
    checked = value(case.path.value(case.at, register)).checked
    for index in reversed(branches(case, 0)) if checked else ():
        done = case.path.insns[index].operation
        for name in (f"R{done.base}", f"R{done.source}"):
            after = value(case.path.result(index, name))
            if after.kind == "pkt" and after.checked == checked:
                return [case.step(index, f"this test leaves {checked} bytes of the packet checked", name)]
    return []


def of_offset(case: Case, words: dict[str, str]) -> list[Step]:
    # "math between ... and 7046029254386353131": a number that was added, or an address that was computed with.
    done = case.path.insns[case.at].operation
    if done.operator in ("+", "-") or done.target is None:
        return of_number(case, words)
    return of_register(case, {"reg": f"R{done.target}"})


def of_place(case: Case, _words: dict[str, str]) -> list[Step]:
    # The refused instruction is itself the cause.
    done = case.path.insns[case.at].operation
    what = {
        "call": "the call is here" if done.function in ("", "unknown") else f"{done.function}() is called here",
        "load": "the read is here",
        "store": "the write is here",
        "exit": "the program ends here",
    }.get(done.kind, "the instruction is here")
    return [case.step(case.at, what)]


def of_exit(case: Case, words: dict[str, str]) -> list[Step]:
    # Where the value that the program returns came from.
    return of_register(case, {"reg": words.get("reg") or "R0"})


def of_unreferenced(case: Case, words: dict[str, str]) -> list[Step]:
    # A release of what was never acquired: a cast of a pointer is followed to what was cast.
    register, at = register_of(case, words) or "R1", case.at
    while True:
        chain = list(definitions(case.path, at, register))
        made = chain[-1]
        if made.kind != "call" or not _CASTS.match(case.path.insns[made.index].operation.function):
            break
        register, at = "R1", made.index
    return [step for found in reversed(chain) for step in _steps(case, found, False)] or of_place(case, words)
