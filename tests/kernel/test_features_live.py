"""features() on the running kernel, beside bpftool, the kernel's own files, and programs that really load."""

from __future__ import annotations

import ctypes
import functools
import gzip
import json
import os
import re
import shutil
import struct
import subprocess
import time
from pathlib import Path

import cells
import kernel_has
import pytest

from ebpflab.errors import CellError, KernelSupportError, LoadError
from ebpflab.inspectors.features import features

CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF = 12, 21, 38, 39
BTF = Path("/sys/kernel/btf/vmlinux")

# Programs whose types bpftool 7.1 gets wrong or does not know: each is loaded by libbpf, as a user would.
TYPES = {
    "tracing": 'SEC("tp_btf/sched_switch") int p(void *ctx) { return 0; }',
    "netfilter": 'SEC("netfilter") int p(struct bpf_nf_ctx *ctx) { return 1; }',
    "ext": None,  # takes a program to replace
    "lsm": 'SEC("lsm/file_open") int p(void *ctx) { return 0; }',
}
MAP = """\
struct {{ __uint(type, BPF_MAP_TYPE_{name}); {rest} }} m SEC(".maps");
SEC("raw_tp/sys_enter") int p(void *ctx) {{ return 0; }}
"""
MAPS = {
    "cgrp_storage": "__uint(map_flags, 1); __type(key, int); __type(value, long);",
    "arena": "__uint(map_flags, 1 << 10); __uint(max_entries, 1); __uint(map_extra, 1 << 30);",
    "insn_array": "__uint(max_entries, 1); __uint(key_size, 4); __uint(value_size, 16);",
    "rhash": "__uint(map_flags, 1); __uint(max_entries, 1); __type(key, int); __type(value, long);",
}

# A call that is right in every detail, so that only the type of program decides: the type, the call, the program.
# Kernels before 6.1 have no struct bpf_dynptr; libbpf leaves out what follows three underscores.
DYNPTR = """\
struct bpf_dynptr___own { u64 words[2]; };
extern int bpf_dynptr_from_xdp(struct xdp_md *, u64, struct bpf_dynptr___own *) __ksym;
#define TRY(context) ({ struct bpf_dynptr___own d; bpf_dynptr_from_xdp(context, 0, &d); })
"""
CALLS = [
    ("xdp", "bpf_xdp_adjust_head", 'SEC("xdp") int p(struct xdp_md *c) { bpf_xdp_adjust_head(c, 0); return 2; }'),
    ("xdp", "bpf_skb_pull_data", 'SEC("xdp") int p(void *c) { bpf_skb_pull_data(c, 0); return 2; }'),
    ("sched_cls", "bpf_skb_pull_data", 'SEC("tc") int p(struct __sk_buff *c) { return bpf_skb_pull_data(c, 0); }'),
    ("xdp", "bpf_get_retval", 'SEC("xdp") int p(void *c) { bpf_get_retval(); return 2; }'),
    ("cgroup_sockopt", "bpf_get_retval", 'SEC("cgroup/getsockopt") int p(void *c) { bpf_get_retval(); return 1; }'),
    ("xdp", "bpf_dynptr_from_xdp", DYNPTR + 'SEC("xdp") int p(void *c) { TRY(c); return 2; }'),
    ("sched_cls", "bpf_dynptr_from_xdp", DYNPTR + 'SEC("tc") int p(void *c) { TRY(c); return 0; }'),
]


@pytest.fixture(scope="module")
def everything():
    return features()


