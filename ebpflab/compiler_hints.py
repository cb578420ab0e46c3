# Why clang refused a line, for those who are new to C without a C library: what to do about each message.

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from .errors import Diagnostic, Location
from .similar import did_you_mean, nearest

STACK = re.compile(r"stack limit")
_WORST = 64  # bytes: smaller variables are not what fills a stack
_VARIABLE = re.compile(r"\b(struct\s+\w+|\w+)\s+(\w+)\s*((?:\[\s*\d{1,9}\s*\]\s*)*)(?=[=;,])")
_STRUCT = re.compile(r"\bstruct\s+(\w+)\s*\{([^{}]*)\}")
_SIZES = {
    "short": 2, "u16": 2, "__u16": 2, "s16": 2, "int": 4, "unsigned": 4, "u32": 4, "__u32": 4, "s32": 4,
    "long": 8, "u64": 8, "__u64": 8, "s64": 8,
}  # fmt: skip

_BCC = (
    'this is BCC\'s dialect: run the cell with --engine bcc, or define the map as a struct in SEC(".maps") and call '
    "helpers such as bpf_map_lookup_elem()"
)
_BCC_TEXT = re.compile(
    r"\bBPF_(?:HASH|ARRAY|PERF_OUTPUT|RINGBUF_OUTPUT|HISTOGRAM|TABLE|STACK_TRACE|PERCPU_(?:HASH|ARRAY)|LRU_HASH"
    r"|LPM_TRIE|PERF_ARRAY|CGROUP_ARRAY|PROG_ARRAY|QUEUE|STACK)\s*\(|\bTRACEPOINT_PROBE\s*\(|\bKFUNC_PROBE\s*\("
    r"|\.(?:lookup|lookup_or_try_init|lookup_or_init|increment|atomic_increment|perf_submit|ringbuf_output"
    r"|ringbuf_reserve|get_stackid)\s*\("
)
# What stands outside of functions, in either dialect, and is written in capitals with a bracket behind it.
_MACROS = (
    "SEC", "BPF_PROG", "BPF_PROG2", "BPF_KPROBE", "BPF_KRETPROBE", "BPF_UPROBE", "BPF_URETPROBE", "BPF_KSYSCALL",
    "BPF_KPROBE_SYSCALL", "BPF_USDT", "TRACEPOINT_PROBE", "RAW_TRACEPOINT_PROBE", "KFUNC_PROBE", "KRETFUNC_PROBE",
    "KMOD_RET", "LSM_PROBE", "BPF_ITER", "BPF_HASH", "BPF_PERCPU_HASH", "BPF_ARRAY", "BPF_PERCPU_ARRAY",
    "BPF_HISTOGRAM", "BPF_PERF_OUTPUT", "BPF_RINGBUF_OUTPUT", "BPF_STACK_TRACE", "BPF_STACK_TRACE_BUILDID",
    "BPF_LPM_TRIE", "BPF_PROG_ARRAY", "BPF_PERF_ARRAY", "BPF_CGROUP_ARRAY", "BPF_QUEUE", "BPF_STACK", "BPF_DEVMAP",
    "BPF_CPUMAP", "BPF_XSKMAP", "BPF_SOCKMAP", "BPF_SOCKHASH", "BPF_SK_STORAGE", "BPF_INODE_STORAGE",
    "BPF_TASK_STORAGE", "BPF_CGROUP_STORAGE", "BPF_ARRAY_OF_MAPS", "BPF_HASH_OF_MAPS", "BPF_TABLE", "BPF_F_TABLE",
)  # fmt: skip
_OUTSIDE = re.compile(
    r'"(?:\\.|[^"\\\n])*"|^[ \t]*#(?:\\\n|[^\n])*|(?P<mark>[{}()])|\b(?P<name>[A-Z][A-Z0-9_]+)(?=\s*\()', re.MULTILINE
)
_DEFINED = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_UNKNOWN_FUNCTION = re.compile(
    r"(?:implicit declaration of function|implicitly declaring library function"
    r"|call to undeclared (?:library )?function"
    r"|use of undeclared identifier) '(\w+)'"
)
_ARGUMENTS = re.compile(r"too (?:few|many) arguments to function call")
# What to use in place of functions of the C library.
_LIBC = {
    "printf": "bpf_printk()", "fprintf": "bpf_printk()", "puts": "bpf_printk()", "sprintf": "BPF_SNPRINTF()",
    "snprintf": "BPF_SNPRINTF()", "strcmp": "bpf_strncmp()", "strncmp": "bpf_strncmp()",
    "strcpy": "bpf_probe_read_kernel_str()", "strncpy": "bpf_probe_read_kernel_str()",
    "strlen": "the length that bpf_probe_read_kernel_str() returns", "memcpy": "__builtin_memcpy()",
    "memset": "__builtin_memset()", "memcmp": "__builtin_memcmp()", "malloc": "a map", "calloc": "a map",
    "free": "a map", "time": "bpf_ktime_get_ns()", "clock_gettime": "bpf_ktime_get_ns()",
    "getpid": "bpf_get_current_pid_tgid() >> 32", "getuid": "bpf_get_current_uid_gid()",
    "rand": "bpf_get_prandom_u32()", "random": "bpf_get_prandom_u32()", "exit": "return",
}  # fmt: skip
# Message, and what a beginner should do about it. The first row that matches wins.
_HINTS = tuple(
    (re.compile(pattern), hint)
    for pattern, hint in (
        (r"'(?:std\w+\.h|string\.h|unistd\.h|(?:bits|gnu|sys|asm)/[^']+)' file not found",
         "there is no C library in the kernel: leave its headers out; types and helpers are already there"),
        (r"'(?P<name>[^']+)' file not found",
         "put {name} beside the notebook, or leave it out: vmlinux.h and libbpf's headers are already there"),
        (r"unknown type name '(?:def|import|from|class|print)'",
         "a %%bpf cell holds C; Python goes into a cell of its own"),
        (r"expected ';'", "a ';' is missing here, or at the end of the line before"),
        (r"expected '(?P<what>[^']+)'", "a '{what}' is missing, or one too many stands before"),
        (r"unknown type name '\w+'; did you mean '(?P<name>\w+)'", "write {name}"),
        (r"unknown type name '(?P<name>\w+)'|must use 'struct' tag to refer to type '(?P<tag>\w+)'",
         "if it is a kernel struct, write struct {name}{tag}; %bpf type {name}{tag} shows whether the kernel has it"),
        (r"redefinition of '(?P<name>\w+)'",
         "two programs, functions or variables of the cell are called {name}: rename one"),
        (r"incomplete (?:definition of |result )?type '?(?:const )?(?:struct|union|enum) (?P<name>\w+)"
         r"|type '(?:struct|union|enum) (?P<other>\w+)' that is never completed",
         "nothing here defines {name}{other}: check its name with %bpf type {name}{other}, or define it in the cell"),
        (r"no member named '\w+' in 'struct tracepoint__(?P<category>\w+?)__(?P<event>\w+)'",
         "%bpf format {category}:{event} lists its fields"),
        (r"no member named '\w+' in '(?:struct|union) (?P<name>\w+)'", "%bpf type {name} lists its fields"),
        (r"unterminated function-like macro|missing terminating",
         "a closing quote or bracket is missing, on this line or after it"),
        (r"passing 'struct \(unnamed struct at [^']*' to parameter of incompatible type 'void \*'",
         "a helper takes the address of a map: write & before its name"),
        (r"array initializer must be an initializer list or string literal",
         'bpf_printk() takes its format as a literal: bpf_printk("%s", text)'),
        (r"stack limit", "a function has 512 bytes for its variables: keep large ones in a per-CPU array map"),
        (r"built-in function '__\w*[sd]f\w*'", "BPF has no floating point: compute with integers, such as thousandths"),
        (r"built-in function '(?P<name>mem\w+)'",
         "{name} of this size would be a call into libc: copy less at a time, or use bpf_probe_read_kernel()"),
        (r"built-in function '(?P<name>\w+)'", "there is no library to call {name} from: write it out or use a helper"),
        (r"signed division", "BPF divides only unsigned numbers: cast both to u64 first"),
        (r"too many arg(?:ument)?s", "a function of BPF takes at most five arguments: pass a pointer to a struct"),
        (r"VarArgs or StructRet", "return a number, or fill in a struct that the caller points to"),
        (r"call to global function|undefined (?:symbol|reference)|[Uu]ndefined external|relocation",
         "the cell declares this but defines it nowhere: define it, or mark it __ksym or __kconfig"),
    )
)  # fmt: skip


