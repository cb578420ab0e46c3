"""Words of BCC's C: its tables and their methods, the macros that begin programs, the helpers of its library.

What each is for stands here; which of them there are tells the header that the installed library carries, where
there is one (``helpers.h``; bcc: docs/reference_guide.md).
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from ..bcc import library
from ..errors import ToolMissingError

_MAP_TYPE = "BPF_MAP_TYPE_"


class Method(NamedTuple):
    """A method of tables: how it is called, with KEY and LEAF for their types, and what it does."""

    signature: str
    doc: str


class TableMacro(NamedTuple):
    """A macro that declares a table: its parameters, the type of its map, its methods, and what it is."""

    parameters: str
    type: str
    methods: tuple[str, ...]
    doc: str
    key: str = "int"  # where no parameter says it

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters."""
        return tuple(each.partition("=")[0] for each in self._each)

    def default(self, name: str) -> str:
        """What a parameter is that is left out; the type of the keys where there is none for it."""
        found = next((each.partition("=")[2] for each in self._each if each.partition("=")[0] == name), "")
        return found or (self.key if name == "key_type" else "")

    @property
    def _each(self) -> list[str]:
        return [each.strip() for each in self.parameters.strip("()").split(",")]


METHODS = {
    "lookup": Method("LEAF *lookup(KEY *key)", "the value of a key, or NULL"),
    "lookup_or_try_init": Method("LEAF *lookup_or_try_init(KEY *key, LEAF *zero)", "its value, made if there is none"),
    "lookup_or_init": Method("LEAF *lookup_or_init(KEY *key, LEAF *zero)", "the same, and ends the program on failure"),
    "update": Method("int update(KEY *key, LEAF *leaf)", "sets the value of a key"),
    "insert": Method("int insert(KEY *key, LEAF *leaf)", "sets the value of a key that has none yet"),
    "delete": Method("int delete(KEY *key)", "takes a key out"),
    "increment": Method("void increment(KEY key, u64 by = 1)", "adds to the value of a key"),
    "atomic_increment": Method("void atomic_increment(KEY key, u64 by = 1)", "adds to it in one step, for all CPUs"),
    "call": Method("void call(void *ctx, int index)", "goes on with another program and does not come back"),
    "get_stackid": Method("int get_stackid(void *ctx, u64 flags)", "keeps the stack; its number, or negative"),
    "perf_submit": Method("int perf_submit(void *ctx, void *data, u32 size)", "sends a record"),
    "perf_submit_skb": Method(
        "int perf_submit_skb(struct __sk_buff *skb, u32 length, void *data, u32 size)",
        "sends a record and so many bytes of the packet",
    ),
    "ringbuf_output": Method("int ringbuf_output(void *data, u64 size, u64 flags)", "sends a record"),
    "ringbuf_reserve": Method("void *ringbuf_reserve(u64 size)", "room for a record in the buffer itself, or NULL"),
    "ringbuf_submit": Method("void ringbuf_submit(void *data, u64 flags)", "sends a record that was reserved"),
    "ringbuf_discard": Method("void ringbuf_discard(void *data, u64 flags)", "gives reserved room back"),
    "ringbuf_query": Method("u64 ringbuf_query(u64 flags)", "how full the buffer is"),
    "perf_read": Method("u64 perf_read(int cpu)", "the value of a hardware counter"),
    "perf_counter_value": Method("int perf_counter_value(int cpu, void *value, u32 size)", "the same with its times"),
    "check_current_task": Method("int check_current_task(int index)", "1 if this process is in the cgroup"),
    "push": Method("int push(LEAF *leaf, u64 flags)", "puts a value in"),
    "pop": Method("int pop(LEAF *leaf)", "takes a value out"),
    "peek": Method("int peek(LEAF *leaf)", "reads the next value and leaves it"),
    "redirect_map": Method("u64 redirect_map(int index, int flags)", "sends the packet there; a verdict of XDP"),
    "sock_map_update": Method("int sock_map_update(void *ctx, void *key, u64 flags)", "puts a socket in"),
    "sock_hash_update": Method("int sock_hash_update(void *ctx, void *key, u64 flags)", "puts a socket in"),
    "msg_redirect_hash": Method("int msg_redirect_hash(void *msg, void *key, u64 flags)", "sends a message there"),
    "sk_redirect_hash": Method("int sk_redirect_hash(void *skb, void *key, u64 flags)", "sends a packet there"),
    "sk_storage_get": Method("void *sk_storage_get(void *sock, void *value, int flags)", "the socket's value"),
    "sk_storage_delete": Method("int sk_storage_delete(void *sock)", "takes it away"),
    "inode_storage_get": Method("void *inode_storage_get(void *inode, void *value, int flags)", "the inode's value"),
    "inode_storage_delete": Method("int inode_storage_delete(void *inode)", "takes it away"),
    "task_storage_get": Method("void *task_storage_get(void *task, void *value, int flags)", "the task's value"),
    "task_storage_delete": Method("int task_storage_delete(void *task)", "takes it away"),
    "get_local_storage": Method("LEAF *get_local_storage(u64 flags)", "the value of the program's cgroup"),
}
_KEYED = ("lookup", "lookup_or_try_init", "lookup_or_init", "update", "insert", "delete", "increment",
          "atomic_increment")  # fmt: skip
