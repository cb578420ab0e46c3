"""JupyterLab as the tests use it: a server, the application in the browser, and a notebook open in it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from pathlib import Path

import cdp
import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
_REQUIRED = os.environ.get("EBPFLAB_REQUIRE_KERNEL", "") not in ("", "0")

TOKEN = "ebpflab-tests"
_KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
_LANGUAGE = {"language_info": {"name": "python", "mimetype": "text/x-python", "pygments_lexer": "ipython3"}}
# No news from the network; and no debugger, which complains of kernels that end early.
_NOISY = ("@jupyterlab/apputils-extension:announcements", "@jupyterlab/debugger-extension")
QUIET = {"disabledExtensions": dict.fromkeys(_NOISY, True)}

# In the page: the active notebook, and the editor of one of its cells.
_HELPERS = """
window.ebpflabTest = {
    cell: number => jupyterapp.shell.currentWidget.content.widgets[number],
    view: number => ebpflabTest.cell(number).editor.editor,
    colours: number => {
        const found = [];
        const walker = document.createTreeWalker(ebpflabTest.view(number).contentDOM, NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
            const style = getComputedStyle(walker.currentNode.parentElement);
            found.push([walker.currentNode.data, style.color]);
        }
        return found;
    },
    // The colour of a variable of the theme, as the browser computes it.
    themed: name => {
        const probe = document.body.appendChild(document.createElement("span"));
        probe.style.color = `var(--jp-mirror-editor-${name}-color)`;
        const { color } = getComputedStyle(probe);
        probe.remove();
        return color;
    },
};
"""


def refuse(reason):
    """Skip the test, and say why; where nothing may be skipped, fail."""
    if _REQUIRED:
        pytest.fail(f"EBPFLAB_REQUIRE_KERNEL is set, and {reason}", pytrace=False)
    pytest.skip(reason)


@contextlib.contextmanager
def serving(folder):
    """A JupyterLab of its own, with nothing of the user's: as a :class:`Server`."""
    environment = dict(os.environ)
    for kind in ("config", "data", "runtime"):
        (folder / kind).mkdir()
        environment[f"JUPYTER_{kind.upper()}_DIR"] = str(folder / kind)
    environment["JUPYTERLAB_WORKSPACES_DIR"] = environment["JUPYTERLAB_SETTINGS_DIR"] = str(folder / "config")
    environment["IPYTHONDIR"] = str(folder / "ipython")
    # What the wheel puts into share/jupyter, but from this tree: an installed copy may be older.
    environment["JUPYTER_PATH"] = str(folder / "share")
    shutil.copytree(ROOT / "ebpflab" / "labextension", folder / "share" / "labextensions" / "ebpflab")
    (folder / "share" / "nbconvert" / "templates").mkdir(parents=True)
    shutil.copy(ROOT / "ebpflab/jupyter/nbconvert.json", folder / "share" / "nbconvert" / "templates" / "conf.json")
    (folder / "notebooks").mkdir()
    (folder / "config" / "labconfig").mkdir()
    (folder / "config" / "labconfig" / "page_config.json").write_text(json.dumps(QUIET))
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": 0,  # any that is free
        "ServerApp.root_dir": folder / "notebooks",
        "IdentityProvider.token": TOKEN,
        "KernelManager.transport": "ipc",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser"]
    command += [f"--{name}={value}" for name, value in options.items()]
    with cdp.group(command, folder / "lab.log", env=environment, cwd=folder) as process:
        yield Server(process, folder, environment)


class Server:
    """A running JupyterLab server, and the folder of its notebooks."""

    def __init__(self, process, folder, environment):
        def running():
            if process.poll() is not None:
                raise RuntimeError((folder / "lab.log").read_text(errors="replace"))
            return next((folder / "runtime").glob("jpserver-*.json"), None)

        found = cdp.wait_for(running, "JupyterLab to start", timeout=60)
        self.url = json.loads(found.read_text())["url"]
        self.notebooks = folder / "notebooks"
        self.environment = environment

    def get(self, path):
        separator = "&" if "?" in path else "?"
        with cdp.direct(f"{self.url}{path}{separator}token={TOKEN}", timeout=60) as answer:
            return answer.read().decode()

    def write(self, name, cells):
        book = nbformat.v4.new_notebook(metadata=_KERNEL | _LANGUAGE)
        book.cells = [nbformat.v4.new_code_cell(source) for source in cells]
        nbformat.write(book, self.notebooks / name)
        return self.notebooks / name


