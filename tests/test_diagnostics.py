from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebpflab.cell import Cell
from ebpflab.diagnostics import misspelt, parse, summarise
from ebpflab.errors import CompileError, Diagnostic, Location

DATA = Path(__file__).parent / "data" / "diagnostics"
HELPERS = ("bpf_get_current_pid_tgid", "bpf_get_current_comm", "bpf_ktime_get_ns", "bpf_map_lookup_elem")

# For each captured cell: the first error's words, the text under its caret, and words of the hint. Its line is the
# one that the cell marks with HERE.
CAPTURED = {
    "bcc_hash": ("unexpected type name 'u32': expected identifier", "u32", "BCC's dialect"),
    "bcc_method": ("no member named 'increment' in 'struct (unnamed at cell:1:1)'", "increment", "BCC's dialect"),
    "core_read_member": ("no member named 'pidd' in 'struct task_struct'", "pidd", "%bpf type task_struct"),
    "floating_point": ("A call to built-in function '__muldf3' is not supported.", "*", "no floating point"),
    "incomplete_type": ("incomplete definition of type 'struct nope'", "-", "nothing here defines nope"),
    "inside_prelude_macro": ("use of undeclared identifier 'undefined_in_prelude'", "CHECKED", None),
    "memcpy": ("A call to built-in function 'memcpy' is not supported.", "__builtin_memcpy", "copy less at a time"),
    "missing_brace": ("expected '}'", "", "a '}' is missing"),
    "missing_semicolon": ("expected ';' at end of declaration", " ", "a ';' is missing"),
    "posing_text": ("expected ';' after expression", ":", "a ';' is missing"),
    "printf": ("implicitly declaring library function 'printf'", "printf", "use bpf_printk()"),
    "redefinition": ("redefinition of 'pass'", "pass", "rename one"),
    "stack_limit": ("Looks like the BPF stack limit of 512 bytes is exceeded.", "pass", "move large[60] (line 5)"),
    "strcmp": ("implicitly declaring library function 'strcmp'", "strcmp", "use bpf_strncmp()"),
    "struct_tag_missing": ("must use 'struct' tag to refer to type", "task_struct", "write struct task_struct"),
    "too_many_arguments": ("too many args to many", "many", "at most five arguments"),
    "too_many_errors": ("use of undeclared identifier 'b'", "b", None),
    "typo_in_macro": (
        "use of undeclared identifier 'evnts'; did you mean 'events'?",
        "evnts",
        "write 'events' instead",
    ),
    "unknown_helper": (
        "implicit declaration of function 'bpf_get_current_pid'",
        "bpf_get_current_pid",
        "did you mean bpf_get_current_pid_tgid",
    ),
    "unknown_member": ("no member named 'length' in 'struct event'", "length", "%bpf type event"),
    "unknown_type": ("unknown type name 'u32x'; did you mean 'u32'?", "u32x", "write u32"),
}
ELSEWHERE = {"included_header", "header_not_found", "warning_only"}


def cell(name: str) -> str:
    return (DATA / f"{name}.c").read_text()


def captured(name: str) -> tuple[Diagnostic, ...]:
    return parse((DATA / f"{name}.txt").read_text(), cell(name))


def marked_line(name: str) -> int:
    return next(n for n, text in enumerate(cell(name).split("\n"), 1) if "HERE" in text)


def under_caret(where: Location) -> str:
    return where.text[where.column - 1 : where.column - 1 + where.length]


def test_every_captured_output_has_an_expectation():
    assert {path.stem for path in DATA.glob("*.c")} == set(CAPTURED) | ELSEWHERE
    assert {path.stem for path in DATA.glob("*.txt")} == set(CAPTURED) | ELSEWHERE


