"""The types of what cells in BCC's dialect send, and of what their functions take."""

from __future__ import annotations

import os

import cells
import pytest

import ebpflab
from ebpflab.bcc import library, process
from ebpflab.errors import CellError, DecodeError, ToolMissingError

GETPPID = {"x86_64": 110, "aarch64": 173}.get(os.uname().machine, 173)
HEAD = """
struct a_t { u32 x, y; };
struct b_t { u64 z; };
struct key_t { u32 dev; u32 major; };
BPF_HASH(devices, struct key_t);
"""
# A raw tracepoint: of a tracepoint's perf events the kernel takes 64, and neighbours may have them.
TRACED = """
RAW_TRACEPOINT_PROBE(sys_enter) {{
    if (bpf_get_current_pid_tgid() >> 32 != {pid} || ctx->args[1] != {number}) return 0;
    struct key_t key = {{1, 2}}; devices.increment(key);
    {statements}
    return 0;
}}
"""
BUFFERS = {"perf": "BPF_PERF_OUTPUT(events);", "ring": "BPF_RINGBUF_OUTPUT(events, 8);"}
Z = 0x1111_2222_3333_4444
SENT = {"perf": "events.perf_submit(ctx, {0}, {1});", "ring": "events.ringbuf_output({0}, {1}, 0);"}


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


def sending(buffer, statements, before=""):
    """A program that sends at each getppid() of this process."""
    traced = TRACED.format(pid=os.getpid(), number=GETPPID, statements=statements)
    return f"{HEAD}{BUFFERS[buffer]}\n{before}{traced}"


def received(load, source, count=7, **options):
    """What the records of `count` getppid() are."""
    session = load(source, **options)
    cells.call_getppid(count)
    assert session.events.wait(count, timeout=5)
    session.detach()
    return session.events


MISLEADING = {
    "another function": "int other(struct pt_regs *ctx) { struct a_t e = {}; return e.x; }\n",
    "a parameter": "static inline int helper(struct a_t e) { return e.x; }\n",
    "a comment": "/* struct a_t e; */ // and struct a_t e,\n",
    "a string": 'static const char *told = "struct a_t e;";\n',
}


@pytest.mark.parametrize("buffer", BUFFERS)
def test_a_record_has_the_type_of_what_was_sent_whatever_else_has_its_name(load, buffer):
    sent = SENT[buffer].format("&e", "sizeof(e)")
    body = f"struct b_t f = {{}}, e = {{}}; e.z = {Z}; // fill the struct a_t e, which\n    {sent}"
    events = received(load, sending(buffer, body, "".join(MISLEADING.values())))
    assert events.types.by == "definition"
    assert events.df()["z"].tolist() == [Z] * 7
    assert events.df().columns.tolist() == ["z"]


def test_what_is_reserved_by_the_size_of_what_points_to_it_is_of_its_type(load):
    body = f"struct b_t *e = events.ringbuf_reserve(sizeof(*e)); if (!e) return 0; e->z = {Z};"
    assert received(load, sending("ring", f"{body} events.ringbuf_submit(e, 0);")).df()["z"].tolist() == [Z] * 7


@pytest.mark.parametrize("buffer", BUFFERS)
@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        (f"u64 e = {Z};", Z),
        ("s32 e = -11;", -11),
        ('char e[16] = "prime";', "prime"),
        ("struct { s64 value; } e = {-13};", -13),
    ],
)
def test_a_record_that_is_no_struct_of_the_cell_is_one_column(load, buffer, declared, expected):
    events = received(load, sending(buffer, f"{declared} {SENT[buffer].format('&e', 'sizeof(e)')}"))
    assert events.df()["value"].tolist() == [expected] * 7
    assert events.df().columns.tolist() == ["value"]


def test_the_struct_may_stand_in_a_header_and_behind_a_cast(load, tmp_path, monkeypatch):
    (tmp_path / "records.h").write_text("struct sent_t { u32 first; u32 second; };\n")
    monkeypatch.chdir(tmp_path)
    body = "struct sent_t e = {3, 5}; events.perf_submit(ctx, (void *)&e, sizeof(e));"
    events = received(load, sending("perf", body, '#include "records.h"\n'))
    assert events.df().drop_duplicates().values.tolist() == [[3, 5]]
    assert len(events.df()) == 7


def test_what_has_no_type_is_not_guessed_and_may_be_told(load):
    helper = "static inline void send(void *ctx, void *data) { events.perf_submit(ctx, data, 8); }\n"
    source = sending("perf", f"struct b_t e = {{}}; e.z = {Z}; send(ctx, &e);", helper)
    with pytest.raises(DecodeError, match="events holds records of") as caught:
        received(load, source).df()
    assert "--event events=STRUCT" in caught.value.hint
    assert received(load, source, events={"events": "b_t"}).df()["z"].tolist() == [Z] * 7


def test_of_two_types_of_one_size_none_is_guessed(load):
    body = "struct a_t a = {1, 2}; struct b_t data = {3}; events.ringbuf_output(&a, sizeof(a), 0);"
    with pytest.raises(DecodeError, match="struct a_t and struct b_t all have 8 bytes"):
        received(load, sending("ring", f"{body} events.ringbuf_output(&data, sizeof(data), 0);")).df()


def test_two_types_of_different_sizes_are_told_apart(load):
    body = "struct a_t a = {1, 2}; u32 number = 3; events.ringbuf_output(&a, sizeof(a), 0);"
    events = received(load, sending("ring", f"{body} events.ringbuf_output(&number, sizeof(number), 0);"))
    assert events.df()["x"].dropna().tolist() == [1] * 7
    assert events.df()["value"].dropna().tolist() == [3] * 7


def test_what_was_sent_is_known_to_a_recording(load, tmp_path):
    session = load(sending("ring", f"u64 e = {Z}; events.ringbuf_output(&e, sizeof(e), 0);"))
    recording = session.events.record(tmp_path / "sent")
    cells.call_getppid(7)
    assert session.events.wait(7, timeout=5)
    session.close()
    del recording
    played = ebpflab.replay(tmp_path / "sent")
    try:
        assert played.events.wait(7, timeout=5)
        assert played.events.df()["value"].tolist() == [Z] * 7
    finally:
        played.close()


@pytest.mark.parametrize(
    ("head", "cflags", "section"),
    [
        ("int taking(struct CTXTYPE *ctx)", "-DCTXTYPE=xdp_md", "xdp"),
        ("#define CTX struct xdp_md\nint taking(CTX *ctx)", "", "xdp"),
        ("typedef struct __sk_buff packet_t;\nint taking(packet_t *ctx)", "", "socket"),
        ("struct args_t { u64 common; };\nint taking(struct args_t *ctx)", "", "tp"),
    ],
)
def test_a_program_is_of_the_kind_whose_context_it_takes(load, head, cflags, section):
    after = "int next(struct __sk_buff *skb) {\n    return TC_ACT_OK;\n}\n"
    session = load(f"BPF_HASH(c, u32);\n{head} {{ return 0; }}\n{after}", cflags=cflags, attach=False)
    assert session.programs.set_index("name")["section"].to_dict() == {"taking": section, "next": "tc"}


def test_a_program_that_takes_what_no_kind_is_given_is_refused(load):
    with pytest.raises(CellError, match="no kind is given struct sock"):
        load("BPF_HASH(c, u32);\nint taking(struct sock *sk) { return sk->sk_rcvbuf; }\n", attach=False)