@pytest.fixture(scope="module")
def bpftool():
    found = shutil.which("bpftool", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip("bpftool is not installed")
    return lambda *words: json.loads(
        subprocess.run([found, "-j", *words], check=True, capture_output=True, timeout=60).stdout
    )


@pytest.fixture(scope="module")
def probed(bpftool):
    # "full" is for helpers that print a warning into the kernel's log when they are only probed.
    return bpftool("feature", "probe", "kernel", "full")


@pytest.fixture(scope="module")
def kernel_types(bpftool):
    return bpftool("btf", "dump", "file", str(BTF))["types"]


def answers(frame, kind):
    chosen = frame[frame["kind"] == kind]
    return dict(zip(chosen["name"], chosen["available"], strict=True))


def in_kernel(probed, group, ending):
    return {name.removeprefix("have_").removesuffix(ending): there for name, there in probed[group].items()}


def loads(load, source):
    # libbpf and clang are the judges: whether the kernel takes the program.
    try:
        load(source, attach=False)
    except (LoadError, KernelSupportError):
        return False
    return True


def disagreements(ours, theirs):
    said = {"yes": True, "no": False, "unknown": None}
    return {name for name, answer in ours.items() if said[answer] is not theirs.get(name, False)}


def test_every_feature_has_one_row_and_one_of_three_answers(everything):
    assert list(everything.columns) == ["kind", "name", "number", "available", "why"]
    assert list(everything["available"].cat.categories) == ["yes", "no", "unknown"]
    assert not everything["available"].isna().any()
    assert not everything.duplicated(["kind", "name"]).any()
    assert not everything.duplicated(["kind", "number"])[everything["number"].notna()].any()
    assert everything["kind"].unique().tolist() == ["program type", "map type", "helper", "kfunc", "attach"]


def test_program_types_are_those_that_bpftool_finds(everything, probed, load):
    ours = answers(everything, "program type")
    theirs = in_kernel(probed, "program_types", "_prog_type")
    assert set(theirs) <= set(ours)
    # bpftool 7.1 is older than netfilter programs, and asks for a kind of tracing program that takes a trampoline.
    different = disagreements(ours, theirs)
    assert different <= {"netfilter", "tracing"}
    for name in different:
        assert ours[name] == "yes"
        assert loads(load, TYPES[name])


def test_a_program_type_that_is_not_there_cannot_be_loaded_by_libbpf_either(everything, load):
    ours = answers(everything, "program type")
    there = {name: loads(load, source) for name, source in TYPES.items() if source}
    assert {name: ours[name] == "yes" for name in there} == there


def test_map_types_are_those_that_bpftool_finds(everything, probed, load):
    ours = answers(everything, "map type")
    theirs = in_kernel(probed, "map_types", "_map_type")
    assert set(theirs) <= set(ours)
    # bpftool 7.1 is older than these.
    different = disagreements(ours, theirs)
    assert different <= set(MAPS)
    for name in different:
        assert ours[name] == "yes"
        assert loads(load, MAP.format(name=name.upper(), rest=MAPS[name]))


def test_numbers_and_names_are_those_of_bpftools_view_of_the_enums(everything, kernel_types):
    enums = {t["name"]: t["values"] for t in kernel_types if t["kind"] == "ENUM" and t["name"].startswith("bpf_")}
    for kind, enum, prefix, ours in (
        ("program type", "bpf_prog_type", "BPF_PROG_TYPE_", ""),
        ("map type", "bpf_map_type", "BPF_MAP_TYPE_", ""),
        ("helper", "bpf_func_id", "BPF_FUNC_", "bpf_"),
    ):
        pairs = {ours + v["name"].removeprefix(prefix).lower(): v["val"] for v in enums[enum]}
        rows = everything[everything["kind"] == kind]
        known = {n: v for n, v in zip(rows["name"], rows["number"], strict=True) if n in pairs}
        assert known == {n: pairs[n] for n in known}
        left_out = {n for n in pairs if n not in known}
        assert {n for n in left_out if not re.search(r"unspec$|^(bpf_)?__|_deprecated$", n)} == set()
        absent = rows[~rows["name"].isin(pairs)]
        assert absent["available"].tolist() == ["no"] * len(absent)


# bpftool asks one kind of program of each type: none that may sleep, and no setsockopt. It is older than the rest.
BEYOND_BPFTOOL = {
    "kprobe": {"bpf_copy_from_user", "bpf_copy_from_user_task"},
    "cgroup_sockopt": {"bpf_getsockopt", "bpf_setsockopt"},
}
TOO_NEW = {"bpf_cgrp_storage_get", "bpf_cgrp_storage_delete"}


class LoadOptions(ctypes.Structure):
    # struct bpf_prog_load_opts of libbpf 1.x (bpf/bpf.h).
    _fields_ = [
        ("sz", ctypes.c_size_t),
        *((name, ctypes.c_uint32) for name in ["attempts", "attach_type", "btf_fd", "flags", "ifindex", "version"]),
        *((name, ctypes.c_uint32) for name in ["attach_btf_id", "attach_prog_fd", "attach_btf_obj_fd"]),
        *((name, ctypes.c_void_p) for name in ("fd_array", "func_info")),
        *((name, ctypes.c_uint32) for name in ("func_info_cnt", "func_info_rec_size")),
        ("line_info", ctypes.c_void_p),
        *((name, ctypes.c_uint32) for name in ("line_info_cnt", "line_info_rec_size", "log_level", "log_size")),
        ("log_buf", ctypes.c_char_p),
    ]


# Types whose programs have to be loaded for a place: enum bpf_attach_type in include/uapi/linux/bpf.h.
PLACES = {"cgroup_sock_addr": 10, "cgroup_sockopt": 21, "sk_lookup": 36}
# How verifiers refuse a helper: the first is all that bpftool 7.1 looks for, with "invalid func ".
OLD_WORDS, NEW_WORDS = "unknown func ", "program of this type cannot use helper "


def verifier_log(program_type, number, helper):
    """What the verifier says to a program of one call."""
    library = ctypes.CDLL("libbpf.so.1")
    log = ctypes.create_string_buffer(8192)
    code = struct.pack("=BBhi", 0x85, 0, 0, helper) + bytes.fromhex("9500000000000000")
    options = LoadOptions(sz=ctypes.sizeof(LoadOptions), attach_type=PLACES.get(program_type, 0), log_level=1)
    options.log_buf, options.log_size = ctypes.cast(log, ctypes.c_char_p), len(log)
    options.flags = 1 << 4 if program_type == "syscall" else 0  # BPF_F_SLEEPABLE
    fd = library.bpf_prog_load(number, None, b"GPL", code, ctypes.c_size_t(2), ctypes.byref(options))
    if fd >= 0:
        os.close(fd)
    return log.value.decode()


def test_helpers_of_each_type_are_those_that_bpftool_finds(everything, probed):
    judged = {t.removesuffix("_available_helpers"): set(found) for t, found in probed["helpers"].items() if found}
    types = everything[everything["kind"] == "program type"].set_index("name")["number"].to_dict()
    helpers = everything[everything["kind"] == "helper"].set_index("name")["number"].to_dict()
    if NEW_WORDS in verifier_log("xdp", types["xdp"], 0):
        # bpftool 7.1 takes these words for a yes, and lets every type of program call every helper it knows.
        assert len({frozenset(found) for found in judged.values()}) == 1
        judged = {
            name: {h for h, n in helpers.items() if NEW_WORDS not in verifier_log(name, types[name], n)}
            for name in judged
        }
    else:
        assert OLD_WORDS in verifier_log("xdp", types["xdp"], 0)
    for name, theirs in judged.items():
        ours = answers(features(kind="helper", program_type=name), "helper")
        assert set(ours.values()) == {"yes", "no"}
        callable_here = {helper for helper, answer in ours.items() if answer == "yes"}
        assert (name, theirs - callable_here) == (name, set())
        assert (name, callable_here - theirs - BEYOND_BPFTOOL.get(name, set()) - TOO_NEW) == (name, set())


@pytest.mark.parametrize(("program_type", "name", "source"), CALLS, ids=[f"{c[1]}-in-{c[0]}" for c in CALLS])
def test_a_call_is_allowed_where_a_program_that_makes_it_loads(program_type, name, source, load):
    frame = features(name, program_type=program_type)
    frame = frame[frame["name"] == name]
    answer = frame["available"].item() if len(frame) else "no"  # a helper or kfunc that is newer than the kernel
    assert answer == ("yes" if loads(load, source) else "no")


def test_kfuncs_are_those_that_the_kernel_and_its_modules_mark(everything, bpftool, kernel_types):
    others = [path for path in BTF.parent.iterdir() if path != BTF]
    marked = set()
    for types in [kernel_types, *(bpftool("-B", str(BTF), "btf", "dump", "file", str(p))["types"] for p in others)]:
        by_id = {t["id"]: t["name"] for t in types}
        tagged = [t["type_id"] for t in types if t["kind"] == "DECL_TAG" and t["name"] == "bpf_kfunc"]
        marked |= {by_id[number] for number in tagged}
    if not marked:
        listed = re.findall(r"__BTF_ID__(set8|set|func|\w+?)__(\w+)", Path("/proc/kallsyms").read_text())
        marked = members_of_sets(listed)
    assert set(answers(everything, "kfunc")) - {"*"} == marked


def members_of_sets(listed):
    # Sets of kfuncs hold nothing but functions, and stand together in the kernel's image.
    found, inside = set(), False
    for sort, name in listed:
        if sort == "func" and inside:
            found.add(re.sub(r"__\d+$", "", name))
        elif sort != "func":
            inside = sort == "set8"
    return found


@pytest.mark.parametrize("name", ["kprobe", "uprobe", "kprobe.multi", "uprobe.multi", "netkit", "lsm", "trampoline"])
def test_ways_to_attach_are_those_of_the_kernels_symbols(name, everything):
    kind = "fentry" if name == "trampoline" else name
    reason = kernel_has.absent(kind)
    row = everything[(everything["kind"] == "attach") & (everything["name"] == name)]
    assert (row["available"].item(), bool(row["why"].item())) == ("yes" if reason is None else "no", reason is not None)


def build_options():
    release = os.uname().release
    packed, stock = Path("/proc/config.gz"), cells.ROOT.glob(f"build/vm/kernels/*/tree/boot/config-{release}")
    places = (Path(f"/boot/config-{release}"), Path(f"/lib/modules/{release}/config"), *stock)
    plain = [path for path in places if path.exists()]
    text = gzip.decompress(packed.read_bytes()).decode() if packed.exists() else plain[0].read_text()
    return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))


