"""Cells in BCC's dialect that need what a stock kernel has: kprobes, by name and by regular expression.

By name: the text, and where functions go whose names do not say it. The virtual machines get them compiled.
"""

from __future__ import annotations

from collections.abc import Mapping

_EXEC = """
#include <uapi/linux/ptrace.h>
#include <linux/sched.h>
struct data_t { u32 pid; u32 ppid; int ret; char comm[16]; char path[64]; };
BPF_PERF_OUTPUT(events);
BPF_HASH(started, u32, struct data_t);
int syscall__execve(struct pt_regs *ctx, const char __user *filename)
{
    struct data_t data = {};
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 tid = bpf_get_current_pid_tgid();
    data.pid = bpf_get_current_pid_tgid() >> 32;
    data.ppid = task->real_parent->tgid;
    bpf_probe_read_user_str(data.path, sizeof(data.path), (void *)filename);
    started.update(&tid, &data);
    return 0;
}
int on_return(struct pt_regs *ctx)
{
    u32 tid = bpf_get_current_pid_tgid();
    struct data_t *data = started.lookup(&tid);
    if (!data)
        return 0;
    data->ret = PT_REGS_RC(ctx);
    bpf_get_current_comm(&data->comm, sizeof(data->comm));
    events.perf_submit(ctx, data, sizeof(*data));
    started.delete(&tid);
    return 0;
}
"""
_FILES = """
#include <linux/fs.h>
struct data_t { u32 pid; s64 bytes; u64 wanted; char name[32]; };
struct start_t { u64 wanted; char name[32]; };
BPF_RINGBUF_OUTPUT(events, 16);
BPF_HASH(started, u32, struct start_t);
int kprobe__vfs_read(struct pt_regs *ctx, struct file *file, char __user *buf, size_t count)
{
    u32 tid = bpf_get_current_pid_tgid();
    struct start_t start = { .wanted = count };
    if (file->f_path.dentry->d_name.len != 11)
        return 0;
    bpf_probe_read_kernel_str(start.name, sizeof(start.name), file->f_path.dentry->d_name.name);
    started.update(&tid, &start);
    return 0;
}
int kretprobe__vfs_read(struct pt_regs *ctx)
{
    u32 tid = bpf_get_current_pid_tgid();
    struct start_t *start = started.lookup(&tid);
    if (!start)
        return 0;
    struct data_t data = {};
    data.pid = bpf_get_current_pid_tgid() >> 32;
    data.bytes = PT_REGS_RC(ctx);
    data.wanted = start->wanted;
    __builtin_memcpy(data.name, start->name, sizeof(data.name));
    events.ringbuf_output(&data, sizeof(data), 0);
    started.delete(&tid);
    return 0;
}
"""
_CONNECT = """
#include <net/sock.h>
#include <bcc/proto.h>
struct data_t { u32 pid; u16 family; u16 dport; u32 daddr; };
BPF_PERF_OUTPUT(events);
BPF_HASH(current_socket, u32, struct sock *);
int trace_connect(struct pt_regs *ctx, struct sock *sk)
{
    u32 tid = bpf_get_current_pid_tgid();
    current_socket.update(&tid, &sk);
    return 0;
}
int trace_return(struct pt_regs *ctx)
{
    u32 tid = bpf_get_current_pid_tgid();
    struct sock **found = current_socket.lookup(&tid);
    if (!found)
        return 0;
    struct sock *sk = *found;
    struct data_t data = { .pid = bpf_get_current_pid_tgid() >> 32 };
    data.family = sk->__sk_common.skc_family;
    u16 dport = sk->__sk_common.skc_dport;
    data.dport = ntohs(dport);
    data.daddr = sk->__sk_common.skc_daddr;
    events.perf_submit(ctx, &data, sizeof(data));
    current_socket.delete(&tid);
    return 0;
}
"""
_COUNT = """
BPF_HASH(counts, u32, u64);
int count(struct pt_regs *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    counts.increment(pid);
    return 0;
}
"""
CELLS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "exec": (_EXEC, {"syscall__execve": "kprobe:__x64_sys_execve", "on_return": "kretprobe:__x64_sys_execve"}),
    "read": (_FILES, {}),
    "connect": (_CONNECT, {"trace_connect": "kprobe:tcp_v4_connect", "trace_return": "kretprobe:tcp_v4_connect"}),
    "count": (_COUNT, {"count": "kprobe:vfs_rmdir"}),
    "count returns": (_COUNT, {"count": "kretprobe:vfs_rmdir"}),
    "count many": (_COUNT, {"count": "kprobe:vfs_??dir"}),
    "count many returns": (_COUNT, {"count": "kretprobe:vfs_??dir"}),
}
