"""Tables of BCC's dialect are told apart by their numbers and names, whatever else of a program is called like them."""

from __future__ import annotations

import os

import bpftool
import cells
import pytest

from ebpflab.bcc import library, process
from ebpflab.errors import ToolMissingError

GETPPID = {"x86_64": 110, "aarch64": 173}.get(os.uname().machine, 173)


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


def counting(declarations, statements):
    """A program that runs for each getppid() of this process."""
    mine = f"if (bpf_get_current_pid_tgid() >> 32 != {os.getpid()} || ctx->args[1] != {GETPPID}) return 0;"
    return f"{declarations}\nRAW_TRACEPOINT_PROBE(sys_enter) {{\n    {mine}\n    {statements}\n    return 0;\n}}\n"


def test_tables_that_a_macro_declares_keep_their_numbers_beside_a_map_of_maps(load):
    declared = """
    #define T(n) BPF_HASH(n, u32, u64)
    T(zeta); T(alpha);
    BPF_ARRAY_OF_MAPS(outer, "inner", 4);
    T(mid); BPF_ARRAY(inner, u64, 4); T(last);
    BPF_HASH_OF_MAPS(behind, int, "inner", 4);
    """
    body = "u32 k = 2; zeta.increment(k); k++; alpha.increment(k); k++; mid.increment(k); k++; last.increment(k);"
    session = load(counting(declared, f"{body} int z = 1; inner.increment(z);"))
    cells.call_getppid(11)
    session.detach()
    expected = {"zeta": {2: 11}, "alpha": {3: 11}, "mid": {4: 11}, "last": {5: 11}, "inner": {0: 0, 1: 11, 2: 0, 3: 0}}
    assert {name: dict(session.maps[name]) for name in expected} == expected
    for name in ("outer", "behind"):
        assert bpftool.run("map", "show", "id", bpftool.map_id(session.maps[name].fd))["type"].endswith("_of_maps")


def test_texts_and_members_called_like_a_table_stay_as_they_are(load):
    declared = (
        "struct kv { u32 key; u32 leaf; }; struct in_t { struct kv hash1; }; BPF_HASH(hash1, u32); BPF_HASH(out, u32);"
    )
    session = load(
        counting(
            declared,
            """
            struct kv out_ = {}; { struct kv out = {}; out.key = 3; out_.key = out.key; }
            struct in_t in = {}; in.hash1.key = 5; struct in_t *p = &in;
            char text[] = "hash1.leaf"; /* hash1.leaf */
            u32 k = out_.key + p -> hash1.key; hash1.increment(k); k = sizeof(text); out.increment(k);
            """,
        )
    )
    cells.call_getppid(7)
    session.detach()
    assert dict(session.maps["hash1"]) == {8: 7}
    assert dict(session.maps["out"]) == {len("hash1.leaf") + 1: 7}


def test_a_table_with_powers_of_two_for_keys_is_no_histogram(load):
    session = load(counting("BPF_HASH(start, u64, u64);", "u64 k = bpf_log2l(77); u64 v = 9; start.update(&k, &v);"))
    cells.call_getppid(7)
    session.detach()
    assert dict(session.maps["start"]) == {7: 9}
    assert "bcc_log2_t" not in repr(session.maps["start"])


def test_the_tables_of_libbpf_itself_are_not_shown(load):
    body = "{ u64 k = 0; bpf_usdt_readarg(1, ctx, &k); c.increment(k); return 0; }"
    session = load(f"BPF_HASH(c, u64);\nint on(struct pt_regs *ctx) {body}", attach=False)
    assert list(session.maps) == ["c"]
    assert "__bpf_usdt" not in repr(session)