def test_an_option_that_is_blamed_is_not_set(everything):
    options = build_options()
    blamed = {option for why in everything["why"] for option in re.findall(r"CONFIG_\w+", why)}
    assert "CONFIG_BPF" in options
    assert blamed & set(options) == set()


def test_no_descriptor_of_a_program_a_map_or_type_information_stays_open():
    def held():
        return sorted(str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())

    features("ringbuf")
    before = held()
    features()
    assert held() == before


def test_a_pattern_chooses_by_name_and_a_kind_by_kind(everything):
    rings = features("ringbuf", kind="map type")
    assert rings[["name", "number"]].to_numpy().tolist() == [["ringbuf", 27], ["user_ringbuf", 31]]
    assert features("*_ringbuf")["name"].tolist() == ["user_ringbuf"]
    assert features("no such feature").empty
    xdp = everything[(everything["kind"] == "helper") & everything["name"].str.contains("xdp")]
    assert features("xdp", kind="helper")["available"].tolist() == xdp["available"].tolist()


def test_a_type_of_program_has_its_own_row_and_nothing_that_does_not_depend_on_it():
    frame = features(program_type="xdp")
    assert frame["kind"].unique().tolist() == ["program type", "helper", "kfunc"]
    assert frame[frame["kind"] == "program type"]["name"].tolist() == ["xdp"]
    assert features("xdp", program_type="BPF_PROG_TYPE_XDP").equals(features("xdp", program_type="xdp"))


