"""Names of hooks on the running kernel, held against /proc, libbpf, ip(8), readelf(1) and find(1)."""

from __future__ import annotations

import ctypes
import os
import random
import re
import shutil
import socket
import statistics
import subprocess
import time
from pathlib import Path

import cells
import kernel_has
import pytest

import ebpflab
from ebpflab.errors import LoadError
from ebpflab.inspectors import binaries, cgroups, functions, network
from ebpflab.inspectors.facilities import facility
from ebpflab.inspectors.search import explain_missing
from ebpflab.program_types import BY_KIND

TRACEFS = Path("/sys/kernel/tracing")
_FENTRY, _LSM_MAC = 24, 27  # enum bpf_attach_type


def btf_id(name, attach_type):
    library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    library.libbpf_set_print(None)
    library.libbpf_find_vmlinux_btf_id.argtypes = (ctypes.c_char_p, ctypes.c_int)
    return library.libbpf_find_vmlinux_btf_id(name.encode(), attach_type)


@pytest.mark.parametrize("kind", BY_KIND)
def test_what_hooks_says_that_a_kernel_has_is_what_it_has(kind):
    absent = kernel_has.absent(kind)
    assert bool(facility(kind)) == (absent is not None), (facility(kind), absent)


def test_functions_are_the_code_of_kallsyms():
    lines = [line.split() for line in Path("/proc/kallsyms").read_text().splitlines()]
    code = {fields[2] for fields in lines if fields[1] in "tTwW" and fields[3:] not in (["[bpf]"],)}
    found = functions.functions()
    assert found <= code
    odd = re.compile(r"__pfx_|__cfi_|.*\.cold$|.*\$|__kstub")
    assert {name for name in code - found if not odd.match(name)} <= {
        fields[2] for fields in lines if fields[3:] and fields[3].startswith(("[__builtin", "[bpf"))
    }


def test_functions_that_can_be_traced_are_those_of_ftrace():
    try:
        lines = (TRACEFS / "available_filter_functions").read_text().splitlines()
    except PermissionError:
        assert functions.traceable() is None
        return
    named = {line.split()[0] for line in lines if "__ftrace_invalid_address__" not in line}
    assert functions.traceable() == named


def test_functions_with_types_are_those_that_libbpf_finds():
    for name in random.Random(23).sample(sorted(functions.typed()), 23):
        if name in functions.kernel_btf.functions():
            assert btf_id(name, _FENTRY) > 0 or explain_missing("fentry", name) is None
    assert btf_id("vfs_read", _FENTRY) > 0
    assert btf_id("vfs_reeed", _FENTRY) < 0
    assert explain_missing("kprobe", "vfs_read") is None
    assert explain_missing("kprobe", "vfs_reeed") is not None


def test_lsm_hooks_are_those_that_libbpf_finds():
    hooks = functions.lsm_hooks()
    assert len(hooks) > 200
    for name in hooks:
        assert btf_id(name, _LSM_MAC) > 0
    for name in ("verify_prog", "init", "is_sleepable_hook", "file_opn"):
        assert name not in hooks


def test_system_calls_include_every_one_that_has_a_tracepoint():
    traced = {path.name.removeprefix("sys_enter_") for path in (TRACEFS / "events/syscalls").glob("sys_enter_*")}
    assert len(traced) > 200
    assert traced <= functions.system_calls()


def test_structs_to_implement_include_tcps_congestion_control():
    assert "tcp_congestion_ops" in functions.struct_ops()
    assert not functions.struct_ops() & {"value", "map", "link", "desc", "state"}


def test_hooks_shows_of_a_kind_what_there_is_and_whether_it_can_be_used():
    frame = ebpflab.hooks("vfs_read", kind="kprobe")
    assert "vfs_read" in set(frame["name"])
    assert frame["section"].tolist() == [f"kprobe/{name}" for name in frame["name"]]
    assert set(frame["available"]) == {kernel_has.absent("kprobe") is None}
    if kernel_has.absent("kprobe"):
        assert set(frame["why"]) == {"this kernel was built without kprobes (CONFIG_KPROBES)"}


def test_hooks_names_every_kind_in_the_order_of_the_table():
    frame = ebpflab.hooks("openat")
    found = list(dict.fromkeys(frame["kind"]))
    assert found == [kind for kind in BY_KIND if kind in found]
    assert {"tracepoint", "kprobe", "ksyscall", "fentry"} <= set(found)


def test_a_second_search_takes_no_longer_than_reading_the_symbols_a_few_times():
    def seconds(action):
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    ebpflab.hooks("openat")  # reads what cannot change while the kernel runs
    reading = statistics.median(seconds(Path("/proc/kallsyms").read_bytes) for _ in range(5))
    searching = statistics.median(seconds(lambda: ebpflab.hooks("openat")) for _ in range(5))
    assert searching < 4 * reading


