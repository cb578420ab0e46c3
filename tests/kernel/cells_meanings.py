"""Cells whose records carry meaning, and the C program whose stacks they see."""

from __future__ import annotations

RING = """\
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18);
	__type(value, struct event); } events SEC(".maps");
const volatile u32 only = 0;
"""

CONNECT = (
    """\
struct event { ipv4_t target; ipv6_t target6; port_t port; u16 family; };
"""
    + RING
    + """\
SEC("cgroup/connect4")
int on_connect4(struct bpf_sock_addr *ctx)
{
	struct event e = { .target = ctx->user_ip4, .port = ctx->user_port, .family = ctx->user_family };
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 1;
}
SEC("cgroup/connect6")
int on_connect6(struct bpf_sock_addr *ctx)
{
	struct event e = { .port = ctx->user_port, .family = ctx->user_family };
	__u32 address[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] };
	__builtin_memcpy(e.target6, address, sizeof(e.target6));
	bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 1;
}
"""
)

CALLS = (
    """\
struct event { syscall_t call; };
"""
    + RING
    + """\
SEC("tp/raw_syscalls/sys_enter")
int on_enter(struct tracepoint__raw_syscalls__sys_enter *ctx)
{
	struct event e = { .call = ctx->id };
	if ((bpf_get_current_pid_tgid() >> 32) == only)
		bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
"""
)

OPENS = (
    """\
struct event { errno_t error; };
"""
    + RING
    + """\
SEC("tp/syscalls/sys_exit_openat")
int on_exit(struct tracepoint__syscalls__sys_exit_openat *ctx)
{
	struct event e = { .error = ctx->ret < 0 ? ctx->ret : 0 };
	if ((u32)bpf_get_current_pid_tgid() == only)
		bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
"""
)

SIGNALS = (
    """\
struct event { signal_t signal; };
"""
    + RING
    + """\
SEC("tp/signal/signal_generate")
int on_signal(struct tracepoint__signal__signal_generate *ctx)
{
	struct event e = { .signal = ctx->sig };
	if (ctx->pid == only)
		bpf_ringbuf_output(&events, &e, sizeof(e), 0);
	return 0;
}
"""
)

# Each getppid(2) of one process, known by its number: both stacks by id, and the addresses of the kernel's once
# more by bpf_get_stack().
STACKS = (
    """\
struct event { u32 pid; kernel_stack_t kernel; user_stack_t user; u32 depth; ksym_t frames[16]; };
struct { __uint(type, BPF_MAP_TYPE_STACK_TRACE); __uint(key_size, 4); __uint(value_size, 127 * 8);
	__uint(max_entries, 1024); } traces SEC(".maps");
"""
    + RING
    + """\
const volatile u64 number = 0;
SEC("raw_tp/sys_enter")
int on_getppid(struct bpf_raw_tracepoint_args *ctx)
{
	struct event *e;
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	if (pid != only || ctx->args[1] != number)
		return 0;
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = pid;
	e->kernel = bpf_get_stackid(ctx, &traces, 0);
	e->user = bpf_get_stackid(ctx, &traces, BPF_F_USER_STACK);
	e->depth = (u32)bpf_get_stack(ctx, e->frames, sizeof(e->frames), 0) / 8;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
"""
)

# Makes its calls for a line of input, and waits for another. The system call is part of inner() itself, so that
# this is the innermost frame.
CALLER = """\
#include <stdio.h>
#include <stdlib.h>
static long inner(void)
{
	long result;
#if defined(__x86_64__)
	__asm__ volatile("syscall" : "=a"(result) : "a"(110L) : "rcx", "r11", "memory");
#else
	register long number __asm__("x8") = 173, first __asm__("x0");
	__asm__ volatile("svc 0" : "=r"(first) : "r"(number) : "memory");
	result = first;
#endif
	return result;
}
long middle(int times)
{
	long sum = 0;
	while (times--)
		sum += inner();
	return sum;
}
void outermost(int times)
{
	if (middle(times) < 0)
		abort();
}
int main(int argc, char **argv)
{
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF) {
		outermost(atoi(argv[1]));
		puts("done");
		fflush(stdout);
	}
	return 0;
}
"""