@pytest.mark.parametrize("name", sorted(CAPTURED))
def test_a_captured_error_shows_the_marked_line_and_a_hint(name):
    message, caret, hint = CAPTURED[name]
    error = summarise(captured(name), helpers=HELPERS)
    assert isinstance(error, CompileError)
    assert message in error.what
    assert (error.where.file, error.where.line) == ("cell", marked_line(name))
    assert error.where.text == cell(name).split("\n")[marked_line(name) - 1]
    assert under_caret(error.where) == caret
    assert (hint in error.hint) if hint else error.hint is None


@pytest.mark.parametrize("name", sorted(set(CAPTURED) | ELSEWHERE))
def test_nothing_is_said_twice_and_no_note_leads_into_a_macro(name):
    found = captured(name)
    assert len(set(found)) == len(found)
    assert not any("expanded from macro" in d.message or "original source location" in d.message for d in found)


@pytest.mark.parametrize("name", sorted(CAPTURED))
def test_the_number_of_errors_is_clangs_own_count(name):
    # Clang counts what it says twice, so its number is an upper bound; a single error is always one.
    text = (DATA / f"{name}.txt").read_text()
    said = int(text.rstrip().split("\n")[-1].split(" error")[0].split()[-1])
    shown = int(summarise(captured(name)).what.split(" error")[0])
    assert 1 <= shown <= said
    assert said > 1 or shown == 1


def test_an_error_is_shown_with_a_caret_under_its_name():
    assert str(summarise(captured("unknown_type"))) == (
        "1 error: unknown type name 'u32x'; did you mean 'u32'?\n"
        "  at cell, line 4\n"
        "    4 | \tu32x n = 2; /* HERE */\n"
        "      | \t^~~~\n"
        "  hint: write u32"
    )


def test_columns_after_text_that_is_not_ascii_are_counted_in_characters():
    where = captured("unknown_member")[0].where
    assert where.text.index("length") + 1 == where.column


@pytest.mark.parametrize(
    ("name", "fixits"),
    [
        ("unknown_type", ("write 'u32' instead of 'u32x'",)),
        ("missing_semicolon", ("insert ';'",)),
        ("typo_in_macro", ("write 'events' instead of 'evnts'",)),
    ],
)
def test_fix_its_are_readable(name, fixits):
    assert captured(name)[0].fixits == fixits


def test_a_fix_it_of_another_column_does_not_claim_what_it_replaces():
    text = 'cell:1:5: error: wrong\n int x y\n     ^\nfix-it:"cell":{41:1-41:4}:"long\\"\\\\"\n'
    assert parse(text, "int x y")[0].fixits == ("write 'long\"\\' instead",)


def test_an_error_in_an_included_header_names_the_file_and_the_line_that_includes_it():
    error = summarise(captured("included_header"))
    assert (error.where.file, error.where.line) == ("./broken.h", 3)
    assert error.where.text.strip() == (DATA / "broken.h").read_text().split("\n")[2].strip()
    assert error.where.text[: error.where.column - 1].endswith("a / 2")
    assert error.details == (f"cell, line {marked_line('included_header')}: ./broken.h is included here",)


def test_a_header_of_the_c_library_is_explained():
    error = summarise(captured("header_not_found"))
    assert "no C library in the kernel" in error.hint
    assert error.details[0].startswith(f"cell, line {marked_line('header_not_found')}: ")


def test_a_missing_header_of_the_user_is_explained():
    text = "cell:1:10: fatal error: 'mine.h' file not found\n #include \"mine.h\"\n          ^~~~~~~~\n"
    error = summarise(parse(text, '#include "mine.h"'))
    assert error.what == "1 error: 'mine.h' file not found"
    assert error.hint.startswith("put mine.h beside the notebook")


def test_a_warning_keeps_its_name_and_is_no_error():
    (warning,) = captured("warning_only")
    assert warning.severity == "warning"
    assert warning.message.endswith("[-Wint-conversion]")
    assert warning.where.line == marked_line("warning_only")
    assert "without an error message" in summarise([warning]).what


def test_source_text_that_looks_like_a_message_is_none():
    assert {d.where.line for d in captured("posing_text")} == {4}
    assert not any("not a message" in d.message for d in captured("posing_text"))


