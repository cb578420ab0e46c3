"""Tests of ebpflab.inspectors.tracefs on captured files; tests/kernel has those on a live kernel."""

from __future__ import annotations

import html
import os
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ebpflab.errors import DecodeError, HookNotFoundError, KernelSupportError, PrivilegeError
from ebpflab.inspectors import tracefs
from ebpflab.inspectors.search import hooks
from ebpflab.inspectors.tracefs import Field, Format, parse_format

TREE = Path(__file__).parent / "data/formats"
CAPTURED = {path.parent: path.read_text() for path in sorted(TREE.glob("events/*/*/format"))}
NAMES = {f"{folder.parent.name}:{folder.name}": text for folder, text in CAPTURED.items()}
COMMON = """\
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
"""


def a_format(*lines: str) -> str:
    fields = "".join(f"\t{line}\n" for line in lines)
    return f'name: made_up\nID: 7\nformat:\n{COMMON}\n{fields}\nprint fmt: "%d", REC->x\n'


def member(field: str, kernel_type: str = "int") -> Field:
    [found] = [m for m in parse_format(a_format(field)).members if not m.common]
    assert found.type == kernel_type
    return found


def assertions(text: str, tag: str) -> str:
    """Return C that fails to compile unless every field of a format is where its text says, read by other means."""
    lines = []
    for line in text.split("print fmt:")[0].splitlines():
        if "field:" not in line:
            continue
        words = dict(part.strip().split(":", 1) for part in line.split(";") if part.strip())
        name = words["field"].split()[-1].split("[")[0].lstrip("*")
        location = words["field"].split()[0]
        if location in ("__data_loc", "__rel_loc"):
            name = f"{location}_{name}"
        at, size, signed = words["offset"], words["size"], words["signed"]
        lines.append(f"_Static_assert(__builtin_offsetof(struct {tag}, {name}) == {at}, {line.strip()!a});")
        lines.append(f"_Static_assert(sizeof(((struct {tag} *)0)->{name}) == {size}, {line.strip()!a});")
        plain = not re.search(r"[*[]|_loc ", words["field"]) and size in ("1", "2", "4", "8")
        if plain:
            kind = f"__typeof__(((struct {tag} *)0)->{name})"
            lines.append(f"_Static_assert((({kind})-1 < 0) == {signed}, {line.strip()!a});")
    return "\n".join(line.replace("'", '"') for line in lines)