def test_interfaces_are_those_of_the_namespace_that_the_thread_is_in(wire):
    assert set(network.interfaces()) == {name for _, name in socket.if_nameindex()}
    assert set(ebpflab.hooks(kind="xdp")["name"]) == {"lo", wire.near_interface}
    assert explain_missing("xdp", wire.near_interface) is None
    error = explain_missing("tc", "naer0")
    assert error.nearest == (wire.near_interface,)
    with wire.far.inside():
        assert explain_missing("tc", wire.near_interface) is not None
        assert set(ebpflab.hooks(kind="tc")["name"]) == {"lo", wire.far_interface}


def test_namespaces_are_those_that_ip_lists():
    ip = shutil.which("ip", path=f"{os.environ['PATH']}:/usr/sbin")
    name = f"ebpflab-{os.getpid()}"
    subprocess.run([ip, "netns", "add", name], check=True, timeout=60)
    try:
        listed = subprocess.run([ip, "netns"], check=True, capture_output=True, text=True, timeout=60).stdout
        assert set(network.namespaces()) == {line.split()[0] for line in listed.splitlines()}
        assert explain_missing("sk_lookup", name) is None
        assert explain_missing("flow_dissector", f"{name}x").nearest[0] == name
        assert name in set(ebpflab.hooks(kind="sk_lookup")["name"])
    finally:
        subprocess.run([ip, "netns", "del", name], check=True, timeout=60)


def test_cgroups_are_the_directories_of_cgroup2(group):
    mount = cgroups.cgroup2_mount()
    found = subprocess.run(["find", mount, "-type", "d"], check=True, capture_output=True, text=True, timeout=60)
    expected = {f"/{Path(line).relative_to(mount)}".replace("/.", "/") for line in found.stdout.splitlines()}
    assert len(expected & set(cgroups.cgroups())) >= len(expected) - 5  # other tests make and remove some meanwhile
    path = Path(group.path)
    assert explain_missing("cgroup_device", str(path)) is None
    assert explain_missing("cgroup_device", f"/{path.relative_to(mount)}") is None
    assert explain_missing("cgroup_device", f"{path}x").nearest[0] == f"/{path.relative_to(mount)}"


def test_probes_of_a_library_are_those_that_readelf_shows():
    path = binaries.resolve_binary("libstdc++.so.6")
    readelf = shutil.which("readelf")
    if path is None or readelf is None:
        pytest.skip("there is no libstdc++.so.6, or no readelf to ask (binutils)")
    text = subprocess.run([readelf, "-nW", path], check=True, capture_output=True, text=True, timeout=60).stdout
    pairs = re.findall(r"Provider: (\S+)\s+Name: (\S+)", text)
    assert binaries.usdt_names(path) == {f"{provider}:{name}" for provider, name in pairs}
    assert "libstdcxx:throw" in binaries.usdt_names(path)


def test_sockets_of_another_process_are_told_from_its_files():
    script = "import socket, sys; s = socket.socket(); print(s.fileno(), flush=True); sys.stdin.read()"
    command = ["python3", "-c", script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        number = child.stdout.readline().strip()
        assert explain_missing("sk_reuseport", f"pid:{child.pid}:{number}") is None
        error = explain_missing("sk_reuseport", f"pid:{child.pid}:1")
        assert "is no socket" in error.what
        assert number in error.hint
        child.stdin.close()
    assert f"no process {child.pid}" in explain_missing("socket_filter", f"pid:{child.pid}:{number}").what


def test_a_user_without_privileges_is_told_the_nearest_names_all_the_same():
    script = """
        import os, ebpflab
        from ebpflab.inspectors.search import explain_missing
        from ebpflab.inspectors.facilities import facility
        import difflib, pandas
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        print(explain_missing("kprobe", "vfs_reed").nearest[0])
        print(explain_missing("lsm", "file_opn").nearest[0])
        print(explain_missing("xdp", "loo").nearest[0])
        print(facility("fentry") or "nothing can be seen")
    """
    done = cells.python(script, cwd="/", timeout=200)
    assert done.stderr == ""
    *names, said = done.stdout.splitlines()
    assert names == ["vfs_read", "file_open", "lo"]
    assert said == "nothing can be seen" or kernel_has.absent("fentry")


def test_a_kernel_function_that_is_declared_with_other_parameters_is_not_called_missing():
    wrong = "extern bool bpf_cpumask_empty(int a, int b, int c) __ksym;"
    body = 'SEC("tp_btf/sched_switch") int h(void *ctx) { return bpf_cpumask_empty(1, 2, 3); }'
    with pytest.raises(LoadError) as caught:
        ebpflab.load(f"{wrong}\n{body}", attach=False)
    if b"bpf_cpumask_empty" in Path("/sys/kernel/btf/vmlinux").read_bytes():
        assert caught.value.what == "the cell declares bpf_cpumask_empty with other types than this kernel has it with"
        assert "shows bpf_cpumask_empty as it is" in caught.value.hint
    else:
        assert "no symbol of that name" in caught.value.hint


def test_what_libbpf_says_is_heard_though_another_user_of_it_in_this_process_turned_its_messages_off():
    for _ in range(2):
        with pytest.raises(LoadError) as caught:
            ebpflab.load('extern int no_such_thing __ksym; SEC("xdp") int f(void *c) { return no_such_thing; }')
        assert "no_such_thing" in caught.value.what
        ctypes.CDLL("libbpf.so.1").libbpf_set_print(None)