def test_no_more_than_five_further_errors_are_shown():
    error = summarise(captured("too_many_errors"))
    count = sum(d.severity == "error" for d in error.diagnostics)
    assert error.what.startswith(f"{count} errors: ")
    assert len(error.details) == 6
    assert error.details[-1] == f"and {count - 6} more"


def test_the_advice_to_include_stdio_is_not_passed_on():
    assert "stdio.h" in (DATA / "printf.txt").read_text()
    assert not any("stdio.h" in d.message for d in captured("printf"))


# Words of other versions of clang, verbatim.
@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("call to undeclared library function 'printf' with type 'int (const char *, ...)'; ISO C99", "bpf_printk()"),
        ("call to undeclared function 'bpf_get_current_pid'; ISO C99 and later", "bpf_get_current_pid_tgid"),
        ("use of undeclared identifier 'SEC'", "bpf_helpers.h"),
        ("call to undeclared function 'frobnicate'; ISO C99 and later", "define frobnicate() in the cell"),
        ("variable has incomplete type 'struct nope'", "nothing here defines nope"),
        ("tentative definition has type 'struct nope' that is never completed", "nothing here defines nope"),
        ("unknown type name 'task'", "write struct task"),
        ("functions with VarArgs or StructRet are not supported", "return a number"),
        ("unsupported signed division, please convert to unsigned div/mod.", "cast both to u64"),
        (
            "A call to global function 'f' is not supported. Only calls to predefined BPF helpers are allowed.",
            "nowhere",
        ),
        ("A call to built-in function 'strlen' is not supported.", "no library to call strlen from"),
    ],
)
def test_a_beginners_cause_is_recognised(message, hint):
    error = summarise(parse(f"cell:1:1: error: {message}\n", "x"), helpers=HELPERS)
    assert hint in error.hint


def test_an_error_of_the_code_generator_without_a_place_names_the_function_and_the_largest_array():
    text = (
        "error: <unknown>:0:0: in function pass i32 (i8*): Looks like the BPF stack limit of 512 bytes is exceeded. "
        "Please move large on stack variables into BPF per-cpu array map.\n"
    )
    error = summarise(parse(text, cell("stack_limit")))
    assert error.where is None
    assert error.what.startswith("1 error: in pass: Looks like the BPF stack limit")
    assert "large[60] (line 5)" in error.hint


def test_the_cell_may_have_another_name():
    (found,) = parse("cell[7]:1:5: error: wrong\n", "int x", "cell[7]")
    assert (found.where.file, found.where.text) == ("cell[7]", "int x")
    assert parse("cell[7]:1:5: error: wrong\n", "int x")[0].where.text == ""


def test_a_place_behind_the_end_of_the_cell_is_kept_without_text():
    (found,) = parse("cell:9:3: error: wrong\n", "int x")
    assert found.where == Location(9, 3, "", 1, "cell")


@pytest.mark.parametrize(
    ("text", "line", "name", "near"),
    [
        ("BPF_HAHS(counts, u32, u64);", 1, "BPF_HAHS", "BPF_HASH"),
        ("BPF_HASH(counts,\n  u32);\nBPF_PERF_OUPUT(\n  events);", 4, "BPF_PERF_OUPUT", "BPF_PERF_OUTPUT"),
        ("int BPF_PORG(on_read, struct file *file)\n{\n}", 1, "BPF_PORG", "BPF_PROG"),
        ('struct {\n} rb SCE(".maps");', 2, "SCE", "SEC"),
    ],
)
def test_a_macro_that_nothing_defines_is_named_with_the_one_it_resembles(text, line, name, near):
    error = misspelt(parse(f"cell:{line}:1: error: wrong\n", text), Cell(text))
    assert (error.what, error.hint) == (f"{name} is unknown", f"did you mean {near}?")
    assert under_caret(error.where) == name
    assert error.details == (f"cell, line {line}: wrong",)


