"""What features() is made of, without a kernel: captured words of verifiers, symbols and made-up BTF."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab import _probes
from ebpflab.btf import Btf, Kind
from ebpflab.errors import CellError
from ebpflab.inspectors import _attach, _kfuncs, _map_types, _ways, kernel_btf
from ebpflab.inspectors import features as module
from ebpflab.inspectors.features import features
from ebpflab.program_types import PROGRAM_TYPES

# What verifiers said to `call 0; exit` in an XDP program, and then to a call of bpf_redirect_map or of
# bpf_probe_read_user: the first is for XDP programs, the second is not.
LOGS = {
    "5.10.0-46-amd64": (
        "unknown func bpf_unspec#0",
        "R1 type=ctx expected=map_ptr",
        "unknown func bpf_probe_read_user#112",
    ),
    "6.18.44": (
        "program of this type cannot use helper bpf_unspec#0",
        "R1 type=ctx expected=map_ptr",
        "program of this type cannot use helper bpf_probe_read_user#112",
    ),
}
WHOLE = "0: (85) call {call}\n{said}\nprocessed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0\n"
# Some of /proc/kallsyms of Debian's Linux 6.1.0-50-amd64, with the module nf_conntrack.
KALLSYMS = """\
ffffffff828e5cd4 r bpf_rstat_kfunc_ids
ffffffff828e5cd4 r __BTF_ID__set8__bpf_rstat_kfunc_ids
ffffffff828e5cdc r __BTF_ID__func__cgroup_rstat_updated__328534
ffffffff828e5ce4 r __BTF_ID__func__cgroup_rstat_flush__329535
ffffffff828e5cec r btf_seq_file_ids
ffffffff828e5cec r __BTF_ID__struct__seq_file__699494
ffffffff828e5cf0 r bpf_task_pt_regs_ids
ffffffff828e5cf0 r __BTF_ID__struct__pt_regs__704792
ffffffff828e5cf4 r btf_allowlist_d_path
ffffffff828e5cf4 r __BTF_ID__set__btf_allowlist_d_path
ffffffff828e5cf8 r __BTF_ID__func__security_file_permission__706941
ffffffff828e5cfc r __BTF_ID__func__security_inode_getattr__707942
ffffffff828e5d1c r __BTF_ID__struct__path__715968
ffffffff828e5d20 r key_sig_kfunc_set
ffffffff828e5d20 r __BTF_ID__set8__key_sig_kfunc_set
ffffffff828e5d28 r __BTF_ID__func__bpf_lookup_user_key__7171385
ffffffff828e5d30 r __BTF_ID__func__bpf_lookup_system_key__7181386
ffffffff828e5d38 r __BTF_ID__func__bpf_key_put__7191387
ffffffff828e5d40 r __BTF_ID__func__bpf_verify_pkcs7_signature__7201389
ffffffff828e5d48 r btf_non_sleepable_error_inject
ffffffff828e5d48 r __BTF_ID__set__btf_non_sleepable_error_inject
ffffffff828e5d4c r __BTF_ID__func____filemap_add_folio__79215111
ffffffff828e5d68 r tracing_btf_ids
ffffffff828e5d68 r __BTF_ID__set8__tracing_btf_ids
ffffffff828e5d70 r __BTF_ID__func__crash_kexec__6691754
ffffffff828e5d78 r btf_bpf_map_id
ffffffff828e5d78 r __BTF_ID__struct__bpf_map__47182
ffffffffc0333696 r btf_nf_conn_ids	[nf_conntrack]
ffffffffc0333696 r __BTF_ID__struct__nf_conn__750189	[nf_conntrack]
ffffffffc033369a r __BTF_ID__struct__nf_conn___init__751190	[nf_conntrack]
ffffffffc033369e r nf_ct_kfunc_set	[nf_conntrack]
ffffffffc033369e r __BTF_ID__set8__nf_ct_kfunc_set	[nf_conntrack]
ffffffffc03336a6 r __BTF_ID__func__bpf_xdp_ct_alloc__752478	[nf_conntrack]
ffffffffc03336ae r __BTF_ID__func__bpf_xdp_ct_lookup__753479	[nf_conntrack]
ffffffffc03336b6 r __BTF_ID__func__bpf_skb_ct_alloc__754480	[nf_conntrack]
ffffffffc0327910 t bpf_nf_ct_tuple_parse	[nf_conntrack]
ffffffffc0327a10 t _nf_conntrack_btf_struct_access	[nf_conntrack]
""".splitlines()


@pytest.mark.parametrize("release", LOGS)
def test_a_refused_helper_is_told_from_one_that_was_only_called_wrongly(release):
    refused, wrong, other = LOGS[release]
    words = _ways._refusal(_probes.Answer(22, WHOLE.format(call="bpf_unspec#0", said=refused)), _ways._NO_HELPER_NAME)
    assert words.search(WHOLE.format(call="bpf_probe_read_user#112", said=other))
    assert not words.search(WHOLE.format(call="bpf_redirect_map#51", said=wrong))


def test_a_refused_kfunc_is_told_from_one_that_was_only_called_wrongly():
    log = WHOLE.format(call="vfs_read#119873", said="calling kernel function vfs_read is not allowed")
    words = _ways._refusal(_probes.Answer(13, log), "vfs_read")
    assert words.search("calling kernel function bpf_get_file_xattr is not allowed\n")
    assert not words.search("arg#0 pointer type STRUCT sock must point to scalar, or struct with scalar\n")


def test_a_log_that_does_not_speak_of_the_call_is_no_pattern_for_refusals():
    # What Linux 5.10, which has no kfuncs, says to a call of one.
    answer = _probes.Answer(22, "BPF_CALL uses reserved fields\nprocessed 0 insns (limit 1000000)\n")
    assert _ways._refusal(answer, "vfs_read") == answer


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=60))
def test_any_words_of_refusal_are_recognised_with_another_name_in_them(words):
    line = f"never: {words} bpf_unspec#0 {words}"
    pattern = _ways._refusal(_probes.Answer(22, f"0: (85) call bpf_unspec#0\n{line}\n"), _ways._NO_HELPER_NAME)
    assert pattern.search(f"0: (85) call bpf_sys_bpf#166\n{line.replace('bpf_unspec#0', 'bpf_sys_bpf#166')}\n")
    assert not pattern.search("0: (85) call bpf_sys_bpf#166\nR1 !read_ok\n")


def test_sets_of_kfuncs_end_where_other_symbols_begin():
    members = _kfuncs.set_members(KALLSYMS)
    assert members == {
        "": [
            *("cgroup_rstat_updated", "cgroup_rstat_flush", "bpf_lookup_user_key", "bpf_lookup_system_key"),
            *("bpf_key_put", "bpf_verify_pkcs7_signature", "crash_kexec"),
        ],
        "nf_conntrack": ["bpf_xdp_ct_alloc", "bpf_xdp_ct_lookup", "bpf_skb_ct_alloc"],
    }


@given(st.lists(st.sampled_from(KALLSYMS) | st.text(max_size=40)))
def test_no_line_of_kallsyms_breaks_the_reader(lines):
    for names in _kfuncs.set_members(lines).values():
        assert all(names)


def btf_bytes(types: bytes, strings: bytes) -> bytes:
    return struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def function(name: int, proto: int) -> bytes:
    return struct.pack("=III", name, Kind.FUNC << 24 | 1, proto)


def tag(name: int, of: int) -> bytes:
    return struct.pack("=IIIi", name, Kind.DECL_TAG << 24, of, -1)


@pytest.fixture
def two_files(tmp_path, monkeypatch):
    """BTF of a kernel with two functions, one of them tagged, and of a module with as many."""
    names = b"\0bpf_kfunc\0own_kfunc\0own_function\0"
    proto = struct.pack("=III", 0, Kind.FUNC_PROTO << 24, 0)
    own = proto + function(names.index(b"own_kfunc"), 1) + function(names.index(b"own_function"), 1) + tag(1, 2)
    # The module's first type is number 5, and its first string begins where the kernel's end.
    more = b"module_kfunc\0module_function\0"
    start = len(names)
    module = function(start, 1) + function(start + more.index(b"module_function"), 1) + tag(1, 5)
    (tmp_path / "vmlinux").write_bytes(btf_bytes(own, names))
    (tmp_path / "small").write_bytes(btf_bytes(module, more))
    monkeypatch.setattr(kernel_btf, "DIRECTORY", tmp_path)
    return Btf.parse((tmp_path / "vmlinux").read_bytes())


def test_kfuncs_are_the_functions_that_btf_tags_in_the_kernel_and_in_modules(two_files):
    assert _kfuncs.kfuncs(two_files) == [("own_kfunc", 2, ""), ("module_kfunc", 5, "small")]


def test_kfuncs_without_tags_are_those_in_the_sets_of_kallsyms(two_files, tmp_path, monkeypatch):
    untagged = {path: path.read_bytes().replace(b"bpf_kfunc", b"something") for path in tmp_path.iterdir()}
    for path, data in untagged.items():
        path.write_bytes(data)
    symbols = tmp_path.parent / "kallsyms"
    symbols.write_text(
        "0000000000000000 r __BTF_ID__set8__some_ids\n"
        "0000000000000000 r some_ids\n"
        "0000000000000000 r __BTF_ID__func__own_kfunc__7\n"
        "0000000000000000 T own_function\n"
        "0000000000000000 r __BTF_ID__set8__more_ids\t[small]\n"
        "0000000000000000 r __BTF_ID__func__module_kfunc__8\t[small]\n"
        "0000000000000000 r __BTF_ID__func__no_longer_there__9\t[small]\n"
    )
    monkeypatch.setattr(_kfuncs, "_KALLSYMS", symbols)
    found = _kfuncs.kfuncs(Btf.parse((tmp_path / "vmlinux").read_bytes()))
    assert found == [("own_kfunc", 2, ""), ("module_kfunc", 5, "small")]


def test_instructions_are_those_of_the_instruction_set():
    # Documentation/bpf/standardization/instruction-set.rst; as clang and llvm-objdump write them, little-endian.
    assert _probes.RETURN_ZERO.hex(" ", 8) == "b700000000000000 9500000000000000"
    assert _probes.call_helper(211).hex(" ", 8) == "85000000d3000000 9500000000000000"
    assert _probes.call_kernel(0x12345).hex(" ", 8) == "8520000045230100 9500000000000000"
    assert _probes.call_kernel(0x12345, module=True).hex(" ", 8) == "8520010045230100 9500000000000000"


def test_the_type_information_of_an_int_is_that_of_an_int():
    btf = Btf.parse(_probes._BTF_OF_INT)
    (only,) = btf
    assert (only.kind, only.name, only.size, only.bits, only.signed) == (Kind.INT, "int", 4, 32, True)


def test_a_map_can_be_made_of_every_type_that_is_known_to_exist():
    assert {name for _, name, _ in module._later(module._LATER_MAPS)} <= set(_map_types.SHAPES)


def test_the_table_of_program_types_needs_only_features_that_there_are():
    needed = {feature for row in PROGRAM_TYPES for feature in row.features}
    assert needed <= set(_attach._FEATURES)


@pytest.mark.parametrize(
    ("kind", "hint"), [("map_type", "map type"), ("helpers", "helper"), ("nonsense", "program type, map type")]
)
def test_an_unknown_kind_of_feature_is_answered_with_those_that_there_are(kind, hint):
    with pytest.raises(CellError, match=kind) as caught:
        features(kind=kind)
    assert hint in caught.value.hint


def test_a_bad_expression_is_refused_before_the_kernel_is_asked():
    with pytest.raises(CellError, match="not a regular expression"):
        features("/(/")