def test_a_type_of_program_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(CellError, match="shed_cls") as caught:
        features(program_type="shed_cls")
    assert "sched_cls" in caught.value.hint


SOME = "/xdp|probe|ring|hash|cgroup|write_user/"


@functools.cache
def with_capabilities(*kept):
    """What another process finds of some features that has only these capabilities."""
    mask = sum(1 << number for number in kept)
    done = cells.python(
        f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import cells
        from ebpflab.inspectors.features import features
        features("none")
        cells.keep_only_capabilities({mask})
        print(features({SOME!r}).to_json(orient="values"))
        """,
        timeout=300,  # under emulation, importing pandas alone takes half a minute
    )
    assert done.returncode == 0, done.stderr
    return {(kind, name): (answer, why) for kind, name, _, answer, why in json.loads(done.stdout)}


@pytest.mark.parametrize("kept", [(), (CAP_BPF,), (CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN)], ids=["none", "bpf", "most"])
def test_whoever_lacks_a_capability_is_never_told_no_for_that(kept, everything):
    chosen = everything[everything["name"].str.contains(SOME.strip("/"))]
    whole = {(row.kind, row.name): row.available for row in chosen.itertuples()}
    found = with_capabilities(*kept)
    assert set(found) == set(whole)
    changed = {key: answer for key, (answer, _) in found.items() if answer != whole[key]}
    assert set(changed.values()) <= {"unknown"}
    assert all(why for answer, why in found.values() if answer == "unknown")


def test_a_process_is_told_which_capability_is_in_the_way():
    found = with_capabilities(CAP_BPF)
    assert found["map type", "hash"] == ("yes", "")
    for key, missing in {
        ("program type", "xdp"): "CAP_NET_ADMIN",
        ("program type", "kprobe"): "CAP_PERFMON",
        ("map type", "xskmap"): "CAP_NET_ADMIN",
        ("helper", "bpf_xdp_adjust_head"): "CAP_",
        ("kfunc", "bpf_dynptr_from_xdp"): "CAP_",
    }.items():
        if key in found:
            answer, why = found[key]
            assert answer == "unknown"
            assert missing in why


def test_everything_is_found_in_less_than_a_second_and_a_half_of_processor_time():
    budget = 120 if "EBPFLAB_VM" in os.environ else 1.5  # an emulated processor is 20 to 40 times slower
    features("none")
    before = time.process_time()
    features()
    assert time.process_time() - before < budget