@pytest.mark.parametrize(
    "text",
    [
        "#define BPF_HAHS(x) int x\nBPF_HAHS(counts);",  # the cell's own
        "#define A \\\nBPF_HAHS(counts)\nA",
        "int f(void)\n{ return BPF_HAHS(1); }",  # not outside of a function
        'char s[] =\n"BPF_HAHS(counts)";',
        "/* wrong:\nBPF_HAHS(counts) */ int x;",
        "int x;\nWHATEVER(1)",  # resembles nothing
        "int x;\nBPF_HASH(1)",
    ],
)
def test_other_words_in_capitals_are_left_to_clang(text):
    assert misspelt(parse("cell:2:1: error: wrong\n", text), Cell(text)) is None


def test_a_macro_that_clang_did_not_stumble_over_is_defined_in_a_header():
    text = "BPF_HAHS(counts, u32, u64);\nint x = y;"
    assert misspelt(parse("cell:2:9: error: use of undeclared identifier 'y'\n", text), Cell(text)) is None
    assert misspelt(parse("cell:1:1: error: wrong\n", text), Cell(text), known=["BPF_HAHS"]) is None


def test_a_field_that_a_tracepoint_has_not_is_answered_with_its_format():
    message = "no member named 'fildes' in 'struct tracepoint__syscalls__sys_enter_openat'"
    error = summarise(parse(f"cell:1:1: error: {message}\n", "x"))
    assert error.hint == "%bpf format syscalls:sys_enter_openat lists its fields"


def test_a_cell_of_bcc_s_dialect_is_not_told_that_it_is_one():
    found = parse("cell:1:1: error: expected ')'\n", "counts.increment(k;")
    assert "--engine bcc" in summarise(found).hint
    assert summarise(found, bcc=True).hint == "a ')' is missing, or one too many stands before"


ASSEMBLY = "error: <inline asm>:1:2: invalid register/token name\n\tnosuch instr\n\t^\n".expandtabs()


def test_assembly_without_a_place_is_found_by_its_text_where_the_cell_has_it_once():
    text = 'int f(void *c) {\n  asm volatile("nosuch instr");\n  return 0;\n}'
    (found,) = parse(ASSEMBLY, text)
    assert found.message == "invalid register/token name, in the assembly 'nosuch instr'"
    assert (found.where.line, found.where.column, found.where.length) == (2, 17, len("nosuch instr"))
    for other in (text + " // nosuch instr", text.replace("nosuch", "%0")):
        (found,) = parse(ASSEMBLY, other)
        assert (found.where, found.message) == (None, "invalid register/token name, in the assembly 'nosuch instr'")


def test_no_message_at_all_is_an_error_that_says_so():
    assert summarise(()).what == "clang refused the cell without an error message"


@pytest.mark.skipif(
    shutil.which("clang") is None or not Path("/usr/include/bpf/bpf_helpers.h").exists(),
    reason="clang or libbpf's headers are not installed",
)
@pytest.mark.parametrize("name", sorted(CAPTURED))
def test_this_machines_clang_gives_the_same_place(name):
    spec = importlib.util.spec_from_file_location("capture_diagnostics", DATA / "capture.py")
    capture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(capture)
    error = summarise(parse(capture.messages(cell(name)), cell(name)), helpers=HELPERS)
    assert (error.where.file, error.where.line) == ("cell", marked_line(name))


PIECES = [line for path in sorted(DATA.glob("*.txt")) for line in path.read_text().split("\n")]


@given(
    st.text() | st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=25).map("\n".join),
    st.text(max_size=60) | st.sampled_from(sorted(CAPTURED)).map(cell),
)
def test_no_text_makes_it_raise(stderr, cell_text):
    found = parse(stderr, cell_text)
    error = summarise(found, helpers=HELPERS)
    assert str(error)
    for diagnostic in found:
        assert str(diagnostic)
        if diagnostic.where and diagnostic.where.file == "cell" and diagnostic.where.line <= cell_text.count("\n") + 1:
            assert diagnostic.where.text == cell_text.split("\n")[diagnostic.where.line - 1].rstrip("\r")
