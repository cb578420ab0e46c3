# The verifier's messages, one row each: what to look for, the category it belongs to, what it means, what to do.

from __future__ import annotations

import re
from dataclasses import dataclass

CATEGORIES = (
    "Memory Safety",
    "Register Type Safety",
    "Call Type Safety",
    "Resource Lifetime Safety",
    "Execution Context Safety",
    "Program Structure",
    "Policy",
    "Verifier Limit",
    "Verifier Internal Error",
)
_MEMORY, _REGISTER, _CALL, _RESOURCE, _CONTEXT, _STRUCTURE, _POLICY, _LIMIT, _INTERNAL = CATEGORIES


@dataclass(frozen=True)
class Pattern:
    # One message of the verifier. `placed` is False where the kernel finds the fault before or after its walk
    # through the instructions, so that the last instruction in the log has nothing to do with it.
    regex: re.Pattern[str]
    category: str
    meaning: str
    fix: str
    placed: bool = True


def _row(regex: str, category: str, meaning: str, fix: str, *, placed: bool = True) -> Pattern:
    return Pattern(re.compile(regex), category, meaning, fix, placed)


# The first row that matches wins, so a particular message stands before a general one. Names in {braces} are
# the groups of the expression. The formatter is off because the table is read by its columns of text.
# fmt: off
PATTERNS = (
    _row(r"(?P<reg>R\d+) invalid mem access '\w*_or_null'", _REGISTER,
         "The pointer in {reg} may be NULL here: the lookup or reservation that made it can fail.",
         "Test it first: if (!p) return 0;"),
    _row(r"(?P<reg>R\d+) pointer arithmetic on \w+_or_null prohibited", _REGISTER,
         "{reg} may still be NULL, and NULL plus an offset is no longer NULL.",
         "Test the pointer for NULL before taking the address of one of its fields."),
    _row(r"(?P<reg>R\d+) invalid mem access '(?:scalar|inv)'", _REGISTER,
         "{reg} holds a number here, or a pointer that was already given back.",
         "Read addresses with bpf_probe_read_user() or BPF_CORE_READ(); use no record after submitting it."),
    _row(r"(?P<reg>R\d+) invalid mem access '(?P<type>\w+)'", _REGISTER,
         "{reg} is of type {type}, which cannot be read or written directly.",
         "Use the helper made for that type, or keep a pointer of the right type."),
    _row(r"(?P<reg>R\d+) !read_ok", _REGISTER,
         "{reg} is used before anything was stored in it; a call also empties R1 to R5.",
         "Give the variable a value on every path that leads here, and the function a return value."),
    _row(r"dereference of modified (?P<type>\w+) ptr", _REGISTER,
         "A {type} pointer was moved by an offset and then read; only the original may be read.",
         "Read the field from the unmodified pointer, ctx->field, with a constant offset."),
    _row(r"(?P<reg>R\d+) (?:pointer (?:arithmetic|\+= pointer|comparison)|bitwise operator)", _REGISTER,
         "This operation is not allowed on the pointer in {reg}.",
         "Only add bounded numbers to pointers; compute with numbers, not addresses."),
    _row(r"math between (?P<type>\w+) pointer and register with unbounded (?P<end>min|max) value", _MEMORY,
         "The index added to this {type} pointer has no known {end}imum, so it could point anywhere.",
         "Bound it first: make it unsigned and test if (i >= N) return 0;, or mask it: i &= N - 1;"),
    _row(r"invalid access to packet", _MEMORY,
         "The packet may be shorter than this: nothing has compared the pointer with data_end yet.",
         "Test first: if ((void *)(p + 1) > (void *)(long)ctx->data_end) return XDP_PASS;"),
    _row(r"invalid access to map value, value_size=(?P<size>\d+) off=(?P<off>-?\d+) size=(?P<n>\d+)", _MEMORY,
         "{n} bytes at offset {off} do not fit the map's value of {size} bytes.",
         "Test the index or length against the size of the value's field before using it."),
    _row(r"invalid access to memory, mem_size=(?P<size>\d+) off=(?P<off>-?\d+) size=(?P<n>\d+)", _MEMORY,
         "{n} bytes at offset {off} do not fit the memory of {size} bytes.",
         "Reserve sizeof(*record) bytes, and keep indexes below the size of the array."),
    _row(r"(?P<reg>R\d+) unbounded memory access", _MEMORY,
         "The offset or length in {reg} has no upper bound that the verifier knows.",
         "Bound it right before the use: if (n > sizeof(buf)) n = sizeof(buf);, or mask it: n &= 63;"),
    _row(r"(?P<reg>R\d+) min value is negative", _MEMORY,
         "The length or offset in {reg} could be negative.",
         "Make the variable unsigned and bound it: if (n > sizeof(buf)) n = sizeof(buf);"),
    _row(r"(?P<reg>R\d+) (?:(?:min|max) value|offset) is outside of", _MEMORY,
         "The access through {reg} can fall outside of the memory that it points to.",
         "Before the access, test the index against the array's size, or the pointer against data_end."),
    _row(r"invalid (?:indirect )?read from stack (?:R\d+ )?(?:var_)?off [-(]", _MEMORY,
         "Some of these bytes on the stack were never written, often the padding of a struct.",
         "Set all of it to zero first: struct event e = {{}}; or __builtin_memset(&e, 0, sizeof(e));"),
    _row(r"invalid (?:unbounded )?variable-offset|variable (?:offset )?stack access", _MEMORY,
         "An array on the stack is indexed with a value that the verifier cannot bound.",
         "Bound the index: if (i >= sizeof(buf)) return 0;, or mask it: buf[i & 63]"),
    _row(r"invalid (?:(?:read from|write to|indirect access to) )?stack (?:type )?(?:R\d+ )?off=", _MEMORY,
         "The access falls outside of the variable or of the 512 bytes of stack.",
         "Pass sizeof(buf) as the length, and keep large data in a map."),
    _row(r"misaligned (?P<what>\w+) access .*size (?P<size>\d+)", _MEMORY,
         "This {what} access of {size} bytes is not at a multiple of {size}.",
         "Let the compiler lay out the variable, or copy the bytes: __builtin_memcpy(&x, p, sizeof(x));"),
    _row(r"func '(?P<func>\w+)' doesn't have (?P<n>\d+)-th argument", _MEMORY,
         "{func} has fewer arguments than the program reads.",
         "Read only the arguments that its declaration in vmlinux.h has."),
    _row(r"invalid bpf_context access off=(?P<off>-?\d+) size=(?P<size>\d+)", _MEMORY,
         "This program type may not access {size} bytes at offset {off} of its context.",
         "Use the fields that ebpflab.context() lists for it, each with its full size."),
    _row(r"write into map forbidden|cannot write into \w+|only read is supported", _MEMORY,
         "This memory is read-only for the program: a constant, a frozen map or a kernel object.",
         "Write to a map, a global that is not const, or a copy on the stack."),
    _row(r"access beyond struct (?P<type>\w+) at off (?P<off>\d+)", _MEMORY,
         "Offset {off} lies behind the end of struct {type} in this kernel.",
         "Take the field by name, with BPF_CORE_READ(), and see its place with ebpflab.type()."),
    _row(r"(?P<reg>R\d+) invalid zero-sized read", _MEMORY,
         "The length in {reg} can be 0, and this helper wants at least one byte.",
         "Test it first: if (n == 0) return 0;"),
    _row(r"Unreleased reference id=\d+ alloc_insn=(?P<insn>\d+)", _RESOURCE,
         "On this path the program ends while it holds what instruction {insn} reserved or acquired.",
         "Submit or release it before every return; a ring buffer record: bpf_ringbuf_discard(e, 0);"),
    _row(r"would lead to reference leak", _RESOURCE,
         "On this path the program ends while it still holds what it reserved or acquired.",
         "Submit or release it before every return; a ring buffer record: bpf_ringbuf_discard(e, 0);"),
    _row(r"inside bpf_(?P<lock>\w+)-ed region|bpf_(?P<unlock>\w+) is missing", _RESOURCE,
         "The program can end inside of a locked region ({lock}{unlock}).",
         "Call the matching unlock function on every path before returning."),
    _row(r"function calls are not allowed while holding a lock", _CONTEXT,
         "Between bpf_spin_lock() and bpf_spin_unlock() almost no function may be called.",
         "Call it before taking the lock and keep its result in a variable."),
    _row(r"might sleep|may sleep|sleepable (?:helper|kfunc)|is sleepable", _CONTEXT,
         "This call may sleep, and the program runs where sleeping is not allowed.",
         "Use a helper that does not sleep, such as bpf_probe_read_user(), or a sleepable section."),
    _row(r"R\d+ leaks addr", _POLICY,
         "A kernel address would become visible to user space, which needs CAP_PERFMON.",
         "Store a number derived from the object, not the pointer, or run with CAP_PERFMON."),
    _row(r"GPL[- ](?:restricted|compatible|only)", _POLICY,
         "This helper is only for programs under a licence that is compatible with the GPL.",
         'Say so in the cell: char LICENSE[] SEC("license") = "GPL";'),
    _row(r"cannot use helper (?P<func>\w+)#|unknown func (?P<old>bpf_\w+)#", _POLICY,
         "The helper {func}{old}() is not offered to this type of program.",
         "Use a helper that this program type has, or a section of another type."),
    _row(r"(?:invalid|unknown) func unknown#", _POLICY,
         "This kernel does not have that helper.",
         "Use an older helper, or test for it with bpf_core_enum_value_exists()."),
    _row(r"failed to resolve CO-RE relocation (?P<what>.+?)(?: \(|$)", _STRUCTURE,
         "The running kernel has no such type, field or enum value: {what}.",
         "Look for its name here with ebpflab.type(), or guard it with bpf_core_field_exists()."),
    _row(r"(?P<reg>R\d+) type=(?P<have>\S+) expected=(?P<want>.+)", _CALL,
         "The argument in {reg} is a {have}, and the called function expects {want}.",
         "Pass a pointer of that kind, such as the address of a variable; test a looked-up one for NULL."),
    _row(r"cannot pass map_type (?P<type>\d+) into func (?P<func>\w+)", _CALL,
         "{func}() does not work on maps of type {type}.",
         "Use the helper that belongs to that type of map."),
    _row(r"Possibly NULL pointer passed|arg#?\d+ (?:is )?expected|must be (?:referenced|trusted)", _CALL,
         "The called kernel function demands a pointer that is known to be valid.",
         "Test the pointer for NULL, and take it from the context or an acquiring function."),
    _row(r"At program exit the register R0 has (?P<have>.+?) should have been in (?P<want>.+)", _STRUCTURE,
         "The program returns {have}, and a program of its type may return only {want}.",
         "Return one of the codes that ebpflab.context() lists for it."),
    _row(r"infinite loop detected", _STRUCTURE,
         "A round of this loop changes nothing that the verifier knows of, so it would never end.",
         "Loop a constant number of times: for (int i = 0; i < 16; i++), or use bpf_loop()."),
    _row(r"back-edge from insn \d+ to \d+", _STRUCTURE,
         "The program has a loop, and may have none: the kernel is older than 5.3, or CAP_BPF is missing.",
         "Unroll it: #pragma unroll before a loop with a constant number of rounds.", placed=False),
    _row(r"unreachable insn|jump out of range from insn|last insn is not an exit", _STRUCTURE,
         "The jumps do not fit together: code that nothing reaches, or a path that runs off the end.",
         "Look for inline assembly, a missing return, or a function declared noreturn.", placed=False),
    _row(r"combined stack size of (?P<n>\d+) calls is (?P<size>\d+)", _LIMIT,
         "The {n} functions that call one another need {size} bytes of stack; 512 are allowed in all.",
         "Move large variables into a BPF_MAP_TYPE_PERCPU_ARRAY map.", placed=False),
    _row(r"BPF program is too large|sequence of \d+ jumps is too complex", _LIMIT,
         "The verifier gave up before it had walked all paths: a loop too long, or too many branches.",
         "Make the loop shorter, use bpf_loop(), or move parts into functions that are not static."),
    _row(r"verifier (?:internal error|bug)|kernel subsystem misconfigured", _INTERNAL,
         "The verifier itself is at fault.",
         "Write this part differently, and report it to bpf@vger.kernel.org with the whole log."),
)
# fmt: on

# A dereference of 0 where a test for NULL came before: not in the table, because the message alone cannot tell.
NUMBER = next(p.regex for p in PATTERNS if p.regex.search("R1 invalid mem access 'scalar'"))
NULL = Pattern(
    NUMBER,
    _MEMORY,
    "{reg} is NULL on one way to this line: the lookup or reservation that made it can fail.",
    "Test it first: if (!p) return 0;",
)
