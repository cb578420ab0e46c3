"""The magics as a notebook uses them: in a real ipykernel, seen through its messages."""

from __future__ import annotations

import os
import queue
import time
from dataclasses import dataclass, field

import cells
import pytest

jupyter_client = pytest.importorskip("jupyter_client", reason="magics are tested through jupyter_client")

DEADLINE = 30  # seconds for any one cell
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Answer:
    """What one cell sent, in the order of arrival, with the time of arrival."""

    messages: list = field(default_factory=list)
    seconds: float = 0.0

    def of(self, *kinds):
        return [message["content"] for _, message in self.messages if message["msg_type"] in kinds]

    @property
    def display(self):
        """The id of the cell's only display."""
        (content,) = self.of("display_data")
        return display_of(content)

    @property
    def bundle(self):
        """What the cell's output shows in the end; cells that ran before may still be updating theirs."""
        displays = {None, *map(display_of, self.of("display_data"))}
        shown = self.of("display_data", "update_display_data", "execute_result")
        return [content["data"] for content in shown if display_of(content) in displays][-1]

    @property
    def text(self):
        return self.bundle["text/plain"]

    @property
    def last(self):
        """The bundle of the last message."""
        return self.messages[-1][1]["content"]["data"]

    @property
    def printed(self):
        return "".join(content["text"] for content in self.of("stream"))

    @property
    def error(self):
        """The lines of the only error, as the front end shows them."""
        (content,) = self.of("error")
        return "\n".join(content["traceback"])


def updates(message, display):
    return message["msg_type"] == "update_display_data" and display_of(message["content"]) == display


def display_of(content):
    # A result has no display of its own.
    return content.get("transient", {}).get("display_id")


