"""Replay where BPF cannot be used: without capabilities, without libbpf, without what only Linux has."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import nbformat
import pytest

import ebpflab
from ebpflab import verifier
from ebpflab.recording.reader import Recording

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
RECORDINGS = NOTEBOOKS / "recordings"
OPENS = RECORDINGS / "00_quickstart" / "opens.parquet"
NOBODY = 65534


def unprivileged(command):
    """The command as nobody, with no capability but that to read this interpreter, wherever it is."""
    if os.geteuid() != 0:
        return command
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) is not installed")
    user = [f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    held = [f"--{which}=-all,+dac_read_search" for which in ("inh-caps", "ambient-caps", "bounding-set")]
    return ["setpriv", *user, *held, *command]


@pytest.fixture
def home():
    """A folder of nobody's, outside of those that pytest keeps to itself."""
    folder = Path(tempfile.mkdtemp(prefix="ebpflab-nobody-"))
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def run(home):
    """Run a script without privileges and return what it printed."""

    def running(script, *arguments, **variables):
        environment = {
            **os.environ,
            **dict.fromkeys(("HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME"), str(home)),
            "PYTHONPATH": str(ROOT),
            **variables,
        }
        command = unprivileged([sys.executable, "-W", "error", "-c", textwrap.dedent(script), *map(str, arguments)])
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env=environment, cwd=home, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return running


def test_a_process_without_capabilities_replays(run):
    script = """
    import os, sys, ebpflab
    from ebpflab.inspectors import kernel
    assert os.geteuid() and kernel.facts().capabilities <= {"CAP_DAC_READ_SEARCH"}
    with ebpflab.replay(sys.argv[1], speed=None) as session:
        print(len(session.events.df()), session.events.df()["comm"].nunique() > 3)
    """
    assert run(script, OPENS) == f"{Recording(OPENS).rows} True\n"


# Deletes what only Linux has, and refuses every shared library, before the package is imported.
ELSEWHERE = """
import ctypes, mmap, os, platform, select, signal, socket, sys
import IPython.core.interactiveshell, IPython.testing.globalipapp, pandas, pyarrow.parquet
for module, names in (
    (os, "eventfd eventfd_read eventfd_write EFD_CLOEXEC EFD_NONBLOCK EFD_SEMAPHORE memfd_create pidfd_open "
         "sched_getaffinity sched_setaffinity setns unshare O_PATH O_TMPFILE splice getxattr posix_fadvise"),
    (select, "epoll poll EPOLLIN EPOLLOUT EPOLLET POLLIN"),
    (mmap, "MAP_POPULATE MAP_NORESERVE MADV_HUGEPAGE"),
    (socket, "AF_NETLINK AF_PACKET AF_VSOCK SO_BINDTODEVICE"),
    (signal, "pidfd_send_signal"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

def no_library(self, name=None, *arguments, **options):
    if name is not None:
        raise OSError(f"{name}: not on this machine")
    original(self, name, *arguments, **options)

original, ctypes.CDLL.__init__ = ctypes.CDLL.__init__, no_library
sys.platform, platform.system = "darwin", lambda: "Darwin"
import ebpflab
"""


def test_replay_needs_no_libbpf_and_nothing_that_only_linux_has(run, home):
    script = f"""
    {ELSEWHERE.replace(chr(10), chr(10) + "    ")}
    with ebpflab.replay(sys.argv[1], speed=None) as session:
        frame = session.events.df()
        print(len(frame), session.state, session.links["program"].tolist())
        with session.events.record(sys.argv[2]) as again:
            pass
    with ebpflab.replay(sys.argv[2], speed=1e6) as second:
        assert second.events.wait(len(frame), timeout=20)
        pandas.testing.assert_frame_equal(second.events.df(), frame, check_exact=True)
    print(again.rows, pandas.read_parquet(sys.argv[2]).shape[0])
    from ebpflab.recording import fallback
    print(fallback.note())
    """
    lines = run(script, OPENS, home / "again.parquet").splitlines()
    rows = Recording(OPENS).rows
    assert lines[:2] == [f"{rows} replayed ['on_open']", f"{rows} {rows}"]
    assert lines[2] == "This notebook replays recordings: BPF is Linux's, and this is Darwin."


# --- Notebooks ------------------------------------------------------------------------------------------------


