"""Make the recordings that notebooks replay where the kernel cannot be used: ``make recordings``.

Needs root. For each notebook it runs the %%bpf cells beside a little work, and keeps what they captured, the errors
that they are there to show, and what %bpf lines displayed, in notebooks/recordings/NOTEBOOK.
"""

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
from IPython.core.interactiveshell import InteractiveShell

import ebpflab
from ebpflab import options
from ebpflab.errors import EbpflabError, VerifierError

HERE = Path(__file__).resolve().parents[1] / "notebooks"
WORK = f"while sleep 0.5; do ls -R /usr/share/doc/lib[a-c]*; cat /etc/host*; {sys.executable} -c 'import json'; done"
NOT_RECORDED = ("doctor", "ps", "stop")  # true on any machine
SECONDS = 5.0
LARGEST = 200_000  # bytes: notebooks are cloned and downloaded


@contextlib.contextmanager
def some_work():
    work = subprocess.Popen(
        ["sh", "-c", WORK], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        os.killpg(work.pid, 15)
        work.wait()


def record(line, source, folder):
    """Run one cell and keep what it captures, or how it is refused."""
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
            recorder = session.events.record(path)
            with some_work():
                time.sleep(0.5)
                session.attach()
                time.sleep(min(asked.seconds or SECONDS, SECONDS))
                session.detach()
        path.chmod(0o644)  # these are for everybody
        print(f"  {asked.name}: {recorder.rows:,} events, {path.stat().st_size / 1000:.0f} kB")
        assert recorder.rows, f"{asked.name} captured nothing"
        assert path.stat().st_size < LARGEST, f"{path} is larger than {LARGEST} bytes"
    except VerifierError as error:
        plain = {
            "source": source,
            "kernel": platform.release(),
            "what": error.what,
            "program": error.program,
            "log": error.log,
            "where": vars(error.where) if error.where else None,
            "hint": error.hint,
            "details": [text for text in error.details if not text.startswith("whole log:")],
        }
        path.with_suffix(".json").write_text(json.dumps(plain, indent=1) + "\n")
        print(f"  {asked.name}: {error.what}")


def main():
    shell = InteractiveShell.instance()
    ebpflab.load_ipython_extension(shell)
    for notebook in sorted(HERE.glob("*.ipynb")):
        print(notebook.stem)
        folder = HERE / "recordings" / notebook.stem
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        lines = {}
        for cell in nbformat.read(notebook, as_version=4).cells:
            first, _, rest = cell.source.partition("\n")
            if cell.cell_type == "code" and first.startswith("%%bpf "):
                record(first.removeprefix("%%bpf "), rest, folder)
            elif cell.cell_type == "code" and first.startswith("%bpf ") and first.split()[1] not in NOT_RECORDED:
                asked = " ".join(first.split()[1:])
                try:
                    data, _ = shell.display_formatter.format(shell.run_line_magic("bpf", asked))
                except EbpflabError:
                    if "raises-exception" in cell.metadata.get("tags", []):  # it fails anywhere
                        continue
                    raise
                lines[asked] = {kind: data[kind] for kind in ("text/plain", "text/html") if kind in data}
        (folder / "lines.json").write_text(json.dumps(lines, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
