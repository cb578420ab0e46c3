"""Helpers, kfuncs and macros: what libbpf's header says of them, and since when there is each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ebpflab import tables, toolchain
from ebpflab.errors import ToolMissingError, TypeNotFoundError
from ebpflab.inspectors import helpers as module
from ebpflab.inspectors.helpers import Helper, Parameter, helper, helpers, macro, parse

EXCERPT = Path(__file__).parent / "data" / "helpers" / "bpf_helper_defs.h"
PRELUDE = Path(module.__file__).parents[1] / "compile" / "include" / "ebpflab.h"


@pytest.fixture(scope="module")
def excerpt() -> dict[str, Helper]:
    return {found.name: found for found in parse(EXCERPT.read_text())}


@pytest.fixture(scope="module")
def headers() -> Path:
    try:
        return toolchain.find_libbpf_headers() / "bpf"
    except ToolMissingError as error:
        pytest.skip(str(error))


def test_a_helper_has_its_declaration_taken_apart(excerpt: dict[str, Helper]) -> None:
    found = excerpt["bpf_map_update_elem"]
    assert found.signature == "long bpf_map_update_elem(void *map, const void *key, const void *value, __u64 flags)"
    assert (found.returns, found.number, found.first_kernel, found.kind) == ("long", 2, "3.19", "helper")
    assert found.parameters == (
        Parameter("void *", "map"),
        Parameter("const void *", "key"),
        Parameter("const void *", "value"),
        Parameter("__u64", "flags"),
    )
    assert excerpt["bpf_trace_printk"].parameters[-1] == Parameter("...", "")
    assert excerpt["bpf_jiffies64"].parameters == ()
    assert excerpt["bpf_get_current_task_btf"].signature == "struct task_struct *bpf_get_current_task_btf(void)"
    assert excerpt["bpf_get_smp_processor_id"].signature == "__u32 bpf_get_smp_processor_id(void)"


def test_paragraphs_become_lines_and_examples_stay(excerpt: dict[str, Helper]) -> None:
    found = excerpt["bpf_skb_get_tunnel_key"]
    assert found.summary == "Get tunnel metadata."
    assert "    if (key.remote_ipv4 != 0x0a000001)\n        return TC_ACT_SHOT;    // drop packet" in found.doc
    assert "the bpf_skb_set_tunnel_key() helper." in found.doc
    assert "in key->remote_ipv4 or key->remote_ipv6. Also" in found.doc
    assert "\n\nReturns\n0 on success, or a negative error in case of failure." in found.doc
    assert excerpt["bpf_trace_printk"].summary == 'This helper is a "printk()-like" facility for debugging.'
    assert "to file /sys/kernel/tracing/trace from TraceFS" in excerpt["bpf_trace_printk"].doc


def test_every_helper_of_the_installed_header_is_read(headers: Path) -> None:
    text = (headers / "bpf_helper_defs.h").read_text()
    defined = re.findall(r"\(\*\s*(?:const )?(bpf_\w+)\)\(.*\) = \(void \*\)", text)
    assert [found.name for found in helpers()] == defined
    assert len(defined) == text.count("= (void *)") > 150
    for found in helpers():
        assert found.summary, found.name
        assert not re.search(r"\*\*|\\|``", found.summary), found.summary
        assert "\n" not in found.summary
        assert found.parameters or found.signature.endswith("(void)")
    # How many lack a first kernel: none.
    assert [found.name for found in helpers() if not found.first_kernel] == []


def test_the_first_kernels_never_go_back_with_the_number() -> None:
    # A number is of the kernel's interface once it is released, so each helper came with its neighbours or later.
    kernels = [tuple(map(int, kernel.split("."))) for kernel in tables.helpers().values()]
    assert kernels == sorted(kernels)
    assert len(kernels) == 211


def test_first_kernels_are_those_that_release_notes_tell() -> None:
    known = {
        "bpf_map_lookup_elem": "3.19",
        "bpf_get_current_task": "4.8",
        "bpf_xdp_adjust_head": "4.10",
        "bpf_spin_lock": "5.1",
        "bpf_probe_read_kernel": "5.5",
        "bpf_ringbuf_output": "5.8",
        "bpf_d_path": "5.10",
        "bpf_timer_init": "5.15",
        "bpf_loop": "5.17",
        "bpf_dynptr_read": "5.19",
        "bpf_user_ringbuf_drain": "6.1",
    }
    assert {name: tables.helpers()[name] for name in known} == known


@pytest.mark.usefixtures("headers")
def test_a_name_may_leave_out_its_start_and_a_wrong_one_gets_the_nearest() -> None:
    assert helper("ktime_get_ns") is helper("bpf_ktime_get_ns")
    with pytest.raises(TypeNotFoundError, match="no BPF helper is called 'bpf_map_lokup_elem'") as caught:
        helper("bpf_map_lokup_elem")
    assert caught.value.nearest[0] == "bpf_map_lookup_elem"


def test_a_helper_that_the_header_is_too_old_for_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "bpf").mkdir()
    (tmp_path / "bpf" / "bpf_helper_defs.h").write_text(EXCERPT.read_text())
    monkeypatch.setattr(module, "find_libbpf_headers", lambda: tmp_path)
    assert len(helpers()) == 6
    with pytest.raises(TypeNotFoundError, match="older than the helper bpf_loop") as caught:
        helper("bpf_loop")
    assert "Linux 5.17" in (caught.value.hint or "")


def test_every_macro_is_defined_in_the_headers(headers: Path) -> None:
    texts = [path.read_text() for path in headers.glob("*.h")] + [PRELUDE.read_text()]
    defined = {name for text in texts for name in re.findall(r"^#\s*define\s+(\w+)", text, re.MULTILINE)}
    defined |= {"bpf_tail_call_static"}  # a function
    newer = {name for name, entry in tables.macros().items() if entry.since}
    assert set(tables.macros()) - defined <= newer
    assert len(tables.macros()) > 60


def test_macros_are_told_in_one_line() -> None:
    found = macro("bpf_for")
    assert found.signature == "bpf_for(i, start, end)"
    assert found.summary.startswith("A loop from start to end - 1")
    assert found.doc.endswith("It takes libbpf 1.3.")
    assert macro("bpf_printk").kind == "macro"
    with pytest.raises(TypeNotFoundError, match="no macro is called") as caught:
        macro("BPF_CORE_RAED")
    assert "BPF_CORE_READ" in caught.value.nearest


def test_text_and_html_say_the_same_and_json_has_it_all(excerpt: dict[str, Helper]) -> None:
    found = excerpt["bpf_map_update_elem"]
    assert repr(found).startswith("bpf_map_update_elem [helper] Linux 3.19\n  long bpf_map_update_elem(")
    assert found.summary in repr(found)
    assert "<details>" in found._repr_html_()
    for line in ("BPF_NOEXIST", "Returns", found.summary):
        assert line in repr(found)
        assert line in found._repr_html_()
    assert found.to_dict()["parameters"][3] == {"type": "__u64", "name": "flags"}
    assert set(found.to_dict()) >= {"name", "signature", "summary", "doc", "first_kernel", "number"}
