# What to do where the message alone does not tell: from the call that was refused, and from the story of the refusal.

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from .explanation import Explanation
from .sentences import HANDED
from .story import Case
from .values import value

_ANY = ""


@dataclass(frozen=True)
class Remedy:
    # Expressions for the message, the called function, and the steps of the story, one a line; groups of all three are
    # {names} in meaning and fix. An empty meaning leaves that of the table.
    message: str
    function: str
    story: str
    meaning: str
    fix: str


_POINTER = r"(?P<reg>R\d+) (?:invalid mem access '(?:scalar|inv)'|type=(?:scalar|inv) expected=)"
_REMEDIES = (
    Remedy(
        _POINTER, _ANY, r"^(?P<func>\w+)\(\) may move the packet",
        "{reg} was a pointer into the packet, until {func}() may have moved the packet to another place.",
        "Read data and data_end from the context again after {func}(), and compare them again.",
    ),
    Remedy(
        _POINTER, _ANY, r"^(?P<func>\w+)\(\) gives (?:it|back)",
        "What {reg} pointed to was given back by {func}(), and may be used no more.",
        "Use it only before {func}(), and give it back once: nothing may touch it after {func}().",
    ),
    Remedy(
        r"(?P<reg>R\d+) type=(?:scalar|inv) expected=", _ANY, r"found it to be NULL",
        "{reg} is NULL on one way to this call: what made the pointer can fail.",
        "Test it first: if (!p) return 0;",
    ),
    Remedy(
        r"expected=map_value", r"bpf_(?:snprintf\w*|strncmp|trace_vprintk|seq_printf)", _ANY,
        "The argument is a variable, and the called helper takes a string that can never change.",
        "Make it a constant: static const char text[] = \"%d\";",
    ),
    Remedy(
        _POINTER, _ANY, rf"^R\d+ = (?P<name>\S+): {HANDED}",
        "{reg} is an address that the program was handed ({name}), and the verifier follows no such address.",
        "Copy what is there: bpf_probe_read_user(&x, sizeof(x), p), or bpf_probe_read_kernel() for the kernel's own.",
    ),
    Remedy(
        r"!read_ok", _ANY, r"the call leaves nothing in (?P<all>R1 to R5)",
        "Every call empties {all}, and this line uses what was in one of them before.",
        "Keep the value in a variable (R6 to R9 survive a call), or read it again after the call.",
    ),
    Remedy(
        r"while holding a lock|Locking two", r"bpf_spin_lock", _ANY,
        "A second lock is taken while one is held, and a program may hold one at a time.",
        "Unlock the first one before: bpf_spin_unlock(&a->lock); bpf_spin_lock(&b->lock);",
    ),
    Remedy(
        r"invalid zero-sized read", r"(?P<func>bpf_map_\w+)", _ANY,
        "The map has no keys, so {func}() finds nothing to read there.",
        "Use the helper of that type of map: bpf_ringbuf_output(&map, &x, sizeof(x), 0), or bpf_map_push_elem().",
    ),
)  # fmt: skip

_RELEASES = tuple(
    (re.compile(regex), words)
    for regex, words in (
        (r"bpf_ringbuf_reserve_dynptr$", "bpf_ringbuf_discard_dynptr(&{name}, 0);"),
        (r"bpf_ringbuf_reserve$", "bpf_ringbuf_discard({name}, 0);"),
        (r"bpf_skc?_lookup_\w+$", "bpf_sk_release({name});"),
        (r"bpf_iter_(\w+)_new$", "bpf_iter_{kind}_destroy(&{name});"),
        (r"bpf_percpu_obj_new\w*$", "bpf_percpu_obj_drop({name});"),
        (r"bpf_(?:obj_new|refcount_acquire|list_pop|rbtree_remove)\w*$", "bpf_obj_drop({name});"),
        (r"bpf_lookup_(?:user|system)_key$", "bpf_key_put({name});"),
        (r"bpf_get_task_exe_file$", "bpf_put_file({name});"),
        (r"bpf_(?:xdp|skb)_ct_\w+$", "bpf_ct_release({name});"),
        (r"bpf_(\w+?)_(?:acquire|create|from_\w+|ancestor)$", "bpf_{kind}_release({name});"),
    )
)
_LEAK = re.compile(r"^(?P<func>bpf_\w+)\(\) acquires it here")
_ASSIGNED = re.compile(r"(?:^|[\s*])([A-Za-z_]\w*)\s*=(?!=)")
_PASSED = re.compile(r"&([A-Za-z_]\w*)[^&]*$")


