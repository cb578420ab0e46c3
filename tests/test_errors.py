"""What an error says, and how it looks in a notebook."""

from __future__ import annotations

import html
import inspect
import re

import pytest

from ebpflab import error_page, errors, verifier
from ebpflab.errors import (
    AttachError,
    CellError,
    CompileError,
    Diagnostic,
    EbpflabError,
    HookNotFoundError,
    LoadError,
    Location,
    PrivilegeError,
    VerifierError,
)

CLASSES = [
    c
    for _, c in inspect.getmembers(errors, inspect.isclass)
    if issubclass(c, Exception) and c.__module__ == errors.__name__
]
MORE = {VerifierError: {"program": "p", "log": "l"}, PrivilegeError: {"cause": "CAP_BPF"}}


def tree_of_the_docstring():
    parents, above = {}, []
    for indent, name in re.findall(r"^    ( *)(\w+Error)\b", errors.__doc__, re.MULTILINE):
        above = above[: len(indent) // 2]
        parents[name] = above[-1] if above else "Exception"
        above.append(name)
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    assert tree_of_the_docstring() == {c.__name__: c.__base__.__name__ for c in CLASSES}


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_stage_and_says_what_where_and_what_to_do(kind):
    error = kind(
        "what happened",
        where=Location(2, 3, "int x;"),
        hint="do this",
        details=("first", "second"),
        **MORE.get(kind, {}),
    )
    assert isinstance(error, EbpflabError)
    assert re.fullmatch(r"[a-z]+", error.stage)
    assert str(error) == (
        "what happened\n  at cell, line 2\n    2 | int x;\n      |   ^\n  first\n  second\n  hint: do this"
    )
    assert error.args == ("what happened",)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_may_be_one_sentence(kind):
    error = kind("what happened", **MORE.get(kind, {}))
    assert str(error) == "what happened"
    assert (error.where, error.hint, error.details) == (None, None, ())


def test_the_stage_may_be_given():
    assert CellError("x", stage="load").stage == "load"
    assert CellError("x").stage == "cell"


def test_errors_keep_what_belongs_to_their_kind():
    diagnostic = Diagnostic("error", "no")
    assert CompileError("x", diagnostics=[diagnostic]).diagnostics == (diagnostic,)
    assert (LoadError("x", errno=7).errno, AttachError("x", errno=8).errno) == (7, 8)
    assert HookNotFoundError("x", nearest=["a"], errno=2).nearest == ("a",)
    verifier = VerifierError("x", program="p", log="log", log_path="/l", explanation="e", errno=13)
    assert (verifier.program, verifier.log, verifier.log_path, verifier.explanation, verifier.errno) == (
        "p",
        "log",
        "/l",
        "e",
        13,
    )


# --- Places -------------------------------------------------------------------------------------------------


def test_a_caret_and_its_tildes_stand_under_the_text():
    shown = str(Location(12, 5, "int name = 1;", 4)).splitlines()
    assert shown[0] == "cell, line 12"
    assert shown[2].index("^") == shown[1].index("name")
    assert shown[2].rstrip().endswith("^~~~")


def test_a_caret_behind_tabs_stands_right_in_a_terminal():
    code, caret = str(Location(1, 3, "\t\tx = y;")).splitlines()[1:]
    assert caret.expandtabs().index("^") == code.expandtabs().index("x")


def test_a_line_number_of_any_length_keeps_the_caret_in_place():
    for line in (1, 99999, 1234567):
        code, caret = str(Location(line, 1, "x")).splitlines()[1:]
        assert caret.index("^") == code.index("x")


def test_a_place_without_text_or_column_shows_what_it_has():
    assert str(Location(3)) == "cell, line 3"
    assert str(Location(3, file="mine.h")) == "mine.h, line 3"
    assert str(Location(3, text="int x;")) == "cell, line 3\n    3 | int x;"


def test_a_diagnostic_shows_its_severity_place_and_fixes():
    shown = str(Diagnostic("warning", "unused", Location(3), ("remove it",)))
    assert shown == "warning: unused\n  at cell, line 3\n  fix: remove it"
    assert str(Diagnostic("note", "here")) == "note: here"


# --- In a notebook ------------------------------------------------------------------------------------------


def raised(error):
    with pytest.raises(EbpflabError) as caught:
        raise error
    return caught.value


def test_a_notebook_shows_the_lines_and_no_traceback(monkeypatch):
    error = raised(CellError("what", hint="do this"))
    assert error._render_traceback_() == ["CellError [cell]: what\n  hint: do this"]


def test_the_switch_brings_the_traceback_back(monkeypatch):
    error = raised(CellError("what"))
    monkeypatch.setattr(errors, "full_tracebacks", True)
    assert "Traceback" in "".join(error._render_traceback_())
    assert "raise error" in "".join(error._render_traceback_())


def test_ipython_really_shows_it_so(capsys):
    interactiveshell = pytest.importorskip("IPython.core.interactiveshell")
    shell = interactiveshell.InteractiveShell.instance(history_length=0)
    try:
        shell.showtraceback(
            (CellError, (error := raised(CellError("what happened", hint="do this"))), error.__traceback__)
        )
    finally:
        interactiveshell.InteractiveShell.clear_instance()
    shown = "".join(capsys.readouterr())
    assert "CellError [cell]: what happened\n  hint: do this" in shown
    assert "Traceback" not in shown


def test_html_is_escaped():
    shown = CellError("<script>")._repr_html_()
    assert "&lt;script&gt;" in shown
    assert "<script>" not in shown


def refused():
    log = (
        "; u64 *n = bpf_map_lookup_elem(&counts, &key); @ cell:3\n"
        "4: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,map=counts,ks=4,vs=8)\n"
        "; *n += 1; @ cell:4\n"
        "5: (79) r1 = *(u64 *)(r0 +0)\n"
        "R0 invalid mem access 'map_value_or_null'\n"
        "processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"
    )
    what = "the verifier refused count: R0 invalid mem access 'map_value_or_null'"
    explanation = verifier.explain(log)
    details = (explanation.meaning, "whole log: /tmp/x-verifier.log (6 lines)")
    return VerifierError(
        what, program="count", log=log, explanation=explanation, hint=explanation.fix, details=details,
        where=Location(4, None, "    *n += 1;"), log_path="/tmp/x-verifier.log",
    )  # fmt: skip


def test_a_refusal_tells_its_story_in_a_terminal(monkeypatch):
    monkeypatch.setattr(errors, "present", None)
    monkeypatch.setattr(errors, "magics", True)
    (shown,) = refused()._render_traceback_()
    assert shown.startswith("VerifierError [verify]: the verifier refused count: R0 invalid")
    for words in ("cell, line 4", "how it came about", "bpf_map_lookup_elem() returns", "Register Type Safety",
                  "fix: Test it first", "/tmp/x-verifier.log", "%bpf log x WORDS",
                  "5: (79) r1 = *(u64 *)(r0 +0)"):  # fmt: skip
        assert words in shown
    assert len(shown.splitlines()) < 40


def test_where_a_front_end_shows_a_refusal_itself_the_traceback_has_its_title_and_hint_only(monkeypatch):
    seen = []
    monkeypatch.setattr(errors, "present", seen.append)
    error = refused()
    assert error._render_traceback_() == error._render_traceback_()
    assert seen == [error]  # IPython asks twice
    assert error._render_traceback_() == [f"VerifierError [verify]: {error.what}\n  hint: {error.hint}"]
    assert CellError("what")._render_traceback_() == ["CellError [cell]: what"]
    assert seen == [error]


def test_text_and_html_of_a_refusal_tell_the_same():
    error = refused()
    shown = re.sub(r"<[^>]+>", " ", error._repr_html_().partition("</style>")[2])
    missing = set(re.findall(r"\w+", error_page.error_text(error))) - set(re.findall(r"\w+", html.unescape(shown)))
    assert missing == set()
