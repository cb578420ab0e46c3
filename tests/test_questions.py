from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ebpflab import cli, formatting, questions
from ebpflab.errors import CellError, EbpflabError
from ebpflab.questions import QUESTIONS, Listing

FORMATS = Path(__file__).parent / "data" / "formats" / "events"
OPENAT = FORMATS / "syscalls" / "sys_enter_openat" / "format"


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[argparse.Namespace]:
    """What each question is asked, instead of being answered."""
    seen: list[argparse.Namespace] = []
    for name, question in QUESTIONS.items():
        monkeypatch.setitem(QUESTIONS, name, question._replace(ask=seen.append))
    return seen


@pytest.mark.parametrize(
    ("name", "line", "expected"),
    [
        ("hooks", "tcp conn --kind kprobe", {"pattern": ["tcp", "conn"], "kind": "kprobe"}),
        ("hooks", r"/^sys_\w+_open/", {"pattern": [r"/^sys_\w+_open/"], "kind": None}),
        ("hooks", "", {"pattern": [], "kind": None}),
        ("format", "sched:sched_switch --c", {"event": "sched:sched_switch", "c": True, "compare": None}),
        ("type", "struct file --from nf_tables", {"name": ["struct", "file"], "source": "nf_tables", "c": False}),
        ("type", "task_struct --find /exe_\\w+/ --depth 5", {"find": "/exe_\\w+/", "depth": 5}),
        ("bind", "task_struct 'struct path' --lang python", {"names": ["task_struct", "struct path"]}),
        ("template", "uprobe//lib/libc.so.6:malloc", {"hook": "uprobe//lib/libc.so.6:malloc", "name": None}),
        ("features", "ring --program-type xdp", {"pattern": "ring", "program_type": "xdp"}),
    ],
)
def test_a_line_is_read_as_its_question(
    given: list[argparse.Namespace], name: str, line: str, expected: dict[str, Any]
) -> None:
    questions.ask(name, line)
    assert {key: vars(given[0])[key] for key in expected} == expected


@pytest.mark.parametrize("name", [name for name, question in QUESTIONS.items() if question.example])
def test_an_empty_line_is_answered_with_an_example_that_can_be_read(given: list[argparse.Namespace], name: str) -> None:
    with pytest.raises(CellError) as error:
        questions.ask(name)
    example = str(error.value.hint).removeprefix(f"for example %bpf {name} ")
    questions.ask(name, example)
    assert len(given) == 1


def test_an_unknown_option_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(CellError, match="unknown option --kin") as error:
        questions.ask("hooks", "openat --kin kprobe")
    assert error.value.hint == "did you mean --kind?"


def test_what_is_wrong_with_a_line_comes_with_its_usage() -> None:
    with pytest.raises(CellError, match="argument --depth: invalid int value: 'x'") as error:
        questions.ask("type", "task_struct --find a --depth x")
    assert "usage: %bpf type" in str(error.value.hint)
    with pytest.raises(CellError, match="No closing quotation"):
        questions.ask("type", "'task_struct")


@pytest.mark.parametrize("line", ["task_struct", "task_struct.", ".comm"])
def test_a_path_needs_a_type_and_a_member(line: str) -> None:
    with pytest.raises(CellError, match="a path starts at a type"):
        questions.ask("path", line)


def test_the_shell_asks_the_same_questions(given: list[argparse.Namespace], capsys: pytest.CaptureFixture[str]) -> None:
    for name, question in QUESTIONS.items():
        words = question.example.split()
        questions.ask(name, " ".join(words))
        assert cli.main(["inspect", name, *words]) == 0
        by_line, by_shell = given[-2:]
        assert vars(by_line).items() <= vars(by_shell).items()
    capsys.readouterr()


def test_every_question_has_help_in_the_shell(capsys: pytest.CaptureFixture[str]) -> None:
    for name, question in QUESTIONS.items():
        with pytest.raises(SystemExit, match="0"):
            cli.main(["inspect", name, "--help"])
        shown = capsys.readouterr().out
        assert question.help in " ".join(shown.split())
        assert "--json" in shown


def test_two_formats_are_compared_from_files(tmp_path: Path) -> None:
    other = tmp_path / "format"
    other.write_text(OPENAT.read_text().replace("filename", "file_name"))
    shown = questions.text(questions.ask("format", f"{OPENAT} --compare {other}"))
    assert "filename" in shown
    assert "file_name" in shown


def test_a_frame_is_a_table_in_the_terminal_and_records_in_json() -> None:
    frame = pd.DataFrame({"path": ["mm.exe_file"], "offset": pd.array([None], dtype="Int64")})
    assert questions.text(frame).splitlines()[1].split() == ["mm.exe_file"]
    assert questions.plain(frame) == [{"path": "mm.exe_file", "offset": None}]


def test_an_object_that_can_say_itself_plainly_does() -> None:
    class Answer:
        def to_dict(self) -> dict[str, int]:
            return {"size": 4}

    assert json.dumps(questions.plain(Answer())) == '{"size": 4}'
    assert questions.plain(Listing("struct a { int b; };")) == "struct a { int b; };"


def test_c_is_coloured_and_escaped_in_a_notebook_and_itself_in_a_terminal() -> None:
    text = 'struct a { int b; }; /* <b> */ char *c = "<i>";'
    shown = Listing(text)
    assert repr(shown) == text
    html = shown._repr_html_()
    assert '<span class="kt">int</span>' in html
    assert "&lt;b&gt;" in html
    assert "<i>" not in html


def test_text_without_a_language_has_no_colours() -> None:
    assert "<pre>int &lt;a&gt;</pre>" in formatting.html([formatting.Code("int <a>")])


def test_an_error_of_a_question_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    class Refused:
        def __call__(self, _: argparse.Namespace) -> None:
            raise EbpflabError("no", hint="yes")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(QUESTIONS, "ctx", QUESTIONS["ctx"]._replace(ask=Refused()))
        assert cli.main(["inspect", "ctx", "xdp"]) == 1
    assert capsys.readouterr().err == "no\n  hint: yes\n"
