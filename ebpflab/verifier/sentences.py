# What one instruction did, as a sentence of the story.

from __future__ import annotations

import re

from .log import Path
from .tracing import Definition, definitions
from .values import Value, short, value

# Helpers and kernel functions whose pointer can be NULL; Linux before 6.3 shows no state behind a call.
_MAYBE_NULL = re.compile(
    r"bpf_(?:map_lookup(?:_percpu)?_elem|ringbuf_reserve|skc?_lookup_\w+|sk_fullsock|tcp_sock|get_listener_sock"
    r"|\w+_storage_get|per_cpu_ptr|kptr_xchg|dynptr_(?:data|slice\w*)|\w+_acquire|\w+_from_\w+|(?:obj|percpu_obj)_new\w*"
    r"|list_(?:pop|front|back)\w*|rbtree_\w+|\w+_(?:next|ancestor)|get_kmem_cache|cpumask_create|skc_to_\w+|\w+_ctx_alloc)"
)
HANDED = "an address that the program was handed"
_ELEMENT = re.compile(r"(?<!->args)\[\w*\]$")  # of ctx->filename[0], the pointer is ctx->filename
_FIELD = re.compile(r"\b[A-Za-z_]\w*->[A-Za-z_]\w*(?:\[\w*\])?")


def of_definition(path: Path, found: Definition, *, tested: bool = False, followed: bool = False) -> str:
    # The sentence for a definition that ends or bends the walk; "" for one that is not worth a step. `tested` is
    # whether NULL is not what it is about, `followed` whether it was used as an address.
    name = found.register
    match found.kind:
        case "call":
            return of_call(path, found.index, tested)
        case "load" | "atomic":
            return _of_load(path, found.index, followed)
        case "constant":
            return _of_constant(path, found, name)
        case "clobbered":
            return f"the call leaves nothing in R1 to R5, so {name} is gone"
        case "buffer":
            return f"{path.insns[found.index].operation.function}() writes the bytes at {name}"
        case "argument":
            return _of_argument(path, found)
        case "returned":
            return "the function returns it"
        case "spill":
            return f"it is kept on the stack, at {name}"
    return ""


def _of_constant(path: Path, found: Definition, name: str) -> str:
    got = value(path.result(found.index, found.register))
    if got.kind not in ("scalar", ""):
        return f"{name} is set to an address here: {short(got.words)}"
    return f"{_where(name)} is set to the constant {path.insns[found.index].operation.operand} here"


def _where(name: str) -> str:
    return f"the stack at {name}" if name.startswith("fp") else name


def _of_argument(path: Path, found: Definition) -> str:
    function = path.insns[found.index].operation.function
    number = found.register[1:]
    if function:
        return f"{function}() gives it to the function as argument {number}"
    return f"it is passed on as argument {number} of the function that is called here"


def of_call(path: Path, index: int, tested: bool = False) -> str:
    # What a helper or kernel function returns.
    function = path.insns[index].operation.function
    words = path.result(index, "R0")
    found = value(words)
    if not tested and (found.maybe_null or (not words and _MAYBE_NULL.match(function))):
        return f"{function}() returns a pointer that may be NULL"
    if not words:
        return f"{function}() returns it"
    if found.kind == "scalar":
        return f"{function}() returns a {short(words) if found.number is None else 'number'}"
    size = found.more.get("vs") or found.more.get("sz")
    whole = f", of {size} bytes" if size else ""
    return f"{function}() returns it: {short(words.replace('_or_null', ''))}{whole}"


def _of_load(path: Path, index: int, followed: bool) -> str:
    done = path.insns[index].operation
    base, got = value(path.value(index, f"R{done.base}")), value(path.result(index, f"R{done.target}"))
    from_context = base.kind == "ctx" or (not base.words and _is_context(path, index, f"R{done.base}"))
    if from_context:
        return _of_context(path, index, got, followed)
    if got.kind not in ("scalar", ""):
        null = ", and it may be NULL" if got.maybe_null else ""
        return f"a pointer is read from {_whose(base)}: {short(got.words)}{null}"
    bound = "" if got.umax is None or got.number is not None else f", up to {got.umax}"
    whose = "from the packet, where its sender chose it" if base.kind == "pkt" else f"from {_whose(base)}"
    return f"a number is read {whose}: it can have any value{bound}"


def _whose(base: Value) -> str:
    match base.kind:
        case "map_value":
            return f"the value of map {base.more['map']}" if "map" in base.more else "a map's value"
        case "scalar" | "":
            return "memory"
        case "fp":
            return "the stack"
    return f"the {short(base.words)}" if "ptr_" not in base.kind else f"struct {base.kind.partition('ptr_')[2]}"


def _is_context(path: Path, index: int, register: str) -> bool:
    last = None
    for last in definitions(path, index, register):
        if last.kind not in ("move", "fill", "spill", "start", "argument"):
            return False
    return last is not None and last.kind == "start" and last.register == "R1"


def _of_context(path: Path, index: int, got: Value, followed: bool) -> str:
    insn = path.insns[index]
    fields = list(dict.fromkeys(_FIELD.findall(insn.place.source if insn.place else "")))
    wanted = {"pkt": r"data$", "pkt_meta": r"data_meta$", "pkt_end": r"data_end$"}.get(got.kind, "")
    fields = [name for name in fields if name.startswith("ctx->")] or fields
    fitting = [name for name in fields if re.search(wanted, name)] if wanted else fields
    name = fitting[0] if len(fitting) == 1 else f"the context's field at offset {insn.operation.offset}"
    target = f"R{insn.operation.target}"
    match got.kind:
        case "pkt" | "pkt_meta":
            what = "start of the packet" if got.kind == "pkt" else "start of the packet's metadata"
            return f"{target} = {name}: {what}, 0 bytes of it checked"
        case "pkt_end":
            return f"{target} = {name}: end of the packet, to compare with and not to compute with"
        case "scalar" | "" if followed:
            return f"{target} = {_ELEMENT.sub('', name)}: {HANDED}, which the verifier does not follow"
        case "scalar" | "":
            bound = "" if got.umax is None or got.number is not None else f" up to {got.umax}"
            return f"{target} = {name}: a number of any value{bound}"
    return f"{target} = {name}: {'a pointer that may be NULL' if got.maybe_null else short(got.words)}"
