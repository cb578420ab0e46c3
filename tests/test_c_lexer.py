from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pygments.lexers import get_lexer_by_name
from pygments.token import Comment, Keyword, Name, String

from ebpflab.c_lexer import BpfLexer

CELL = """%%bpf opens --for 10s

struct event {
	ktime_t time;
	u32 pid;
};

SEC("tp/syscalls/sys_enter_openat")
int on_open(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
	return bpf_get_current_pid_tgid() >> 32;
}
"""


def kinds(text: str) -> dict[str, object]:
    return {value: kind for _, kind, value in BpfLexer().get_tokens_unprocessed(text)}


def test_the_first_line_is_a_magic_and_the_rest_is_c() -> None:
    found = kinds(CELL)
    assert found["%%bpf opens --for 10s\n"] is Comment.Preproc
    assert found["struct"] in Keyword
    assert found["int"] is Keyword.Type
    assert found["return"] in Keyword
    assert found["u32"] is Keyword.Type
    assert found["ktime_t"] is Keyword.Type
    assert found["bpf_get_current_pid_tgid"] is Name.Builtin
    assert found["SEC"] is Name.Constant
    assert found["tp/syscalls/sys_enter_openat"] in String


def test_c_without_a_magic_is_c_from_its_first_character() -> None:
    assert kinds("int x;")["int"] is Keyword.Type
    assert kinds("__u64 x = 1;")["__u64"] is Keyword.Type


def test_pygments_finds_it_by_its_name() -> None:
    assert isinstance(get_lexer_by_name("bpf"), BpfLexer)


@given(st.text(alphabet="%bpf \n\t{}();\"'/*\\#structu32SEC", max_size=80))
def test_every_character_comes_back_in_order(text: str) -> None:
    tokens = list(BpfLexer().get_tokens_unprocessed(text))
    assert "".join(value for _, _, value in tokens) == text
    at = 0
    for offset, _, value in tokens:
        assert offset == at
        at += len(value)
