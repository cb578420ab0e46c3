"""What the tests of live views that outlive their kernel do to a notebook, and see in it."""

from __future__ import annotations

import contextlib
import json

from lab import Lab, Notebook

_OPEN = """async (path, shouldStart) => {
    const kernelPreference = { shouldStart };
    const widget = await jupyterapp.commands.execute("docmanager:open", { path, kernelPreference });
    await widget.context.ready;
    jupyterapp.shell.activateById(widget.id);
    return true;
}"""
_SESSION = "jupyterapp.shell.currentWidget.sessionContext"
# What a person sees of the outputs of a cell: the text, the pictures that are loaded, the width of what has one.
_SEEN = """number => {
    const area = ebpflabTest.cell(number)?.outputArea?.node;
    const seen = each => each.checkVisibility({ visibilityProperty: true }) && each.getBoundingClientRect().height > 4;
    const all = selector => [...(area?.querySelectorAll(selector) ?? [])].filter(seen);
    return {
        text: area?.innerText ?? "",
        live: all(".jupyter-widgets-view, .jupyter-widgets, .lm-Widget[data-live]").length > 0,
        rows: all("tbody tr").map(row => [...row.children].map(cell => cell.innerText)),
        pictures: all("img").filter(image => image.complete && image.naturalWidth).map(image => image.alt),
        styles: area?.querySelectorAll("style").length ?? 0,
    };
}"""
# Takes down each text that is seen below a cell, frame by frame.
_RECORD = """number => {
    const seen = (window.ebpflabSeen = []);
    const look = () => {
        const text = jupyterapp.shell.currentWidget?.content?.widgets?.[number]?.outputArea?.node.innerText.trim();
        if (text !== undefined && text !== seen.at(-1)) seen.push(text);
        if (window.ebpflabSeen === seen) requestAnimationFrame(look);
    };
    look();
    return true;
}"""


def seen(book, cell=0):
    return book.page.evaluate(_SEEN, cell)


def wait_for_text(book, text, cell=0, timeout=30.0):
    """Wait until the outputs of a cell show *text*; return all that is seen of them."""
    script = f"(number, text) => ({_SEEN})(number).text.includes(text)"
    book.page.wait_for(script, cell, text, timeout=timeout)
    return seen(book, cell)


def record(book, cell=0):
    book.page.evaluate(_RECORD, cell)


def recorded(book):
    """All texts that were seen since :func:`record`, in their order."""
    return book.page.evaluate("(found => { window.ebpflabSeen = null; return found; })(window.ebpflabSeen)")


def run(book, cell, source):
    """Put *source* into a cell and run it."""
    script = "(cell, source) => ebpflabTest.cell(cell).model.sharedModel.setSource(source)"
    book.page.evaluate(script, cell, source)
    return book.run(cell)


def start(book, cell=0):
    """Run a cell, without waiting for its end."""
    ready = "jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.status === 'idle'"
    book.page.wait_for(ready, timeout=60)
    book.edit(cell)
    book.page.evaluate("void jupyterapp.commands.execute('notebook:run-cell')")


def save(book):
    """Save the notebook; return its outputs as the file has them, those of all cells."""
    book.lab.run("docmanager:save")
    path = book.page.evaluate("jupyterapp.shell.currentWidget.context.path")
    cells = json.loads((book.lab.server.notebooks / path).read_text())["cells"]
    return [{kind: "".join(data) if isinstance(data, list) else data for kind, data in output["data"].items()}
            for cell in cells for output in cell.get("outputs", []) if "data" in output]  # fmt: skip


def shut_down(book):
    book.page.evaluate(f"{_SESSION}.shutdown().then(() => true)")


def restart(book):
    book.page.evaluate(f"{_SESSION}.restartKernel().then(() => true)")


def close(book):
    """Close the notebook; its kernel goes on if it has one."""
    book.page.evaluate("(w => { const at = w.context.path; w.close(); return at; })(jupyterapp.shell.currentWidget)")
    book.page.wait_for("!jupyterapp.shell.currentWidget?.context")


def reopen(lab, path, cells=1, *, kernel=False):
    """Open a notebook that is there already."""
    lab.page.evaluate(_OPEN, path, kernel)
    lab.page.wait_for("path => jupyterapp.shell.currentWidget?.context?.path === path", path)
    return Notebook(lab, cells)


def reload(lab):
    """Load the page again, as a browser does: the kernels go on."""
    return Lab(lab.page, lab.server)


@contextlib.contextmanager
def nothing_thrown(page, but=()):
    """Fail when a script of the page reports an error meanwhile, or one with none of these words."""
    before = len(page.errors)
    yield
    found = [error for error in page.errors[before:] if not any(word in error for word in but)]
    assert found == []
