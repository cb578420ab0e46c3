"""What a BCC cell names itself: types of the kernel's names, and headers that come, change and go."""

from __future__ import annotations

import os
from pathlib import Path

import cells
import pytest

from ebpflab.bcc import library, process
from ebpflab.bcc.building import build
from ebpflab.cell import Cell
from ebpflab.errors import CompileError, ToolMissingError

TAGS = (
    ("key", "value", "event", "state", "node"),
    ("context", "ctx", "req", "request", "file", "path"),
    ("sample", "probe", "device", "cpu", "page"),
    ("stat", "map", "config", "task_struct", "ip_t"),
)
TYPEDEFS = ("config", "key", "key_t", "flags", "data_t")
NAMED = [
    *({f"struct {tag}": f"struct {tag} {{ u32 a; }};" for tag in tags} for tags in TAGS),
    {name: f"typedef struct {{ u32 a; }} {name};" for name in TYPEDEFS},
    {"key_t": "typedef struct key_t { u32 a; } key_t;"},
]
TRACED = "TRACEPOINT_PROBE(syscalls, sys_enter_getppid) { if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;"


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    # The kernel's types stay in the cache that is there: only objects are made anew.
    build(Cell("BPF_HASH(c, u32); int f(void *ctx) { return 0; }"))
    shared = Path(os.environ.get("EBPFLAB_CACHE", "~/.cache/ebpflab")).expanduser()
    own = tmp_path / "cache"
    own.mkdir(mode=0o700)
    for name in ("bcc", "vmlinux"):
        (own / name).symlink_to(shared / name)
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setenv("EBPFLAB_CACHE", str(own))
    monkeypatch.chdir(folder)
    return folder


def counting(head, key="7"):
    return f"{head}\nBPF_HASH(counts, u32);\n{TRACED} u32 key = {key}; counts.increment(key); return 0; }}\n"


def counted(load, source):
    session = load(source.replace("ME", str(os.getpid())))
    cells.call_getppid(11)
    session.detach()
    found = {int(key): int(value) for key, value in session.maps["counts"].items()}
    session.close()
    return found


@pytest.mark.parametrize("types", NAMED, ids=" ".join)
def test_a_type_of_the_program_s_own_may_have_any_name_and_be_a_key(load, types):
    maps = dict(enumerate(types))
    source = "".join([*types.values(), *(f"\nBPF_HASH(c{n}, {name});" for n, name in maps.items()), f"\n{TRACED}\n"])
    source += "".join(f"    {name} k{n} = {{ {n} }};\n    c{n}.increment(k{n});\n" for n, name in maps.items())
    session = load((source + "    return 0;\n}\n").replace("ME", str(os.getpid())))
    cells.call_getppid(11)
    session.detach()
    frames = [session.maps[f"c{n}"].df() for n in maps]
    assert [(f["a"].tolist(), f["value"].tolist()) for f in frames] == [([n], [11]) for n in maps]


def test_types_of_the_kernel_are_read_beside_the_program_s_own_of_their_names(load):
    source = f"""
    struct file {{ u32 mine; }};
    struct path {{ u32 mine; }};
    struct state {{ struct file f; struct path p; }};
    BPF_HASH(counts, u32);
    {TRACED}
        struct task_struct *task = (struct task_struct *)bpf_get_current_task();
        struct state s = {{ {{ task->real_parent->tgid }}, {{ sizeof(struct file) }} }};
        u32 key = s.f.mine;
        counts.increment(key, s.p.mine);
        return 0;
    }}
    """
    assert counted(load, source) == {os.getppid(): 44}


def test_the_beginning_of_a_record_is_sent_and_the_rest_is_zeros(load):
    source = f"""
    struct data_t {{ u32 pid; u32 length; char text[56]; }};
    BPF_PERF_OUTPUT(events);
    BPF_PERCPU_ARRAY(scratch, struct data_t, 1);
    {TRACED}
        int zero = 0;
        struct data_t *data = scratch.lookup(&zero);
        if (!data)
            return 0;
        data->pid = ME;
        data->length = 5;
        __builtin_memcpy(data->text, "hello, world", 12);
        events.perf_submit(args, data, sizeof(*data));
        events.perf_submit(args, data, 8 + 12);
        events.perf_submit(args, data, 4);
        return 0;
    }}
    """
    session = load(source.replace("ME", str(os.getpid())))
    cells.call_getppid(11)
    session.detach()
    shown = session.events.df()
    assert shown["pid"].tolist() == [os.getpid()] * 33
    assert shown["length"].tolist() == [5, 5, 0] * 11
    assert shown["text"].tolist() == ["hello, world", "hello, world", ""] * 11
    assert (shown.attrs["padded"], shown.attrs["received"], shown.attrs["lost"]) == (22, 33, 0)


def test_a_header_of_the_user_s_is_found_once_it_is_there(load, own_cache):
    source = counting('#include "fs/opt.h"\n#ifndef OPT\n#define OPT 1\n#endif', "OPT")
    assert counted(load, source) == {1: 11}
    (own_cache / "fs").mkdir()
    (own_cache / "fs" / "opt.h").write_text("#define OPT 77\n")
    assert counted(load, source) == {77: 11}
    (own_cache / "fs" / "opt.h").unlink()
    assert counted(load, source) == {1: 11}


def test_another_program_s_empty_headers_are_not_this_one_s(load, own_cache):
    assert counted(load, counting('#include "lib/values.h"')) == {7: 11}
    (own_cache / "lib").mkdir()
    (own_cache / "lib" / "values.h").write_text("#define VALUE 13\n")
    assert counted(load, counting('#include "lib/values.h"', "VALUE")) == {13: 11}


def test_a_header_that_a_macro_names_is_read_at_every_compile(load, own_cache):
    source = counting('#define HEADER "h.h"\n#include HEADER', "NUMBER")
    for number in (3, 5):
        (own_cache / "h.h").write_text(f"#define NUMBER {number}\n")
        assert counted(load, source) == {number: 11}
    (own_cache / "h.h").write_text('#define INNER "inner.h"\n#include INNER\n')
    plain = counting('#include "h.h"', "NUMBER")
    for number in (2, 17):
        (own_cache / "inner.h").write_text(f"#define NUMBER {number}\n")
        assert counted(load, plain) == {number: 11}


def test_a_missing_header_that_could_be_the_kernel_s_is_named_when_its_text_is_missed(own_cache):
    with pytest.raises(CompileError, match="undeclared identifier 'NUMBER'") as caught:
        build(Cell(counting('#include "lib/common.h"\n#include "linux/sched.h"', "NUMBER").replace("ME", "1")))
    assert f"no lib/common.h in {own_cache}" in caught.value.hint
    assert "sched.h" not in caught.value.hint
    with pytest.raises(CompileError, match="undeclared identifier 'NUMBER'") as caught:
        build(Cell(counting("#include <lib/common.h>", "NUMBER").replace("ME", "1")))
    assert "common.h" not in (caught.value.hint or "")