class Notebook:
    """One kernel with ebpflab's magics in it."""

    def __init__(self):
        self.manager, self.client = jupyter_client.manager.start_new_kernel(
            kernel_name="python3", env=cells.environment(), cwd=str(cells.ROOT), startup_timeout=DEADLINE
        )

    def start(self, code):
        return self.client.execute(code)

    def collect(self, request, *, meanwhile=lambda: None, until=None):
        """Gather what arrives until the request is done, or until a message satisfies `until`."""
        answer, begin = Answer(), time.monotonic()
        while time.monotonic() - begin < DEADLINE:
            meanwhile()
            try:
                message = self.client.get_iopub_msg(timeout=0.02)
            except queue.Empty:
                continue
            answer.messages.append((time.monotonic(), message))
            ours = message["parent_header"].get("msg_id") == request
            idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
            if (ours and idle) or (until and until(message)):
                answer.seconds = time.monotonic() - begin
                return answer
        raise AssertionError(f"the cell did not end within {DEADLINE} s: {answer.messages}")

    def run(self, code, **options):
        return self.collect(self.start(code), **options)

    def value(self, expression):
        return self.run(f"print({expression}, end='')").printed

    def stop(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture(scope="module")
def kernel():
    running = Notebook()
    answer = running.run("%load_ext ebpflab")
    assert answer.of("error") == []
    yield running
    running.stop()


@pytest.fixture
def notebook(kernel):
    yield kernel
    answer = kernel.run("import ebpflab\nebpflab.close_all()\nlen(ebpflab.sessions())")
    assert answer.text == "0"


def cell(line, source=cells.GETPPID):
    # The events are this process's, so that the kernel's own work is none of them.
    return f"%%bpf {line} --var only={os.getpid()}\n{source}"


def test_a_cell_leaves_a_session_in_its_name_and_shows_it_as_text_and_html(notebook):
    answer = notebook.run(cell("calls"))
    assert answer.of("error") == []
    (shown,) = answer.of("display_data")
    assert {"text/plain", "text/html"} <= set(shown["data"])
    for form in ("text/plain", "text/html"):
        for word in (
            "calls",
            "attached",
            "on_getppid",
            "sys_enter_getppid",
            "struct event",
            "compile",
            "attach",
        ):
            assert word in shown["data"][form]
    cells.call_getppid(13)
    assert notebook.value("calls.events.wait(13, timeout=5), len(calls.events.df())") == "True 13"


def test_the_first_rows_appear_below_the_cell_by_themselves(notebook):
    answer = notebook.run(cell("calls"))
    cells.call_getppid(3)
    updated = notebook.collect("", until=lambda message: updates(message, answer.display))
    assert str(os.getpid()) in updated.last["text/plain"]
    assert "first 3 of 3 events" in updated.last["text/plain"]


def test_a_timed_cell_blocks_detaches_and_shows_its_rows(notebook):
    answer = notebook.run(cell("calls --for 2s"), meanwhile=lambda: cells.call_getppid(1))
    assert 2.0 <= answer.seconds < 5.0
    assert "detached" in answer.text
    assert notebook.value("calls.state") == "detached"
    received = int(notebook.value("calls.events.stats()['received']"))
    assert received > 0
    assert received == int(notebook.value("calls.vars['seen']"))
    cells.call_getppid(3)
    assert int(notebook.value("len(calls.events.df())")) == received
    progress = [content["data"]["text/plain"] for content in answer.of("display_data", "update_display_data")]
    assert any("of 2 s" in line for line in progress[:-1])


FOLLOW = """
seen = 0
async for batch in calls.events:
    seen += len(next(iter(batch.values())))
    if seen >= 19:
        break
"""


def test_a_cell_follows_events_in_the_notebook_s_own_event_loop(notebook):
    notebook.run(cell("calls"))
    answer = notebook.run(FOLLOW, meanwhile=lambda: cells.call_getppid(19))
    assert answer.of("error") == []
    assert int(notebook.value("seen")) >= 19


def test_an_interrupt_ends_a_timed_cell_at_once_and_keeps_the_events(notebook):
    request = notebook.start(cell("calls --for 60s"))
    begun = notebook.collect(request, until=lambda message: "of 60 s" in str(message["content"].get("data")))
    cells.call_getppid(17)
    notebook.collect(request, until=lambda message: "17 events" in str(message["content"].get("data")))
    notebook.manager.interrupt_kernel()
    answer = notebook.collect(request)
    assert answer.seconds < 1.0
    assert answer.of("error") == []
    final = [message["content"]["data"] for _, message in answer.messages if updates(message, begun.display)][-1]
    assert "the events are kept" in final["text/plain"]
    assert "the events are kept" in final["text/html"]
    assert notebook.value("calls.state, len(calls.events.df())") == "detached 17"


def test_running_a_cell_again_replaces_its_session(notebook):
    notebook.run(cell("calls"))
    notebook.run("old = calls")
    notebook.run(cell("calls"))
    assert notebook.value("old.state, calls.state, old is calls") == "closed attached False"
    assert notebook.value("len(__import__('ebpflab').sessions())") == "1"


def test_a_cell_that_fails_leaves_the_old_session_in_its_name(notebook):
    notebook.run(cell("calls"))
    answer = notebook.run(cell("calls", cells.GETPPID.replace("e->pid = pid;", "e->pid = pid")))
    assert "CompileError" in answer.error
    cells.call_getppid(5)
    assert notebook.value("calls.state, calls.events.wait(5, timeout=5)") == "attached True"


ERRORS = {
    "a comment": ("%%bpf x\n// nothing\n", "CellError", "cell is empty"),
    "an unknown option": (cell("x --fro 2s"), "CellError", "did you mean --for"),
    "a bad duration": (cell("x --for ever"), "CellError", "not a duration"),
    "a bad name": (cell("2x"), "CellError", "variable name"),
    "bad C": (cell("x", cells.GETPPID.replace("e->pid = pid;", "e->pid = pid")), "CompileError", "cell, line 18"),
    "an unknown hook": (cell("x", cells.GETPPID.replace("getppid", "getpppid")), "HookNotFoundError", "enter_getppid"),
    "a refusal": (cell("x", cells.GETPPID.replace("\tif (!e)\n\t\treturn 0;\n", "")), "VerifierError", "if (!e)"),
    "an unknown variable": (cell("x --var onyl=1"), "CellError", "onyl"),
    "an unknown command": ("%bpf doctr", "CellError", "did you mean %bpf doctor"),
    "an unknown session": ("%bpf stop nobody", "CellError", "no live session is called nobody"),
    "an unknown tracepoint": ("%bpf format sched:sched_swich", "HookNotFoundError", "sched_switch"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_is_a_few_clear_lines_with_a_hint_and_no_traceback(notebook, case):
    code, kind, words = ERRORS[case]
    answer = notebook.run(code)
    assert answer.of("error")[0]["ename"] == kind
    assert answer.error.startswith(f"{kind} [")
    assert words in answer.error
    assert "hint: " in answer.error
    for trace in ("Traceback", 'File "', ".py"):
        assert trace not in answer.error + answer.printed
    assert len(answer.error.splitlines()) <= 12


def test_an_empty_cell_is_one_line_of_ipython_itself(notebook):
    answer = notebook.run("%%bpf x\n")
    assert "Traceback" not in str(answer.messages)
    assert "cell" in answer.printed


def test_the_switch_brings_full_tracebacks_back(notebook):
    notebook.run("import ebpflab.errors\nebpflab.errors.full_tracebacks = True")
    try:
        assert "Traceback" in notebook.run("%bpf doctr").error
    finally:
        notebook.run("ebpflab.errors.full_tracebacks = False")


def test_ps_lists_and_stop_closes_live_sessions(notebook):
    notebook.run(cell("one"))
    notebook.run(cell("two"))
    listed = notebook.run("%bpf ps")
    for form in ("text/plain", "text/html"):
        assert "one" in listed.bundle[form]
        assert "two" in listed.bundle[form]
    after = notebook.run("%bpf stop one")
    assert "two" in after.text
    assert notebook.value("one.state, two.state") == "closed attached"
    notebook.run("%bpf stop")
    assert notebook.value("two.state") == "closed"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("doctor", ("BTF", "tracefs", "clang", "libbpf")),
        ("format syscalls:sys_enter_getppid", ("sys_enter_getppid", "__syscall_nr")),
        ("hooks sys_enter_getppid", ("sys_enter_getppid", "tracepoint")),
        ("hooks getppid --kind tracepoint", ("sys_exit_getppid",)),
    ],
)
def test_questions_are_answered_as_text_and_html(notebook, command, words):
    answer = notebook.run(f"%bpf {command}")
    assert answer.of("error") == []
    for form in ("text/plain", "text/html"):
        for word in words:
            assert word in answer.bundle[form]


def test_no_attach_loads_only(notebook):
    answer = notebook.run(cell("calls --no-attach"))
    assert "loaded" in answer.text
    cells.call_getppid(5)
    assert notebook.value("calls.state, calls.vars['seen']") == "loaded 0"


def test_keep_event_and_attach_of_the_line_reach_the_session(notebook):
    source = cells.GETPPID.replace("__type(value, struct event); ", "")
    section = "tp/syscalls/sys_enter_getppid"
    answer = notebook.run(
        cell(f"calls --keep 5 --event events=event --attach {section}=syscalls:sys_enter_getuid", source)
    )
    assert answer.of("error") == []
    cells.call_getppid(3)
    for _ in range(11):
        os.getuid()
    assert notebook.value("calls.events.wait(11, timeout=5), len(calls.events.df())") == "True 5"
    assert notebook.value("calls.events.df().attrs['evicted'], calls.vars['seen']") == "6 11"
    assert notebook.value("list(calls.events.df())") == "['ts', 'pid', 'comm']"


def test_a_watched_cell_shows_a_view_whose_text_is_brought_up_to_date_while_other_cells_run(notebook):
    cell_ = notebook.run(cell("calls --watch"))
    assert cell_.of("error") == []
    (shown,) = cell_.of("display_data")
    assert {"text/plain", "text/html", WIDGET} <= set(shown["data"])
    for word in ("calls", "attached", "compile", "load + verify", "received"):
        assert word in shown["data"]["text/plain"]
        assert word in shown["data"]["text/html"]
    answer = notebook.run("import time; time.sleep(3)", meanwhile=lambda: cells.call_getppid(1))
    texts = [m["content"]["data"]["text/plain"] for _, m in answer.messages if updates(m, cell_.display)]
    # At 0.4 and 1.6 seconds, and then every five.
    assert 1 <= len(texts) <= 3
    assert str(os.getpid()) in texts[-1]
    assert len(set(texts)) == len(texts)
    notebook.start("calls.close()")
    closed = notebook.collect(
        "", until=lambda message: updates(message, cell_.display) and "closed" in str(message["content"])
    )
    assert "closed" in closed.last["text/html"]


def test_what_goes_wrong_in_a_view_is_said_below_the_cell_and_breaks_nothing(notebook):
    notebook.run("from ebpflab.jupyter.view import LiveView\nshow, LiveView.show = LiveView.show, None")
    try:
        answer = notebook.run(cell("calls --watch"))
    finally:
        notebook.run("LiveView.show = show")
    assert answer.of("error") == []
    assert "the live view cannot be shown: 'NoneType' object is not callable" in answer.text
    assert "attached" in answer.text
    cells.call_getppid(5)
    assert notebook.value("calls.events.wait(5, timeout=5), len(calls.events.df())") == "True 5"


def test_restarting_the_kernel_leaves_nothing_behind():
    running = Notebook()
    try:
        assert running.run("%load_ext ebpflab").of("error") == []
        assert running.run(cell("calls")).of("error") == []
        running.manager.restart_kernel(now=True)
        running.client.wait_for_ready(timeout=DEADLINE)
        assert running.run("%load_ext ebpflab").of("error") == []
        assert "no live sessions" in running.run("%bpf ps").text
    finally:
        running.stop()


TERMINAL = """
    from IPython.testing.globalipapp import start_ipython
    shell = start_ipython()
    shell.run_line_magic("load_ext", "ebpflab")
    assert shell.run_cell({good!r}).success
    print("STATE", shell.user_ns["calls"].state)
    shell.run_cell({bad!r})
    shell.run_cell("%bpf ps")
    shell.run_cell("%bpf stop")
    print("STATE", shell.user_ns["calls"].state)
    shell.run_cell({timed!r})
    print("STATE", shell.user_ns["calls"].state)
"""


def test_the_magics_work_in_a_terminal_too(tmp_path):
    bad = cell("x", cells.GETPPID.replace("e->pid = pid;", "e->pid = pid"))
    script = TERMINAL.format(good=cell("calls"), bad=bad, timed=cell("calls --for 500ms"))
    done = cells.python(script, env=cells.environment(IPYTHONDIR=str(tmp_path)))
    assert done.returncode == 0, done.stdout + done.stderr
    states = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("STATE")]
    assert states == ["attached", "closed", "detached"]
    assert "calls [attached]" in done.stdout
    assert "CompileError [compile]" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_unloading_leaves_the_shell_as_it_was_and_reloading_adds_nothing_twice():
    script = """
        from IPython.testing.globalipapp import start_ipython
        shell = start_ipython()

        def state():
            known = shell.magics_manager
            matchers = [getattr(m, "matcher_identifier", m) for m in shell.Completer.custom_matchers]
            ours = [each for each in shell.configurables if type(each).__name__ == "BpfMagics"]
            return ("bpf" in known.magics["cell"], "bpf" in known.magics["line"], len(ours),
                    "BpfMagics" in known.registry, matchers)

        before = state()
        shell.run_line_magic("load_ext", "ebpflab")
        loaded = state()
        shell.run_line_magic("reload_ext", "ebpflab")
        print(state() == loaded, loaded[0])
        shell.run_line_magic("unload_ext", "ebpflab")
        print(state() == before)
    """
    done = cells.python(script, env=cells.environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["True", "True", "True"]


@pytest.mark.parametrize("asked", ["", "help", "--help"])
def test_the_magic_alone_lists_its_commands(notebook, asked):
    shown = notebook.run(f"%bpf {asked}").text
    for command in ("hooks", "type task_struct", "template sched:sched_switch", "ps", "doctor"):
        assert f"%bpf {command}" in shown


@pytest.mark.parametrize("line", ["type list_head --tree --c", "ps now", "doctor please"])
def test_what_a_command_does_not_take_is_an_error_of_ours(notebook, line):
    done = notebook.run(f"%bpf {line}")
    assert done.error.startswith("CellError [cell]: ")
    assert "Traceback" not in done.error
