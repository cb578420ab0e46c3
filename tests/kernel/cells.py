"""Cells that several tests load, and the events that they cause."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Every getppid(2) of one process: a call that nothing makes unless a test asks for it.
GETPPID = """\
struct event { ktime_t ts; u32 pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 16);
	__type(value, struct event); } events SEC(".maps");
const volatile u32 only = 0;
u64 seen = 0;
SEC("tp/syscalls/sys_enter_getppid")
int on_getppid(void *ctx)
{
	struct event *e;
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	if (only && pid != only)
		return 0;
	__sync_fetch_and_add(&seen, 1);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	e->pid = pid;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_ringbuf_submit(e, 0);
	return 0;
}
"""

# Counts calls of getppid(2) and keeps no record.
COUNTER = """\
const volatile u32 only = 0;
u64 seen = 0;
SEC("tp/syscalls/sys_enter_getppid")
int count(void *ctx)
{
	if ((bpf_get_current_pid_tgid() >> 32) == only)
		__sync_fetch_and_add(&seen, 1);
	return 0;
}
"""

# Sends what test_run asks for, in the caller's thread: what was sent is known exactly.
SENDER = """\
struct order { u32 count; u32 every; };
struct event { u64 number; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, SIZE);
	__type(value, struct event); } events SEC(".maps");
u64 sent = 0;
SEC("syscall")
int send(struct order *order)
{
	struct event *e;
	u32 i;
	for (i = 0; i < 1024; i++) {
		if (i >= order->count)
			break;
		e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
		if (e) {
			e->number = sent;
			if (order->every && i % order->every == 0)
				bpf_ringbuf_discard(e, 0);
			else
				bpf_ringbuf_submit(e, 0);
		}
		sent++;
	}
	return 0;
}
"""


def call_getppid(times):
    for _ in range(times):
        os.getppid()


def wait_until(condition, timeout=10.0):
    """Poll until the condition holds; returns its last value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return value


def keep_only_capabilities(mask):
    """Leave this thread only the capabilities of a bit mask; those that it has stay permitted to nobody."""
    # struct __user_cap_header_struct and two __user_cap_data_struct (capset(2), version 3).
    header = struct.pack("Ii", 0x20080522, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = struct.pack("6I", low, low, 0, high, high, 0)
    if ctypes.CDLL(None, use_errno=True).capset(header, data):
        raise OSError(ctypes.get_errno(), "capset")


def python(script, *arguments, **options):
    """Run a script in another interpreter that can import ebpflab."""
    defaults = {"capture_output": True, "text": True, "timeout": 60, "env": environment()}
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, check=False, **{**defaults, **options})


def environment(**more):
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}