def hint(error: Diagnostic, helpers: Mapping[str, str], *, bcc: bool = False) -> str | None:
    """Say what to do about an error of the compiler, or return None.

    Parameters
    ----------
    error
        The message with its place.
    helpers
        Prototypes of the functions that a cell can call, by name.
    bcc
        Whether the cell is written in BCC's dialect, and may be.
    """
    if not bcc and error.where and _BCC_TEXT.search(error.where.text):
        return _BCC
    if "did you mean" not in error.message and (match := _UNKNOWN_FUNCTION.match(error.message)):
        return _hint_for_name(match[1], "function" in error.message, helpers)
    if STACK.search(error.message) and error.fixits:
        return f"a function has 512 bytes for its variables: {error.fixits[0]}"
    if _ARGUMENTS.match(error.message) and (prototype := helpers.get(_called(error.where))):
        return f"it is declared {prototype}"
    for pattern, words in _HINTS:
        if match := pattern.search(error.message):
            return words.format(**{name: text or "" for name, text in match.groupdict().items()})
    return None


def _hint_for_name(name: str, called: bool, helpers: Mapping[str, str]) -> str | None:
    if name in _LIBC:
        return f"there is no C library in the kernel: use {_LIBC[name]}"
    if name == "SEC":
        return "#include <bpf/bpf_helpers.h> defines SEC()"
    if not called and not name.startswith("bpf_"):
        return None
    if close := did_you_mean(nearest(name, helpers)):
        return close
    if name.startswith("bpf_"):
        return "no helper has this name: see bpf-helpers(7) for those there are"
    return f"define {name}() in the cell, before its first use, or see bpf-helpers(7) for what the kernel offers"