def cells_of(notebook):
    """The %%bpf cells of a notebook: name, text."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        first, _, rest = cell.source.partition("\n")
        if cell.cell_type == "code" and first.startswith("%%bpf "):
            yield first.split()[1], rest


def needs_a_kernel(notebook):
    """Whether a notebook is about what this machine's kernel does now, and says so in its metadata."""
    return nbformat.read(notebook, as_version=4).metadata.get("ebpflab", {}).get("replay") is False


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_cell_of_every_notebook_has_its_recording_or_the_notebook_says_that_it_needs_a_kernel(notebook):
    if needs_a_kernel(notebook):
        said = [cell.source for cell in nbformat.read(notebook, as_version=4).cells[:3] if cell.cell_type == "markdown"]
        assert "root" in "".join(said)
        return
    again = "`make recordings` makes them again"
    for name, source in cells_of(notebook):
        refusal, path = (RECORDINGS / notebook.stem / f"{name}.{kind}" for kind in ("json", "parquet"))
        if refusal.exists():
            assert json.loads(refusal.read_text())["source"].strip() == source.strip(), again
            continue
        assert path.exists(), again
        assert path.stat().st_size < 200_000
        recording = Recording(path)
        assert recording.about.facts.source.strip() == source.strip(), again
        assert recording.tally.complete
        assert recording.rows > 31


EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
from traitlets.config import Config
book = nbformat.read(sys.argv[1], as_version=4)
for cell in book.cells:
    if cell.cell_type == "code":
        cell.outputs = []
ipc = Config(KernelManager={"transport": "ipc", "ip": sys.argv[2] + "/kernel"})
place = {"metadata": {"path": sys.argv[2]}}
NotebookClient(book, timeout=100, kernel_name="python3", resources=place, allow_errors=True, config=ipc).execute()
print(nbformat.writes(book))
"""


def outputs_of(cell, kind="text/plain"):
    return "".join(output.get("data", {}).get(kind, "") for output in cell.outputs)


def test_the_quickstart_runs_on_its_recordings_and_says_so_on_top(run, home):
    done = run(EXECUTE, NOTEBOOKS / "00_quickstart.ipynb", home)
    book = nbformat.reads(done, as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert "This notebook replays recordings: " in outputs_of(code[0])
    assert "CAP_BPF" in outputs_of(code[0])
    failed = {
        output.ename: cell.source.split("\n")[0]
        for cell in code
        for output in cell.outputs
        if output.output_type == "error"
    }
    assert failed == {"VerifierError": "%%bpf careless"}
    opens = next(cell for cell in code if cell.source.startswith("%%bpf opens"))
    assert f"first 5 of {Recording(OPENS).rows:,} events" in outputs_of(opens)
    assert "A recording, since the process lacks CAP_BPF" in outputs_of(opens)
    assert sum(bool(outputs_of(cell, "image/png")) for cell in code) == 2
    assert "'received': " in outputs_of(code[-1])


def test_a_notebook_of_questions_is_answered_by_the_kernels_types_and_by_recordings(run, home):
    book = nbformat.reads(run(EXECUTE, NOTEBOOKS / "03_finding_a_hook.ipynb", home), as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    failed = [cell.source for cell in code for output in cell.outputs if output.output_type == "error"]
    assert failed == [cell.source for cell in code if "raises-exception" in cell.metadata.get("tags", [])]
    starts = next(cell for cell in code if cell.source.startswith("%%bpf starts"))
    assert "A recording, since the process lacks CAP_BPF" in outputs_of(starts)


def panels_of(code):
    """What the cells that are refused show: name to the last line of the error, and the panel's text and HTML."""
    found = {}
    for cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                found[cell.source.split()[1]] = (output.ename, outputs_of(cell), outputs_of(cell, "text/html"))
    return found


