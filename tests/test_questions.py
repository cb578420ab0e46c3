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
    assert error.value.hint == "did you mean --kind or --engine?"


def test_what_is_wrong_with_a_line_comes_with_its_usage() -> None:
    with pytest.raises(CellError, match="argument --depth: invalid int value: 'x'") as error:
        questions.ask("type", "task_struct --find a --depth x")
    assert "usage: %bpf type" in str(error.value.hint)
    with pytest.raises(CellError, match="No closing quotation"):
        questions.ask("type", "'task_struct")


@pytest.mark.parametrize(
    ("line", "what"),
    [("task_struct", "which member of task_struct"), ("task_struct.", "which member"), (".comm", "starts at a type")],
)
def test_a_path_needs_a_type_and_a_member(line: str, what: str) -> None:
    with pytest.raises(CellError, match=what):
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
    assert questions.plain(Listing("struct a { int b; };")) == {"c": "struct a { int b; };"}


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


def test_a_format_that_is_pasted_is_read_and_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    namespace = argparse.Namespace(event=OPENAT.read_text(), compare=None, c=False)
    assert QUESTIONS["format"].ask(namespace).name == "sys_enter_openat"
    with pytest.raises(EbpflabError):
        QUESTIONS["format"].ask(argparse.Namespace(event="x" * 5000, compare=None, c=False))


def test_a_frame_that_says_more_than_its_rows_says_it_in_a_terminal() -> None:
    frame = pd.DataFrame({"path": ["a.b"]})
    frame.attrs["note"] = "there are more"
    assert questions.text(frame).splitlines()[-1] == "there are more"
    empty = frame.iloc[:0]
    empty.attrs["note"] = "nothing matches"
    assert questions.text(empty) == "nothing matches"


def test_an_unknown_option_in_a_shell_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "hooks", "openat", "--kin", "kprobe"]) == 1
    assert capsys.readouterr().err == "unknown option --kin\n  hint: did you mean --kind or --engine?\n"


def test_bindings_that_go_to_a_file_are_one_line(tmp_path: Path) -> None:
    btf = Path(__file__).parent / "data" / "btf" / "records.bpfel.BTF"
    answer = questions.ask("bind", f"event --from {btf} --out {tmp_path / 'event.h'}")
    text = (tmp_path / "event.h").read_text()
    assert questions.text(answer) == f"wrote {tmp_path / 'event.h'}: {len(text.splitlines())} lines, struct event"
    assert questions.plain(answer)["text"] == text


def test_a_template_in_a_shell_is_c_that_can_go_to_a_file() -> None:
    from ebpflab.inspectors.templating import Template

    made = Template("x", "xdp", "int a;\n", notes=("said",))
    assert questions.text(made) == "int a;\n// note: said"
    assert questions.plain(made)["cell"] == "%%bpf x\nint a;\n"


@pytest.mark.parametrize("path", ["when", "shape.at[1].y", "pointer.y"])
def test_a_path_is_plain_values_with_its_c(path: str) -> None:
    btf = Path(__file__).parent / "data" / "btf" / "records.bpfel.BTF"
    found = questions.plain(questions.ask("path", f"event {path} --from {btf}"))
    assert found["start"] == "struct event"
    assert found["steps"][-1]["step"] in path
    assert json.loads(json.dumps(found)) == found
    shown = questions.ask("path", f"event {path} --from {btf} --errors")
    assert isinstance(shown, Listing)
    assert "err" in shown
