"""Make the recordings that notebooks replay where the kernel cannot be used: ``make recordings``.

Needs root. For each notebook it runs the %%bpf and %%bpftrace cells beside a little work, and keeps what they captured,
the errors that they are there to show, what it took to verify them, and what %bpf lines displayed, in
notebooks/recordings/NOTEBOOK. Notebooks whose metadata say that they need a kernel have none. Python cells are left out
but those with the tag ``for-recordings``, and one that defines start_reader(): its process is the work then. Names of
notebooks on the command line say which: ``python -m tests.make_recordings 12_reading_verifier_errors``.
"""

import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from IPython.core.interactiveshell import InteractiveShell

import ebpflab
from ebpflab import options, verifier
from ebpflab.errors import CompileError, EbpflabError, VerifierError
from ebpflab.recording.reader import Recording
from ebpflab.tracer import recorded

HERE = Path(__file__).resolve().parents[1] / "notebooks"
TALK = 'import json, socket; s = socket.socket(type=2); [s.sendto(bytes(n), ("127.0.0.1", 9)) for n in range(64)]'
WORK = f"while sleep 0.5; do ls -R /usr/share/doc/lib[a-c]*; cat /etc/host*; {sys.executable} -c '{TALK}'; done"
NOT_RECORDED = ("doctor", "log", "ps", "stop")  # true on any machine
SECONDS = 5.0
LARGEST = 200_000  # bytes: notebooks are cloned and downloaded
LOG = 64_000  # characters of a log that are kept, its end


@contextlib.contextmanager
def some_work():
    """Something to watch: a function that is given a stream, and how many seconds to let it run."""
    work = subprocess.Popen(
        ["sh", "-c", WORK], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        time.sleep(0.5)
        yield lambda events, seconds: time.sleep(seconds)  # it goes on, whatever came
    finally:
        os.killpg(work.pid, 15)
        work.wait()


def work_of(shell, cells):
    """What a notebook's cells watch: the process that its own start_reader() makes, or some work."""
    source = next((cell.source for cell in cells if "def start_reader(" in cell.source), None)
    if source is None:
        return some_work
    shell.run_cell(source).raise_error()
    space = shell.user_ns
    space["reader"].communicate("go\n")

    @contextlib.contextmanager
    def reads():
        reader = space["start_reader"]()

        def watched(events, seconds):
            reader.communicate("go\n")
            assert events.wait(space["READS"], timeout=seconds), f"{len(events)} of {space['READS']} reads"

        try:
            yield watched
        finally:
            reader.kill()
            reader.communicate()

    return reads


def record_trace(line, text, folder, work):
    """Run one cell of bpftrace's, and keep what it prints."""
    name = line.split()[0]
    path = folder / f"{name}{recorded.SUFFIX}"
    with work() as watched, ebpflab.bpftrace(text, name=name) as trace:
        watched(trace.events, SECONDS)
    recorded.save(trace, path).chmod(0o644)
    print(f"  {name}: {len(trace.events):,} lines, {path.stat().st_size / 1000:.0f} kB")
    assert trace.state == "closed"
    assert not trace.lost
    assert path.stat().st_size < LARGEST, f"{path} is larger than {LARGEST} bytes"


def record(line, source, folder, work):
    """Run one cell; keep what it captures and return what it took to verify, or keep how it is refused."""
    asked = options.parse(line)
    path = folder / f"{asked.name}.parquet"
    try:
        with ebpflab.load(
            source,
            name=asked.name,
            attach=False,
            targets=asked.targets,
            vars=asked.vars,
            keep=asked.keep,
            events=asked.events,
        ) as session:
            assert len(session.verification)
            recorder = session.events.record(path)
            with work() as watched:
                session.attach()
                watched(session.events, min(asked.seconds or SECONDS, SECONDS))
                session.detach()
        path.chmod(0o644)  # these are for everybody
        print(f"  {asked.name}: {recorder.rows:,} events, {path.stat().st_size / 1000:.0f} kB")
        assert Recording(path).rows == recorder.rows > 0, f"{asked.name} captured nothing"
        assert path.stat().st_size < LARGEST, f"{path} is larger than {LARGEST} bytes"
        return {asked.name: {program: vars(counted) for program, counted in session._statistics.items()}}
    except (CompileError, VerifierError) as error:
        plain = refusal(error, source)
        path.with_suffix(".json").write_text(json.dumps(plain, indent=1) + "\n")
        print(f"  {asked.name}: {error.what}")
        return {}


def refusal(error, source):
    """What of an error makes it again."""
    plain = {
        "source": source,
        "kernel": platform.release(),
        "what": error.what,
        "where": vars(error.where) if error.where else None,
        "hint": error.hint,
        "details": [text for text in error.details if not text.startswith("whole log:")],
    }
    if isinstance(error, CompileError):
        return plain | {"diagnostics": [{"severity": d.severity, "message": d.message} for d in error.diagnostics]}
    log, whole = error.log, error.explanation
    if len(log) > LOG:
        log = log[log.index("\n", len(log) - LOG) + 1 :]
        kept = verifier.explain(log, file="cell", cell=source)
        assert (kept.line, kept.story, kept.snippet) == (whole.line, whole.story, whole.snippet), "keep more of the log"
    return plain | {"program": error.program, "log": log, "lines": whole.lines}


def shown(shell, cell, asked):
    """What a %bpf line displays, by MIME type; None if it is there to fail."""
    try:
        data, _ = shell.display_formatter.format(shell.run_line_magic("bpf", asked))
    except EbpflabError:
        if "raises-exception" in cell.metadata.get("tags", []):  # it fails anywhere
            return None
        raise
    return {kind: data[kind] for kind in ("text/plain", "text/html") if kind in data}


def record_notebook(shell, notebook):
    """Run the cells of one notebook, and keep what they give in its folder."""
    print(notebook.stem)
    folder = HERE / "recordings" / notebook.stem
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.parquet"), *folder.glob("*.json"), *folder.glob(f"*{recorded.SUFFIX}")):
        old.unlink()
    lines, verification = {}, {}
    cells = nbformat.read(notebook, as_version=4).cells
    work = work_of(shell, cells)
    for cell in cells:
        first, _, rest = cell.source.partition("\n")
        if cell.cell_type != "code":
            continue
        if "for-recordings" in cell.metadata.get("tags", []):
            shell.run_cell(cell.source).raise_error()
        elif first.startswith("%%bpf "):
            verification |= record(first.removeprefix("%%bpf "), rest, folder, work)
        elif first.startswith("%%bpftrace "):
            record_trace(first.removeprefix("%%bpftrace "), rest, folder, work)
        elif first.startswith("%bpf ") and first.split()[1] not in NOT_RECORDED:
            asked = " ".join(first.split()[1:])
            data = shown(shell, cell, asked)
            lines |= {asked: data} if data is not None else {}
    (folder / "lines.json").write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")
    (folder / "verification.json").write_text(json.dumps(verification) + "\n")


def main():
    shell = InteractiveShell.instance()
    ebpflab.load_ipython_extension(shell)
    for notebook in sorted(HERE.glob("*.ipynb")):
        about = nbformat.read(notebook, as_version=4).metadata.get("ebpflab", {})
        if about.get("replay") is not False and notebook.stem in (sys.argv[1:] or [notebook.stem]):
            record_notebook(shell, notebook)


if __name__ == "__main__":
    main()