_INDEXED = ("lookup", "update", "increment", "atomic_increment")
_QUEUED = ("push", "pop", "peek")
_HASH_ARGUMENTS = "(name, key_type=u64, leaf_type=u64, size=10240)"
_ARRAY_ARGUMENTS = "(name, leaf_type=u64, size=10240)"
_OF_TYPE = "(table_type, key_type, leaf_type, name, size)"
TABLES = {
    "BPF_HASH": TableMacro(_HASH_ARGUMENTS, "HASH", _KEYED, "a hash table"),
    "BPF_PERCPU_HASH": TableMacro(_HASH_ARGUMENTS, "PERCPU_HASH", _KEYED, "a hash table with a value for each CPU"),
    "BPF_ARRAY": TableMacro(_ARRAY_ARGUMENTS, "ARRAY", _INDEXED, "an array"),
    "BPF_PERCPU_ARRAY": TableMacro(_ARRAY_ARGUMENTS, "PERCPU_ARRAY", _INDEXED, "an array with a value for each CPU"),
    "BPF_HISTOGRAM": TableMacro("(name, key_type=int, size=64)", "HASH", _KEYED, "counts by slot, as of bpf_log2l()"),
    "BPF_PERF_OUTPUT": TableMacro(
        "(name)", "PERF_EVENT_ARRAY", ("perf_submit", "perf_submit_skb"), "a perf buffer for each CPU: records for you"
    ),
    "BPF_RINGBUF_OUTPUT": TableMacro(
        "(name, pages)",
        "RINGBUF",
        ("ringbuf_output", "ringbuf_reserve", "ringbuf_submit", "ringbuf_discard", "ringbuf_query"),
        "one buffer of all CPUs: records for you; the number of pages is a power of two",
    ),
    "BPF_STACK_TRACE": TableMacro("(name, size)", "STACK_TRACE", ("get_stackid", "lookup"), "stacks by number"),
    "BPF_STACK_TRACE_BUILDID": TableMacro(
        "(name, size)", "STACK_TRACE", ("get_stackid", "lookup"), "stacks by number, as build ids and offsets"
    ),
    "BPF_LPM_TRIE": TableMacro(_HASH_ARGUMENTS, "LPM_TRIE", _KEYED[:6], "prefixes; the longest that matches is found"),
    "BPF_PROG_ARRAY": TableMacro("(name, size)", "PROG_ARRAY", ("call",), "programs to go on with"),
    "BPF_PERF_ARRAY": TableMacro(
        "(name, size)", "PERF_EVENT_ARRAY", ("perf_read", "perf_counter_value"), "hardware counters"
    ),
    "BPF_CGROUP_ARRAY": TableMacro("(name, size)", "CGROUP_ARRAY", ("check_current_task",), "cgroups"),
    "BPF_QUEUE": TableMacro("(name, leaf_type, size, flags=0)", "QUEUE", _QUEUED, "first in, first out"),
    "BPF_STACK": TableMacro("(name, leaf_type, size, flags=0)", "STACK", _QUEUED, "last in, first out"),
    "BPF_DEVMAP": TableMacro("(name, size)", "DEVMAP", ("redirect_map",), "interfaces to send packets to"),
    "BPF_CPUMAP": TableMacro("(name, size)", "CPUMAP", ("redirect_map",), "CPUs to send packets to"),
    "BPF_XSKMAP": TableMacro("(name, size)", "XSKMAP", ("redirect_map", "lookup"), "AF_XDP sockets"),
    "BPF_SOCKMAP": TableMacro("(name, size)", "SOCKMAP", ("sock_map_update", "update", "delete"), "sockets"),
    "BPF_SOCKHASH": TableMacro(
        "(name, key_type=u32, size=10240)",
        "SOCKHASH",
        ("sock_hash_update", "msg_redirect_hash", "sk_redirect_hash", "update", "delete"),
        "sockets by key",
    ),
    "BPF_SK_STORAGE": TableMacro(
        "(name, leaf_type)", "SK_STORAGE", ("sk_storage_get", "sk_storage_delete"), "a value for each socket"
    ),
    "BPF_INODE_STORAGE": TableMacro(
        "(name, leaf_type)", "INODE_STORAGE", ("inode_storage_get", "inode_storage_delete"), "a value for each inode"
    ),
    "BPF_TASK_STORAGE": TableMacro(
        "(name, leaf_type)", "TASK_STORAGE", ("task_storage_get", "task_storage_delete"), "a value for each task"
    ),
    "BPF_CGROUP_STORAGE": TableMacro(
        "(name, leaf_type)", "CGROUP_STORAGE", ("get_local_storage", "lookup", "update"), "a value for each cgroup"
    ),
    "BPF_ARRAY_OF_MAPS": TableMacro('(name, "inner", size)', "ARRAY_OF_MAPS", ("lookup",), "an array of maps"),
    "BPF_HASH_OF_MAPS": TableMacro(
        '(name, key_type, "inner", size=10240)', "HASH_OF_MAPS", ("lookup",), "maps by key", "u64"
    ),
    "BPF_TABLE": TableMacro(_OF_TYPE, "HASH", _KEYED, 'a table of a type, such as "lru_hash"'),
    "BPF_F_TABLE": TableMacro(f"{_OF_TYPE[:-1]}, flags)", "HASH", _KEYED, "the same with flags of the map"),
}
# What begins a program: its parameters and where it runs.
PROBES = {
    "TRACEPOINT_PROBE": ("(category, event)", "at a tracepoint, whose fields are args->NAME"),
    "RAW_TRACEPOINT_PROBE": ("(event)", "at a tracepoint, with its arguments as ctx->args[i]"),
    "KFUNC_PROBE": ("(function, type argument, ...)", "when a function of the kernel is called"),
    "KRETFUNC_PROBE": ("(function, type argument, ..., type ret)", "when it returns"),
    "KMOD_RET": ("(function, type argument, ..., int ret)", "when it is called; what it returns its caller sees"),
    "LSM_PROBE": ("(hook, type argument, ...)", "at a security hook; -EPERM refuses"),
    "BPF_ITER": ("(target)", "for each object of an iterator, which is ctx->NAME"),
}
_FUNCTIONS = {
    "bpf_usdt_readarg": ("(int number, struct pt_regs *ctx, void *to)", "an argument of a USDT probe, counted from 1"),
    "bpf_usdt_readarg_p": ("(int number, struct pt_regs *ctx, void *buffer, u64 size)", "the memory it points to"),
    "bpf_log2": ("(unsigned int value)", "the slot of a histogram of powers of two"),
    "bpf_log2l": ("(unsigned long value)", "the slot of a histogram of powers of two"),
    "bpf_num_cpus": ("()", "how many CPUs there are"),
    "bpf_trace_printk": ("(const char *format, ...)", "prints to trace_pipe; at most three arguments"),
    "TP_DATA_LOC_READ_STR": ("(to, field, size)", "the text of a field whose length differs, in a TRACEPOINT_PROBE"),
    "TP_DATA_LOC_READ": ("(to, field)", "the bytes of such a field"),
    "TP_DATA_LOC_READ_CONST": ("(to, field, size)", "so many bytes of such a field"),
    "PT_REGS_RC": ("(ctx)", "what the function returned"),
    "PT_REGS_IP": ("(ctx)", "where the CPU is"),
    "PT_REGS_SP": ("(ctx)", "the stack pointer"),
    "PT_REGS_FP": ("(ctx)", "the frame pointer"),
    "PT_REGS_RET": ("(ctx)", "where the function returns to"),
    "PT_REGS_SYSCALL_CTX": (
        "(ctx)",
        "where a system call's arguments are: for PT_REGS_PARM1_SYSCALL ...",
    ),
    "cursor_advance": ("(cursor, size)", "the cursor in a packet, which moves on by so many bytes"),
    "lock_xadd": ("(pointer, value)", "adds in one step, for all CPUs"),
    "load_byte": ("(void *skb, u64 offset)", "a byte of a packet"),
    "load_half": ("(void *skb, u64 offset)", "two bytes of a packet, in the host's order"),
    "load_word": ("(void *skb, u64 offset)", "four bytes of a packet, in the host's order"),
    **{f"PT_REGS_PARM{n}": ("(ctx)", f"argument {n} of the function") for n in range(1, 7)},
    **{f"PT_REGS_PARM{n}_SYSCALL": ("(ctx)", f"argument {n} of the system call") for n in range(1, 7)},
}