def test_the_verifiers_errors_are_explained_again_where_there_is_no_verifier(run, home):
    path = NOTEBOOKS / "12_reading_verifier_errors.ipynb"
    saved, book = nbformat.read(path, as_version=4), nbformat.reads(run(EXECUTE, path, home), as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    panels, live = panels_of(code), panels_of(c for c in saved.cells if c.cell_type == "code")
    assert len(panels) == 10
    assert panels.keys() == live.keys()
    assert [name for name, panel in panels.items() if panel[0] == "CompileError"] == ["large_stack"]
    for name in panels.keys() - {"large_stack"}:
        _, shown, html = panels[name]
        kept = json.loads((RECORDINGS / path.stem / f"{name}.json").read_text())
        explained = verifier.explain(kept["log"], file="cell", cell=kept["source"])
        assert shown.split("\n")[:3] == live[name][1].split("\n")[:3]  # what was said, and the line
        steps = [step.what for step in explained.story if len(explained.story) > 1]  # one alone may be the line's
        told = [explained.meaning, explained.fix, *explained.snippet.split("\n"), *steps]
        assert [text for text in told if text not in shown] == []
        assert "recorded on Linux " in shown
        assert "  whole log: " in shown
        assert f"%bpf log {name} WORDS" in shown
        assert explained.message in shown.split("whole log: ")[1]
        assert "<details>" in html
    results = [cell for cell in code if cell.source.startswith("%%bpf") and "--for" in cell.source.split("\n")[0]]
    assert len(results) == 11
    for cell in results:
        assert "A recording, since the process lacks CAP_BPF" in outputs_of(cell)
        assert "first 5 of" in outputs_of(cell)
    asked = next(cell for cell in code if cell.source.startswith("%bpf log"))
    assert "R0=map_value_or_null" in outputs_of(asked)
    counted = next(cell for cell in code if cell.source.endswith(".verification"))
    assert " 1000000 " in outputs_of(counted)
    assert sum(bool(outputs_of(cell, "image/png")) for cell in code) == 1
    table = outputs_of(next(cell for cell in code if "rows = []" in cell.source), "text/html")
    assert table.count("<tr>") == 1 + 10


def test_the_demo_runs_on_recordings_and_says_so(run, home):
    page = home / "quickstart.html"
    script = "import sys; from ebpflab import cli; sys.exit(cli.main(['demo', '--output', sys.argv[1]]))"
    printed = run(script, page)
    assert " kernel events replayed from recordings: the process lacks CAP_BPF" in printed.splitlines()[0]
    assert "This notebook replays recordings" in page.read_text()


SHELL = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "ebpflab")
print("---")
for name, source in zip(sys.argv[1::2], sys.argv[2::2]):
    shell.run_cell(f"%%bpf {name}\\n{source}")
    print("---")
print(*(f"{s.name} {s.engine} {len(s.events)}" for s in __import__("ebpflab").sessions()))
"""
PROGRAM = 'SEC("raw_tp/sys_enter") int h(void *ctx) { return 0; }'


def test_a_cell_without_a_recording_fails_as_it_always_did(run):
    printed = run(SHELL, "mine", PROGRAM).split("---\n")
    assert "This notebook replays recordings" in printed[0]
    assert "PrivilegeError" in printed[1]
    assert "CAP_BPF" in printed[1]
    assert printed[2] == "\n"


def test_a_changed_cell_replays_the_recording_of_its_name_and_says_that_it_is_another(run):
    (_, shown, live) = run(SHELL, "opens", PROGRAM).split("---\n")
    assert "The cell was changed since; the recording is of its old text." in shown
    assert live == f"opens replay {Recording(OPENS).rows}\n"


def test_recordings_are_looked_for_where_one_says(run, home):
    (home / "empty").mkdir()
    printed = run(SHELL, "opens", PROGRAM, EBPFLAB_RECORDINGS=str(home / "empty")).split("---\n")
    assert printed[0] == ""
    assert "PrivilegeError" in printed[1]
    folder = home / "mine" / "anything"
    folder.mkdir(parents=True)
    shutil.copy(OPENS, folder / "other.parquet")
    printed = run(SHELL, "other", PROGRAM, EBPFLAB_RECORDINGS=str(home / "mine")).split("---\n")
    assert printed[2] == f"other replay {Recording(OPENS).rows}\n"


def test_a_line_that_needs_the_kernel_shows_what_was_recorded(run):
    script = """
    from ebpflab.errors import KernelSupportError
    from ebpflab.recording import fallback
    def refused():
        raise KernelSupportError("no tracefs here")
    shown = fallback.shown("hooks  openat --kind tracepoint", refused)
    print("sys_enter_openat" in repr(shown), "<table" in shown._repr_html_(), fallback.shown("x", lambda: 7))
    try:
        fallback.shown("hooks nothing", refused)
    except KernelSupportError as error:
        print(error)
    """
    assert run(script) == "True True 7\nno tracefs here\n"


# --- The command ----------------------------------------------------------------------------------------------


def test_the_command_prints_a_summary_or_json(run):
    script = "import sys; from ebpflab import cli; sys.exit(cli.main(['replay', *sys.argv[1:]]))"
    rows = Recording(OPENS).rows
    assert f"first 5 of {rows:,} events" in run(script, OPENS)
    plain = json.loads(run(script, OPENS, "--json"))
    assert (plain["session"], plain["stats"]["received"], len(plain["first"])) == ("opens", rows, 5)
    assert plain["programs"] == ["tp/syscalls/sys_enter_openat"]
    assert f"{rows:,} events" in run(script, OPENS, "--speed", "1000")


def test_the_front_door_has_replay():
    assert ebpflab.replay.__module__ == "ebpflab.recording.replay"
