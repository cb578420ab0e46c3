"""Fixes that a message alone does not tell: they come from the call that was refused, or from the story."""

from __future__ import annotations

import pytest

from ebpflab.verifier import explain
from ebpflab.verifier.remedies import release_of

PROCESSED = "processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"

# What Linux 5.10 says: no state behind most instructions, and records without numbers of lines.
PULLED = """; void *data = (void *)(long)skb->data;
2: (61) r6 = *(u32 *)(r1 +76)
; bpf_skb_pull_data(skb, 64);
6: (b4) w2 = 64
7: (85) call bpf_skb_pull_data#39
; return data[12];
8: (69) r1 = *(u16 *)(r6 +12)
R6 invalid mem access 'inv'
"""
SENT = """; e = bpf_ringbuf_reserve(&events, 8, 0); @ cell:3
4: (85) call bpf_ringbuf_reserve#131 ; R0=ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8) refs=2
5: (bf) r6 = r0 ; R0=ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8) R6=ringbuf_mem_or_null(id=2,ref_obj_id=2,sz=8) refs=2
; if (!e) @ cell:4
6: (15) if r6 == 0x0 goto pc+9 ; R6=ringbuf_mem(ref_obj_id=2,sz=8) refs=2
; bpf_ringbuf_submit(e, 0); @ cell:5
7: (bf) r1 = r6 ; R1=ringbuf_mem(ref_obj_id=2,sz=8) R6=ringbuf_mem(ref_obj_id=2,sz=8) refs=2
8: (b7) r2 = 0 ; R2=0 refs=2
9: (85) call bpf_ringbuf_submit#132 ;
; bpf_ringbuf_submit(e, 0); @ cell:6
10: (bf) r1 = r6 ; R1=scalar() R6=scalar()
11: (b7) r2 = 0 ; R2=0
12: (85) call bpf_ringbuf_submit#132
R1 type=scalar expected=ringbuf_mem
"""
LEAKED = """; sk = bpf_sk_lookup_tcp(skb, &t, sizeof(t.ipv4), -1, 0); @ cell:9
7: (85) call bpf_sk_lookup_tcp#84 ; R0=sock_or_null(id=2,ref_obj_id=2) refs=2
; return 0; @ cell:10
8: (b7) r0 = 0 ; R0=0 refs=2
9: (95) exit
Unreleased reference id=2 alloc_insn=7
"""
CALLED = "0: R1=ctx() R10=fp0\n; f(a, b, c); @ cell:4\n3: (85) call {}\n{}\n"


def told(log: str) -> tuple[str, str]:
    found = explain(log + PROCESSED, file="cell")
    return found.meaning, found.fix


def test_a_packet_pointer_from_before_a_call_that_moves_the_packet_is_to_be_read_again():
    meaning, fix = told(PULLED)
    assert "R6 was a pointer into the packet, until bpf_skb_pull_data()" in meaning
    assert fix == "Read data and data_end from the context again after bpf_skb_pull_data(), and compare them again."


def test_an_old_state_of_the_register_is_not_shown_behind_the_call_that_changed_it():
    state = " R1=ctx(id=0,off=0,imm=0) R6_w=pkt(id=0,off=0,r=14,imm=0) R10=fp0\n; bpf_skb_pull_data"
    found = explain(PULLED.replace("; bpf_skb_pull_data", state) + PROCESSED)
    assert found.registers == {"R1": "ctx(id=0,off=0,imm=0)", "R10": "fp0"}


def test_what_was_given_back_is_to_be_used_before_and_given_back_once():
    meaning, fix = told(SENT)
    assert "given back by bpf_ringbuf_submit()" in meaning
    assert "once" in fix
    assert "NULL" not in fix


def test_a_leak_names_the_release_of_what_was_acquired_and_the_cells_own_variable():
    assert told(LEAKED)[1] == "Give it back on every path before returning: bpf_sk_release(sk);"


@pytest.mark.parametrize(
    ("function", "message", "words"),
    [
        ("bpf_snprintf#165", "R3 type=fp expected=map_value", "static const char"),
        ("bpf_timer_init#169", "R1 type=fp expected=map_value", "bpf_map_lookup_elem"),
        ("bpf_spin_lock#93", "function calls are not allowed while holding a lock", "bpf_spin_unlock(&a->lock)"),
        ("bpf_get_smp_processor_id#8", "function calls are not allowed while holding a lock", "before taking the lock"),
        ("bpf_map_update_elem#2", "R3 invalid zero-sized read: u64=[0,0]", "bpf_ringbuf_output"),
        ("bpf_probe_read#4", "R2 invalid zero-sized read: u64=[0,31]", "if (n == 0)"),
    ],
)
def test_the_called_function_decides_where_one_message_has_several_causes(function, message, words):
    assert words in told(CALLED.format(function, message))[1]


def test_the_variable_is_the_one_that_holds_it_not_the_result_of_the_call():
    source = "err = bpf_ringbuf_reserve_dynptr(&events, 8, 0, &ptr);"
    assert release_of("bpf_ringbuf_reserve_dynptr", source) == "bpf_ringbuf_discard_dynptr(&ptr, 0);"
    assert release_of("bpf_iter_num_new", "bpf_iter_num_new(&it, 0, 10);") == "bpf_iter_num_destroy(&it);"
    assert release_of("bpf_obj_new_impl", "struct n *node = bpf_obj_new(struct n);") == "bpf_obj_drop(node);"


@pytest.mark.parametrize(
    ("function", "back"),
    [
        ("bpf_ringbuf_reserve", "bpf_ringbuf_discard(p, 0);"),
        ("bpf_ringbuf_reserve_dynptr", "bpf_ringbuf_discard_dynptr(&p, 0);"),
        ("bpf_skc_lookup_tcp", "bpf_sk_release(p);"),
        ("bpf_iter_task_vma_new", "bpf_iter_task_vma_destroy(&p);"),
        ("bpf_obj_new_impl", "bpf_obj_drop(p);"),
        ("bpf_percpu_obj_new_impl", "bpf_percpu_obj_drop(p);"),
        ("bpf_list_pop_front", "bpf_obj_drop(p);"),
        ("bpf_task_from_pid", "bpf_task_release(p);"),
        ("bpf_cgroup_ancestor", "bpf_cgroup_release(p);"),
        ("bpf_cpumask_create", "bpf_cpumask_release(p);"),
        ("bpf_crypto_ctx_create", "bpf_crypto_ctx_release(p);"),
        ("bpf_lookup_user_key", "bpf_key_put(p);"),
        ("bpf_get_task_exe_file", "bpf_put_file(p);"),
        ("bpf_skb_ct_lookup", "bpf_ct_release(p);"),
        ("bpf_map_lookup_elem", ""),
    ],
)
def test_each_function_that_acquires_has_its_own_that_releases(function, back):
    assert release_of(function) == back