def compile_c(source: str, *options: str) -> None:
    clang = shutil.which("clang")
    if clang is None:
        pytest.skip("clang is not installed: apt install clang")
    command = [
        clang,
        "-target",
        "bpf",
        "-std=gnu11",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsyntax-only",
        *options,
    ]
    done = subprocess.run([*command, "-x", "c", "-"], input=source, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr[:4000]


@pytest.fixture
def captured_tree(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tracefs, "tracefs_path", lambda: TREE)
    return TREE


# --- format files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_captured_format_is_read_whole(name: str) -> None:
    text = NAMES[name]
    read = parse_format(text)
    assert read.name == name.split(":")[1]
    assert read.id == int(text.split("ID:")[1].split()[0])
    assert len(read.members) == text.count("field:")
    assert [m.common for m in read.members] == [True] * 4 + [False] * (text.count("field:") - 4)
    assert read.print_fmt == text.split("print fmt: ", 1)[1].rstrip("\n")


def test_a_string_elsewhere_in_the_record_is_marked_as_such() -> None:
    filename = parse_format(NAMES["sched:sched_process_exec"]).members[4]
    assert (filename.name, filename.type, filename.data_loc) == ("filename", "__data_loc char[]", True)
    assert (filename.offset, filename.size, filename.length) == (8, 4, None)


def test_a_location_relative_to_the_field_is_read_in_both_spellings() -> None:
    # f_show glues the brackets to the name, since it looks for __data_loc only (see kernel commit 80a76994b2d8).
    glued = member("field:__rel_loc char text[];\toffset:8;\tsize:4;\tsigned:1;", "__rel_loc char[]")
    apart = member("field:__rel_loc char[] text;\toffset:8;\tsize:4;\tsigned:1;", "__rel_loc char[]")
    assert glued.rel_loc
    assert apart.rel_loc
    assert glued.name == apart.name == "text"
    source = parse_format(a_format("field:__rel_loc char text[];\toffset:8;\tsize:4;\tsigned:1;")).c()
    assert "unsigned int __rel_loc_text;" in source


@pytest.mark.parametrize(
    ("declaration", "size", "name", "kernel_type", "length"),
    [
        ("char comm[16]", 16, "comm", "char[16]", 16),
        ("char comm[TASK_COMM_LEN]", 16, "comm", "char[TASK_COMM_LEN]", 16),
        ("unsigned long args[6]", 48, "args", "unsigned long[6]", 6),
        ("unsigned long args[]", 0, "args", "unsigned long[]", 0),
        ("u8 grid[2][3]", 6, "grid", "u8[2][3]", 6),
        ("const char * filename", 8, "filename", "const char *", None),
        ("const char *const * argv", 8, "argv", "const char *const *", None),
        ("char *name", 8, "name", "char *", None),
        ("void __seg_gs * ptr", 8, "ptr", "void __seg_gs *", None),
        ("enum zone_type idx", 4, "idx", "enum zone_type", None),
        ("unsigned flags", 4, "flags", "unsigned", None),
    ],
)
def test_a_declaration_is_split_into_type_and_name(
    declaration: str, size: int, name: str, kernel_type: str, length: int | None
) -> None:
    found = member(f"field:{declaration};\toffset:8;\tsize:{size};\tsigned:0;", kernel_type)
    assert (found.name, found.length, found.size) == (name, length, size)


@pytest.mark.parametrize(
    ("declaration", "size", "signed", "expected"),
    [
        ("int flags", 8, 0, "unsigned long long flags"),
        ("umode_t mode", 2, 0, "unsigned short mode"),
        ("s8 small", 1, 1, "signed char small"),
        ("bool on", 1, 0, "unsigned char on"),
        ("char comm[16]", 16, 0, "char comm[16]"),
        ("u32 pair[2]", 8, 0, "unsigned int pair[2]"),
        ("long sysctl_mem[3]", 24, 1, "long long sysctl_mem[3]"),
        ("struct pair both", 12, 0, "unsigned char both[12]"),
        ("char * name", 8, 0, "char *name"),
        ("const char *const * argv", 8, 0, "const char *const *argv"),
        ("const unsigned long * mask", 8, 0, "const unsigned long *mask"),
        ("struct file * file", 8, 0, "void *file"),
        ("const struct cred *const cred", 8, 0, "const void *const cred"),
        ("struct iocb * * list", 8, 0, "void **list"),
        ("void __seg_gs * ptr", 8, 0, "void *ptr"),
        ('const char __attribute__((btf_type_tag("user"))) * path', 8, 0, "const char *path"),
        ("struct page * page", 4, 0, "unsigned int page"),
        ("int default", 4, 1, "int default_"),
        ("__data_loc char[] int", 4, 0, "unsigned int __data_loc_int"),
    ],
)
def test_c_is_chosen_by_size_and_sign(declaration: str, size: int, signed: int, expected: str) -> None:
    made = parse_format(a_format(f"field:{declaration};\toffset:8;\tsize:{size};\tsigned:{signed};"))
    assert f"\t{expected};\n" in made.c()
    compile_c(made.c())


def test_clang_puts_every_captured_field_where_the_kernel_says() -> None:
    parts = []
    for name, text in NAMES.items():
        tag = f"tracepoint__{name.replace(':', '__')}"
        parts += [
            Format(**{**vars(parse_format(text)), "category": name.split(":")[0]}).c(),
            assertions(text, tag),
        ]
    assert "offsetof" in parts[1]
    compile_c("\n".join(parts))


def test_clang_agrees_on_any_layout() -> None:
    # One translation unit for 97 layouts that no kernel may have: gaps, misaligned fields, clashing names.
    chance = random.Random(20251122)
    kinds = [
        ("int", 4, 1),
        ("u64", 8, 0),
        ("const char *", 8, 0),
        ("s16", 2, 1),
        ("bool", 1, 0),
        ("struct s", 12, 0),
    ]
    parts = []
    for number in range(97):
        at, lines = 8, []
        names = chance.sample(["a", "b", "c", "__pad_8", "__pad_12", "__data_loc_e", "filename", "x1"], 7)
        for name in names:
            at += chance.choice([0, 0, 0, 1, 4])
            kind, size, signed = chance.choice(kinds)
            count = chance.choice([0, 0, 3])
            size *= count or 1
            array = f"[{count}]" if count else ""
            lines.append(f"field:{kind} {name}{array};\toffset:{at};\tsize:{size};\tsigned:{signed};")
            at += size
        text = a_format(*lines)
        parts += [parse_format(text).c(f"t{number}"), assertions(text, f"t{number}")]
    compile_c("\n".join(parts), "-Wno-unused")


def test_names_that_c_would_confuse_are_kept_apart() -> None:
    source = parse_format(
        a_format(
            "field:int int;\toffset:8;\tsize:4;\tsigned:1;",
            "field:int int_;\toffset:12;\tsize:4;\tsigned:1;",
            "field:__data_loc char[] e;\toffset:16;\tsize:4;\tsigned:0;",
            "field:int __data_loc_e;\toffset:20;\tsize:4;\tsigned:1;",
        )
    ).c("t")
    assert re.findall(r"(\w+);", source)[4:] == ["int__", "int_", "__data_loc_e_", "__data_loc_e"]
    compile_c(source)


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "just words\nand more",
        NAMES["sched:sched_switch"].replace("ID:", "id:"),
        NAMES["sched:sched_switch"].replace("format:\n", "\n"),
        NAMES["sched:sched_switch"].replace("offset:8;", "offset:;"),
        NAMES["sched:sched_switch"].replace("signed:1;", "signed:2;", 1),
        NAMES["sched:sched_switch"].replace("int common_pid", "common_pid"),
        a_format("field:int x;\toffset:6;\tsize:4;\tsigned:1;"),
        a_format("field:int x;\toffset:8;\tsize:4;\tsigned:1;", "field:int x;\toffset:12;\tsize:4;\tsigned:1;"),
        a_format("field:int x;\toffset:8000000000;\tsize:4;\tsigned:1;"),
    ],
)
def test_text_that_is_no_format_is_refused(broken: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_format(broken)
    assert caught.value.stage == "decode"


def exercise(text: str) -> None:
    try:
        made = parse_format(text)
    except DecodeError:
        return
    source = made.c()
    assert source.startswith(f"struct {made.tag} {{\n")
    assert source.count(";\n") >= len(made.members)
    assert repr(made).count("\n") == made._repr_html_().count("<tr>") + len(made.notes)


@given(st.text(max_size=300))
@settings(deadline=None)  # the first name that has to be looked up in a kernel's BTF takes 300 ms
def test_any_text_is_a_format_or_an_error_of_ours(text: str) -> None:
    exercise(text)
    exercise(a_format(text))
    exercise(a_format(f"field:{text};\toffset:8;\tsize:4;\tsigned:0;"))


@given(st.sampled_from(sorted(NAMES)), st.integers(0, 6000), st.integers(0, 40), st.text(max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_damaged_format_is_a_format_or_an_error_of_ours(name: str, at: int, cut: int, put: str) -> None:
    text = NAMES[name]
    exercise(text[:at] + put + text[at + cut :])


# --- how a format is shown ---------------------------------------------------------------------------------------


def test_fields_are_a_frame_without_the_common_ones() -> None:
    read = parse_format(NAMES["syscalls:sys_enter_openat"])
    assert list(read.fields.columns) == ["field", "type", "offset", "size", "signed"]
    assert read.fields["field"].tolist() == ["__syscall_nr", "dfd", "filename", "flags", "mode"]
    assert read.fields["offset"].tolist() == [8, 16, 24, 32, 40]
    assert [str(kind) for kind in read.fields.dtypes[2:]] == ["int64", "int64", "bool"]
    assert read.all_fields["field"].tolist()[:4] == [m.name for m in read.members if m.common]
    empty = Format("none", 1, ()).fields
    assert empty.empty
    assert [str(kind) for kind in empty.dtypes[2:]] == ["int64", "int64", "bool"]


def test_text_and_html_show_the_same_rows_and_html_is_escaped() -> None:
    hostile = Format("<b>", 1, (Field("x", "struct <script> *", 8, 8, signed=False),), category="<i>")
    page = hostile._repr_html_()
    assert "&lt;script&gt; *" in page
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<i>" not in page
    read = parse_format(NAMES["sched:sched_switch"])
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", read._repr_html_())
    assert [html.unescape(cell) for cell in cells if cell] == [
        word for word in re.split(r"  +|\n *", repr(read))[1:] if word
    ]


def test_a_pasted_format_is_read_with_blanks_for_tabs_and_windows_line_ends() -> None:
    text = NAMES["sched:sched_switch"]
    assert tracefs.format(text.replace("\t", "        ")) == parse_format(text)
    assert tracefs.format(text.replace("\n", "\r\n")).members == parse_format(text).members
    assert tracefs.format(text).tag == "tracepoint__sched_switch"


# --- the tree of tracefs -----------------------------------------------------------------------------------------


def test_a_tracepoint_is_found_by_either_spelling_and_by_its_struct(captured_tree: Path) -> None:
    read = tracefs.format("syscalls:sys_enter_openat")
    assert read == tracefs.format("syscalls/sys_enter_openat")
    assert read == tracefs.struct_for("tracepoint__syscalls__sys_enter_openat")
    assert read.category == "syscalls"
    assert read.c().startswith("struct tracepoint__syscalls__sys_enter_openat {")
    assert read.c("ctx").startswith("struct ctx {")
    assert len(tracefs.events()) == len((captured_tree / "available_events").read_text().split())


def test_a_struct_tag_is_found_though_both_names_contain_double_underscores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "events/my__module/an__event"
    folder.mkdir(parents=True)
    (folder / "format").write_text(a_format().replace("made_up", "an__event"))
    (tmp_path / "available_events").write_text("my__module:an__event\n")
    monkeypatch.setattr(tracefs, "tracefs_path", lambda: tmp_path)
    read = tracefs.struct_for("tracepoint__my__module__an__event")
    assert (read.category, read.name) == ("my__module", "an__event")


@pytest.mark.usefixtures("captured_tree")
def test_an_unknown_tracepoint_offers_the_nearest_ones() -> None:
    with pytest.raises(HookNotFoundError) as caught:
        tracefs.format("syscalls:sys_enter_opnat")
    assert caught.value.nearest[0] == "syscalls:sys_enter_openat"
    assert "did you mean syscalls:sys_enter_openat" in str(caught.value)
    with pytest.raises(HookNotFoundError, match="did you mean tracepoint__sched__sched_switch"):
        tracefs.struct_for("tracepoint__sched__sched_swich")
    for name in ("openat", "", "../../../etc:passwd", "a/b/c", "tp/sched/sched_switch"):
        with pytest.raises(HookNotFoundError):
            tracefs.format(name)


def test_tracefs_that_is_not_mounted_is_told_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracefs, "tracefs_path", lambda: None)
    with pytest.raises(KernelSupportError) as caught:
        tracefs.tracefs_root()
    assert caught.value.hint == "mount -t tracefs tracefs /sys/kernel/tracing"
    frame = hooks("openat", kind="tracepoint")
    assert frame["name"].tolist() == ["*"]
    assert frame["available"].tolist() == [False]
    assert "mount -t tracefs" in frame["why"][0]


def test_a_tracefs_without_events_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracefs, "tracefs_path", lambda: tmp_path)
    with pytest.raises(KernelSupportError, match="without tracepoints"):
        tracefs.tracefs_root()


def test_a_closed_tracefs_is_a_matter_of_privilege(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may look anywhere; tests/kernel has this test with root's capabilities dropped")
    (tmp_path / "tracing/events").mkdir(parents=True)
    (tmp_path / "tracing").chmod(0)
    monkeypatch.setattr(tracefs, "tracefs_path", lambda: tmp_path / "tracing")
    with pytest.raises(PrivilegeError) as caught:
        tracefs.tracefs_root()
    (tmp_path / "tracing").chmod(0o700)
    assert caught.value.cause == "CAP_DAC_READ_SEARCH"
