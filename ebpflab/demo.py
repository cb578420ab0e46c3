"""Run the quickstart notebook without a browser against the running kernel, and keep what it showed.

Where the kernel cannot be used, the notebook replays its recordings, and the result says so.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import EbpflabError, ToolMissingError

if TYPE_CHECKING:
    from nbformat import NotebookNode

QUICKSTART = "00_quickstart.ipynb"
CELL_TIMEOUT = 300  # seconds; a quickstart cell takes a few

_MIME = "application/vnd.ebpflab.demo+json"

# Runs in the notebook's own kernel after its last cell. It asks the sessions themselves what came: no text
# that the notebook prints can stand in for an event.
_HARVEST = f"""
def _harvest(namespace):
    import sys
    from IPython.display import display
    module = sys.modules.get("ebpflab.session")
    found = []
    fallback = sys.modules.get("ebpflab.recording.fallback")
    reason = fallback.why_not() if fallback else None
    for name, value in sorted(namespace.items()):
        if module is None or name.startswith("_") or not isinstance(value, module.Session):
            continue
        for stream_name, stream in value.streams.items():
            found.append(dict(
                session=name,
                stream=stream_name,
                received=int(stream.stats()["received"]),
                replayed=getattr(value, "engine", "") == "replay",
                rows=stream.df().head(5).to_string(index=False),
            ))
    display({{"{_MIME}": dict(streams=found, reason=reason)}}, raw=True)

_harvest(dict(globals()))
"""


@dataclass(frozen=True)
class Captured:
    """What one stream of the notebook captured: how many events, its first rows as text, whether from a recording."""

    session: str
    stream: str
    received: int
    rows: str
    replayed: bool = False

    def __str__(self) -> str:
        return f"{self.session}.{self.stream}: {self.received} events\n{self.rows}"


@dataclass(frozen=True)
class Demo:
    """The result of a demo: the streams that captured something, and the page that shows the notebook.

    ``reason`` says why it replayed recordings, if it did: what is in the way of using the kernel.
    """

    streams: tuple[Captured, ...]
    page: Path
    reason: str = ""

    @property
    def received(self) -> int:
        """Events of all streams together."""
        return sum(stream.received for stream in self.streams)

    def __str__(self) -> str:
        replayed = any(stream.replayed for stream in self.streams)
        parts = [
            f"{self.received} kernel events replayed from recordings: {self.reason}"
            if replayed
            else f"{self.received} kernel events captured",
            *map(str, self.streams),
            f"the notebook: {self.page}",
        ]
        return "\n\n".join(parts)


def notebooks_folder() -> Path:
    """Return the folder of the notebooks: in the installed package, or beside it in the source tree."""
    package = Path(__file__).resolve().parent
    folders = (package / "notebooks", package.parent / "notebooks")
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def run(page: str | Path, notebook: str | Path | None = None) -> Demo:
    """Execute a notebook in a temporary copy of its folder, and write it as HTML.

    The page is written even if a cell fails: it then shows how far it came.

    Parameters
    ----------
    page
        The HTML file to write; its folder is made.
    notebook
        The notebook to run instead of the quickstart.

    Raises
    ------
    EbpflabError
        If there is no such notebook, if a cell fails, or if no event was captured.
    ToolMissingError
        If nbclient or nbconvert is not installed.

    Examples
    --------
    >>> run("build/quickstart.html").received > 0
    True
    """
    source = Path(notebook) if notebook else notebooks_folder() / QUICKSTART
    if not source.is_file():
        raise EbpflabError(f"there is no notebook {source}", stage="demo")
    page = Path(page)
    book, failure = _execute(source)
    harvest = book.cells.pop()
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(_as_html(book, source.stem), encoding="utf-8")
    if failure:
        raise EbpflabError(failure, stage="demo", hint=f"{page} shows how far it came")
    found, reason = _captured(harvest)
    streams = tuple(stream for stream in found if stream.received)
    if not streams:
        raise EbpflabError("the notebook ran, and no event was captured", stage="demo", hint="ebpflab doctor")
    return Demo(streams, page, reason)


def _execute(source: Path) -> tuple[NotebookNode, str | None]:
    nbclient, nbformat = _imported("nbclient"), _imported("nbformat")
    book = nbformat.read(source, as_version=4)
    book.cells.append(nbformat.v4.new_code_cell(_HARVEST))
    with tempfile.TemporaryDirectory(prefix="ebpflab-demo-") as folder:
        copy = Path(folder) / "notebooks"
        shutil.copytree(source.parent, copy, ignore=shutil.ignore_patterns(".*"))
        client = nbclient.NotebookClient(
            book,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            resources={"metadata": {"path": str(copy)}},
            # A root user's kernel that listens on TCP would be open to others on the machine.
            config=_imported("traitlets.config").Config(KernelManager={"transport": "ipc", "ip": f"{folder}/kernel"}),
        )
        try:
            client.execute()
        except nbclient.exceptions.CellExecutionError:
            return book, _failed_cell(book)
        except (nbclient.exceptions.CellTimeoutError, nbclient.exceptions.DeadKernelError) as error:
            return book, str(error).strip()
    return book, None


def _failed_cell(book: NotebookNode) -> str:
    for number, cell in enumerate(book.cells, start=1):
        tolerated = "raises-exception" in cell.metadata.get("tags", ())
        for output in cell.get("outputs", ()) if not tolerated else ():
            if output.output_type == "error":
                first = next(iter(cell.source.strip().splitlines()), "")
                return f"cell {number} ({first}) failed: {output.ename}: {output.evalue}"
    return "a cell failed and left no error output"


def _captured(cell: NotebookNode) -> tuple[list[Captured], str]:
    found = [o.data[_MIME] for o in cell.outputs if o.output_type == "display_data" and _MIME in o.data]
    reasons = [each["reason"] for each in found if each["reason"]]
    return [Captured(**row) for each in found for row in each["streams"]], "".join(reasons[:1])


def _as_html(book: NotebookNode, title: str) -> str:
    exporter = _imported("nbconvert").HTMLExporter()  # jupyter/nbconvert.json, where installed, told it of %%bpf
    text, _ = exporter.from_notebook_node(book, resources={"metadata": {"name": title}})
    return str(text)


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        hint = shlex.join([sys.executable, "-m", "pip", "install", "ebpflab[lab]"])
        raise ToolMissingError(f"the demo needs {name}, which is not installed", hint=hint) from error