def macros() -> dict[str, tuple[str, str]]:
    """Return the macros and functions that only BCC's C has, by name: parameters, and what it does.

    Examples
    --------
    >>> macros()["BPF_PERF_OUTPUT"][0]
    '(name)'
    """
    found = {name: (table.parameters, table.doc) for name, table in TABLES.items()}
    found |= PROBES | _FUNCTIONS
    text = header()
    return {name: said for name, said in found.items() if not text or _is_in(name)}


def methods(macro: str) -> dict[str, Method]:
    """Return the methods of the tables that a macro declares, by name; {} for a macro that declares none.

    Examples
    --------
    >>> list(methods("BPF_PERF_OUTPUT"))
    ['perf_submit', 'perf_submit_skb']
    """
    table = TABLES.get(macro)
    known = table.methods if table else ()
    return {name: METHODS[name] for name in known if not header() or f"(*{name})" in header() or _is_in(name)}


def definition(name: str) -> str:
    """Return how BCC's header defines a macro, "" where there is no library or no such macro."""
    found = re.search(rf"^#define {re.escape(name)}\b(?:[^\n\\]|\\.|\\\n)*", header(), re.MULTILINE)
    return found[0] if found else ""


def has_helper(name: str) -> bool:
    """Tell whether BCC's header declares a helper; True for all of them where there is no library."""
    return not header() or _is_in(name)


@functools.lru_cache(maxsize=1)
def _declared(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text))


def _is_in(name: str) -> bool:
    return name in _declared(header())


def header() -> str:
    """Return the header of the installed library, "" where there is none.

    Examples
    --------
    >>> "BPF_HASH" in header()
    True
    """
    try:
        return library.header("helpers.h")
    except (ToolMissingError, OSError):
        return ""
