"""Lines of what BCC made of a cell, brought back to the cell: exact where a line stayed, quick where many are alike."""

from __future__ import annotations

import difflib
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.bcc import lines

COUNTERS = """\
#include <uapi/linux/ptrace.h>

struct key_t {
    u32 pid;
};

struct value_t {
    u64 bytes;
};

BPF_HASH(reads, struct key_t, struct value_t);
BPF_HASH(writes, struct key_t, struct value_t);

static struct key_t whose(void)
{
    struct key_t key = {};

    key.pid = bpf_get_current_pid_tgid() >> 32;
    return key;
}

int on_read(struct pt_regs *ctx)
{
    struct key_t key = whose();
    struct value_t zero = {}, *value = reads.lookup_or_try_init(&key, &zero);

    if (value) {
        value->bytes += PT_REGS_RC(ctx);
    }
    return 0;
}

int on_write(struct pt_regs *ctx)
{
    struct key_t key = whose();
    struct value_t zero = {}, *value = writes.lookup_or_try_init(&key, &zero);

    if (value) {
        value->bytes += PT_REGS_RC(ctx);
    }
    return 0;
}
"""


def as_bcc_does(source: str) -> tuple[str, list[int]]:
    """A text changed in the way of BCC's rewriter, and for each of its lines the one that it was made of."""
    made, origin = [], []
    old = source.split("\n")
    for number, line in enumerate(old, 1):
        if line.endswith(")") and not line.startswith((" ", "\t", "#")):
            made.append('__attribute__((section(".bpf.fn.x")))')
            origin.append(number)
        if "lookup_or_try_init(" in line:
            line = re.sub(
                r"= \w+\.lookup.*", "= ({u64 *leaf = bpf_map_lookup_elem_(bpf_pseudo_fd(1, -1)); leaf;});", line
            )
        made.append(line)
        origin.append(number)
        if line == "{":
            made.append("")
            origin.append(number)
    return "\n".join(made), origin


def test_lines_are_found_as_a_slow_comparison_of_all_finds_them() -> None:
    made, origin = as_bcc_does(COUNTERS)
    old, new = COUNTERS.split("\n"), made.split("\n")
    found = lines.align(COUNTERS, made)
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    slow = {b.b + step: b.a + step + 1 for b in blocks for step in range(b.size)}
    assert {at: found[at] for at in slow} == slow
    kept = {at: line for at, line in enumerate(origin) if new[at] == old[line - 1] and new[at]}
    assert {at: found[at] for at in kept} == kept
    calls = [at for at, line in enumerate(new) if "bpf_map_lookup_elem_" in line]
    assert [found[at] for at in calls] == [origin[at] for at in calls]


def test_the_functions_of_a_long_cell_are_found_at_once() -> None:
    body = "".join(f"static inline int f{n}(int x)\n{{\n\treturn x;\n}}\n" for n in range(701))
    made, origin = as_bcc_does(body)
    start = time.process_time()
    found = lines.align(body, made)
    assert time.process_time() - start < 0.3
    old, new = body.split("\n"), made.split("\n")
    kept = [at for at, line in enumerate(origin) if new[at] == old[line - 1]]
    assert [found[at] for at in kept] == [origin[at] for at in kept]
    assert len(kept) >= len(old)


@pytest.mark.parametrize("changed", ["\tcounts.increment({});", "\tcounts.increment(k);"])
def test_a_thousand_lines_that_all_changed_keep_their_places_about(changed: str) -> None:
    head, tail = "int f(void *ctx)\n{\n", "\treturn 0;\n}\n"
    source = head + "".join(changed.format(n) + "\n" for n in range(1009)) + tail
    made = source.replace("counts.increment(", "bpf_map_update_elem_(bpf_pseudo_fd(1, -1), ")
    start = time.process_time()
    found = lines.align(source, made)
    assert time.process_time() - start < 0.3
    assert max(abs(line - at) for at, line in enumerate(found, 1)) <= 1


@given(
    st.lists(st.sampled_from(["int a;", "}", "", "f(x);", "\tg();", "struct s {"]), max_size=40),
    st.data(),
)
def test_every_line_that_stayed_is_found_at_an_equal_one_and_the_order_is_kept(
    source: list[str], data: st.DataObject
) -> None:
    made, stayed = [], []
    for line in source:
        made += ["__attribute__((always_inline))"] * data.draw(st.integers(0, 2))
        if data.draw(st.booleans()):
            stayed.append((len(made), line))
            made.append(line)
        else:
            made.append(data.draw(st.sampled_from(["({ leaf; })", "_val; int a", "\t"])))
    found = lines.align("\n".join(source), "\n".join(made))
    assert all(source[found[at] - 1] == line for at, line in stayed)
    assert len({found[at] for at, _ in stayed}) == len(stayed)
    assert found == sorted(found)