def release_of(function: str, source: str = "") -> str:
    """Return the statement that gives back what a helper or kernel function acquired; "" if it is not known.

    `source` is the line of C with the call, for the name of the variable.
    """
    for regex, words in _RELEASES:
        if match := regex.match(function):
            name = (_PASSED if "&" in words else _ASSIGNED).search(source)
            return words.format(name=name[1] if name else "p", kind=match[1] if regex.groups else "")
    return ""


_MATH = re.compile(r"math between \w+ pointer and|on pointer prohibited|pointer arithmetic with \S+ operator")
_COMPUTED = "The address is computed with {}, as if it were a number, and only offsets may be added to an address."
_WHILE = re.compile(r"^\}?\s*while \((?P<condition>.*)\)\s*\{?\s*(?://.*|/\*.*)?$")


def _of_instruction(known: Explanation, case: Case) -> Explanation | None:
    # What the refused instruction tells, where one message stands for several operations.
    done = case.path.insns[case.at].operation
    if _MATH.search(known.message) and done.kind == "arithmetic" and done.operator not in ("+", "-"):
        kind = case.words.get("type") or value(case.path.value(case.at, f"R{done.target}")).kind
        object_ = "Compute with a number of the object instead: its pid, its cookie or its inode."
        fix = object_ if "ptr_" in kind else "Compute the index as a number first, and then add it: p = base + index;"
        return replace(known, meaning=_COMPUTED.format(f"{done.operator}="), fix=fix)
    if known.message.startswith("misaligned") and done.kind == "atomic":
        fix = "Align the member: take `packed` away, or put the 8-byte member first in the struct."
        return replace(known, fix=fix.replace("8-byte", f"{done.size}-byte"))
    if known.message.startswith("invalid access to packet"):
        return _of_packet(known, case)
    if "jumps is too complex" in known.message:
        heads = [match for step in known.story if (match := _WHILE.match(step.source))]
        return replace(known, fix=_bounded(heads[0]["condition"])) if heads else None
    return None


def _bounded(condition: str) -> str:
    # The head of a loop with a count of its own beside the condition.
    n = next((name for name in ("i", "n", "k") if not re.search(rf"\b{name}\b", condition)), "rounds")
    return f"Give the loop a bound: for (int {n} = 0; {n} < 32 && {condition}; {n}++)"


_ACCESS = re.compile(
    r"off=(?P<off>\d{1,9}) size=(?P<size>\d{1,9}), R\d+\((?:id=(?P<id>\d+))?,?(?:off=\d+)?,?r=(?P<r>\d+)\)"
)


def _of_packet(known: Explanation, case: Case) -> Explanation | None:
    # How many bytes are checked, and how many are not.
    match = _ACCESS.search(known.message)
    if match is None or match["r"] == "0":
        return None
    tests = [step.line for step in known.story if step.what.startswith("this test leaves") and step.line]
    line = f" (line {tests[-1]})" if tests else ""
    end = int(match["off"]) + int(match["size"])
    does = {"load": "reads", "store": "writes"}.get(case.path.insns[case.at].operation.kind, "uses them")
    start = " from a place in the packet that varies" if (match["id"] or "0") != "0" else " of the packet"
    checked = f"{match['r']} bytes{start} are checked{line}, and this {does} up to byte {end}."
    return replace(known, meaning=checked)


def applied(known: Explanation, case: Case) -> Explanation:
    """Put what the call and the story tell in place of what the table says of every such message."""
    if known.category == "Resource Lifetime Safety" and known.cause and (leak := _LEAK.match(known.cause.what)):
        back = release_of(leak["func"], known.cause.source)
        macro = " Or let a macro do it: bpf_for(), bpf_for_each()." if "_iter_" in leak["func"] else ""
        return replace(known, fix=f"Give it back on every path before returning: {back}{macro}") if back else known
    if case.path.insns and (precise := _of_instruction(known, case)):
        return precise
    function = case.path.insns[case.at].operation.function if case.path.insns else ""
    story = "\n".join(step.what for step in known.story)
    for remedy in _REMEDIES:
        asked = ((remedy.message, known.message), (remedy.function, function), (remedy.story, story))
        found = [re.search(regex, text, re.MULTILINE) for regex, text in asked]
        if all(found):
            words = {name: text for match in found if match for name, text in match.groupdict().items()}
            meaning = remedy.meaning.format(**words) or known.meaning
            return replace(known, meaning=meaning, fix=remedy.fix.format(**words))
    return known
