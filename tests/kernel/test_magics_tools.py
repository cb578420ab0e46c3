"""``%bpf run`` and ``%bpf tools`` as a notebook uses them."""

from __future__ import annotations

import os

from test_magics import kernel, notebook  # noqa: F401 (fixtures)

from ebpflab.toolbox import shelf

OPENS = 23


def test_a_tool_runs_for_a_while_and_shows_its_rows_and_its_picture(notebook, tmp_path):  # noqa: F811
    work = f"""
import os, threading, time, ebpflab
def work():
    while not any(s.name == "opensnoop" for s in ebpflab.sessions()):
        time.sleep(0.02)
    for _ in range({OPENS}):
        os.close(os.open({str(tmp_path)!r}, os.O_RDONLY))
threading.Thread(target=work, daemon=True).start()
get_ipython().run_line_magic("bpf", f"run opensnoop --for 1.5s --pid {{os.getpid()}}")
"""
    answer = notebook.run(work)
    assert answer.of("error") == []
    shown = [content["data"] for content in answer.of("display_data", "update_display_data")]
    assert any("image/png" in data for data in shown)
    assert any("which process opens which file, and did it work?" in data["text/plain"] for data in shown)
    counted = f"opensnoop.rows()['path'].tolist().count({str(tmp_path)!r}), opensnoop.state, opensnoop.tool.name"
    assert notebook.run(counted).text == f"({OPENS}, 'detached', 'opensnoop')"


def test_a_tool_that_counts_shows_what_it_counted_and_goes_on_until_it_is_stopped(notebook):  # noqa: F811
    answer = notebook.run("%bpf run runqlat --for 1s --as waits")
    assert answer.of("error") == []
    assert "waits: first " in [c["data"] for c in answer.of("update_display_data")][-1]["text/plain"]
    assert "attached" in notebook.run("%bpf run runqlat").text
    assert notebook.run("(runqlat.state, waits.state)").text == "('attached', 'detached')"
    notebook.run("import os")
    assert notebook.run("%bpf run runqlat --pid {os.getpid()}").of("error") == []
    assert notebook.run("runqlat.vars['pid'] == os.getpid()").text == "True"


def test_tools_are_listed_and_each_shows_its_options(notebook):  # noqa: F811
    listed = notebook.run("%bpf tools").text
    assert len(listed.splitlines()) == 1 + len(shelf.paths())
    assert max((shelf.find(name).question for name in shelf.paths()), key=len) in listed, "not cut"
    assert "NA" not in listed
    assert "runqlat" not in notebook.run("%bpf tools file").text
    shown = notebook.run("%bpf tools opensnoop").text
    assert [word for word in ("--only-failed", "did it work?", "ns a run") if word not in shown] == []


def test_mistakes_name_the_nearest_tool_and_option(notebook):  # noqa: F811
    assert "did you mean opensnoop?" in notebook.run("%bpf run opensnop").error
    assert "did you mean --only-failed" in notebook.run("%bpf run opensnoop --only-fialed").error
    assert "needs the name of a tool" in notebook.run("%bpf run").error
    assert "cannot be a variable name" in notebook.run(f"%bpf run opensnoop --as 1x --pid {os.getpid()}").error