class Lab:
    """The application in the browser."""

    def __init__(self, page, server):
        self.page, self.server = page, server
        page.send("Page.navigate", url=f"{server.url}lab?token={TOKEN}&reset")
        page.wait_for("window.jupyterapp && jupyterapp.restored.then(() => true)", timeout=60)
        page.evaluate(_HELPERS)
        self.run("application:toggle-left-area")

    def run(self, command, **arguments):
        """Run a command of JupyterLab, as a menu does, and wait for its end."""
        script = "(name, options) => jupyterapp.commands.execute(name, options).then(() => true)"
        return self.page.evaluate(script, command, arguments)

    def theme(self, name):
        self.run("apputils:change-theme", theme=name)
        self.page.wait_for(f"document.body.dataset.jpThemeName === {json.dumps(name)}")
        self.page.wait_for("!document.querySelector('#jupyterlab-splash')")

    def open(self, name, cells, kernel):
        self.server.write(name, cells)
        script = """async (path, shouldStart) => {
            const kernelPreference = { shouldStart };
            const widget = await jupyterapp.commands.execute("docmanager:open", { path, kernelPreference });
            await widget.context.ready;
            jupyterapp.shell.activateById(widget.id);
        }"""
        self.page.evaluate(script, name, kernel)
        self.page.wait_for("name => jupyterapp.shell.currentWidget?.context?.path === name", name)
        return Notebook(self, len(cells))


class Notebook:
    """The notebook in front; its cells are counted from 0."""

    def __init__(self, lab, cells):
        self.lab, self.page = lab, lab.page
        # Editors come one by one, and the language of Python later than they.
        ready = "cell => ebpflabTest.cell(cell)?.editor?.editor.contentDOM.dataset.language"
        for cell in range(cells):
            self.page.wait_for(ready, cell)

    def text(self, cell):
        return self.page.evaluate("cell => ebpflabTest.view(cell).state.doc.toString()", cell)

    def language(self, cell):
        """The language that the editor says it has: ``bpf`` or ``python``."""
        return self.page.evaluate("cell => ebpflabTest.view(cell).contentDOM.dataset.language", cell)

    def colour(self, cell, word):
        """The colour in which *word*, the text of one token, is drawn."""
        found = {colour for text, colour in self.page.evaluate("n => ebpflabTest.colours(n)", cell) if text == word}
        assert len(found) == 1, f"{word!r} is drawn in {found or 'no token of its own'}"
        return found.pop()

    def themed(self, name):
        return self.page.evaluate("name => ebpflabTest.themed(name)", name)

    def edit(self, cell, at=None):
        """Put the cursor into a cell, at the end or behind the text *at*."""
        text = self.text(cell)
        offset = len(text) if at is None else text.index(at) + len(at)
        script = """(cell, offset) => {
            const notebook = jupyterapp.shell.currentWidget.content;
            notebook.activeCellIndex = cell;
            notebook.mode = "edit";
            const view = ebpflabTest.view(cell);
            view.focus();
            view.dispatch({ selection: { anchor: offset } });
        }"""
        self.page.evaluate(script, cell, offset)
        self.page.wait_for("cell => ebpflabTest.view(cell).hasFocus", cell)

    def type(self, cell, text):
        self.edit(cell)
        self.page.type(text)

    def run(self, cell, timeout=60.0):
        """Run a cell and wait until its number is there; return its text outputs."""
        # A cell that is run before the kernel answers is lost in some cases.
        self.page.wait_for(
            "jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'", timeout=60
        )
        self.edit(cell)
        self.page.press("Enter", shift=True)
        done = "cell => ebpflabTest.cell(cell).model.executionCount"
        self.page.wait_for(done, cell, timeout=timeout)
        return self.page.evaluate("cell => ebpflabTest.cell(cell).outputArea.node.innerText", cell)

    def screenshot(self, name):
        self.page.screenshot(SCREENSHOTS / f"{name}.png")

    def close(self):
        script = """(async () => {
            const widget = jupyterapp.shell.currentWidget;
            await widget.sessionContext.shutdown();
            widget.dispose();
        })()"""
        self.page.evaluate(script)