def _called(where: Location | None) -> str:
    # The function whose arguments are written at this place: the last one before it whose bracket is still open.
    if where is None or where.column is None:
        return ""
    depth = 0
    for at in range(min(where.column, len(where.text)) - 2, -1, -1):
        depth += {")": 1, "(": -1}.get(where.text[at], 0)
        if depth < 0:
            name = re.search(r"(\w+)\s*$", where.text[:at])
            return name[1] if name else ""
    return ""


def misspelt(code: str, known: Iterable[str] = ()) -> Iterator[tuple[int, int, str, str]]:
    """Name the macros outside of functions that only resemble one that there is.

    Parameters
    ----------
    code
        A cell without its comments.
    known
        Macros that are defined elsewhere.

    Yields
    ------
    tuple
        Where the macro stands and where its brackets end, as offsets; its name, and the name that it resembles.

    Examples
    --------
    >>> list(misspelt("BPF_HAHS(counts, u32);"))
    [(0, 21, 'BPF_HAHS', 'BPF_HASH')]
    """
    own = {*_DEFINED.findall(code), *_MACROS, *known}
    found, depth = (0, "", ""), 0
    for match in _OUTSIDE.finditer(code):
        if match["name"] and not depth and not found[1] and match["name"] not in own:
            found = (match.start(), match["name"], next(iter(nearest(match["name"], _MACROS, 1)), ""))
        elif match["mark"]:
            depth = max(0, depth + (1 if match["mark"] in "({" else -1))
            if not depth and found[1]:
                if found[2]:
                    yield found[0], match.end(), found[1], found[2]
                found = (0, "", "")


def largest(lines: Sequence[str], where: Location | None) -> str:
    """Name the largest variable, as far as a glance at the text can tell, of the function that begins at a place."""
    structs = {f"struct {tag}": sum(_sizes(body, {})) for tag, body in _STRUCT.findall("\n".join(lines))}
    best, said = _WORST, ""
    start = where.line if where else 1
    for number, text in enumerate(lines[start - 1 :], start):
        for match, size in zip(_VARIABLE.finditer(text), _sizes(text, structs), strict=True):
            if size > best:
                best, said = size, f"{match[2]}{match[3].rstrip()} (line {number})"
        if where and text.startswith("}"):
            break
    return said


def _sizes(text: str, structs: Mapping[str, int]) -> Iterator[int]:
    # Bytes of each variable that a text declares; of a type that is not known here, one.
    for c_type, _, dimensions in _VARIABLE.findall(text):
        one = _SIZES.get(c_type, structs.get(" ".join(c_type.split()), 1))
        yield one * math.prod(int(n) for n in re.findall(r"\d+", dimensions))
