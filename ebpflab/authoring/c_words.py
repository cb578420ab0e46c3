"""Words of C, of libbpf's macros and of ebpflab's prelude that mean something to whoever completes a cell."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KEYWORDS = _words("""
    break case char const continue default do double else enum extern float for goto if inline int long return short
    signed sizeof static struct switch typedef union unsigned void volatile while bool true false NULL
""")
BUILTIN = frozenset(_words("void char short int long float double signed unsigned _Bool bool __int128"))
TAGS = ("struct", "union", "enum")
# What a cast may start with.
TYPE_WORDS = BUILTIN | {*TAGS, "const", "volatile"}
# Words around a declaration that say nothing about its type.
AROUND = frozenset(
    _words("""
        const volatile static extern register inline restrict __restrict __inline __inline__ auto _Atomic
        __always_inline __noinline __hidden __weak __noreturn __packed __kptr __kptr_untrusted __arena __percpu __user
        __rcu __ksym __kconfig __arg_ctx __arg_nonnull __unused __maybe_unused noinline __used
    """)
)
# What a statement starts with that is no declaration, and what is followed by a parenthesis and is no call.
STATEMENTS = frozenset(_words("return if else while do for switch case default goto break continue sizeof typeof"))
# Heads of programs that libbpf's macros write (bpf_tracing.h, usdt.bpf.h).
REGISTER_HEADS = _words("BPF_KPROBE BPF_KRETPROBE BPF_KSYSCALL BPF_UPROBE BPF_URETPROBE BPF_USDT")
HEADS = frozenset(("BPF_PROG", *REGISTER_HEADS))
# What stands in the definition of a map, and the settings that each takes (bpf_helpers.h).
MAP_SETTINGS = {
    "__uint": _words("type max_entries map_flags key_size value_size pinning numa_node map_extra"),
    "__type": ("key", "value"),
    "__array": ("values",),
    "__ulong": ("map_extra",),
}
NUMBERS = _words("u8 u16 u32 u64 s8 s16 s32 s64 __u8 __u16 __u32 __u64 __s32 __s64 __be16 __be32")
# What ebpflab's prelude adds to the kernel's own typedefs; see compile/include/ebpflab.h.
MEANINGS = {
    "ktime_t": "nanoseconds since boot, shown as a time",
    "duration_t": "nanoseconds, shown as a time span",
    "ipv4_t": "an IPv4 address in network order",
    "ipv6_t": "an IPv6 address",
    "ip_t": "an IPv4 or IPv6 address; IPv4 as ::ffff:10.0.0.1 in the bytes of struct in6_addr",
    "mac_t": "a MAC address",
    "port_t": "a port in network order",
    "errno_t": "an error number, shown by its name",
    "syscall_t": "the number of a system call, shown by its name",
    "signal_t": "the number of a signal, shown by its name",
    "kernel_stack_t": "a stack id of bpf_get_stackid(), shown as functions of the kernel",
    "user_stack_t": "a stack id of bpf_get_stackid() with BPF_F_USER_STACK, shown as functions of the process",
    "ksym_t": "an address in the kernel, shown as a symbol",
    "usym_t": "an address in a process, shown as a symbol",
}
