"""What the widgets have in common: how they look, and a text and an HTML twin of what they show.

The twins are for terminals, and for notebooks that are looked at without a kernel.
"""

from __future__ import annotations

import abc
from typing import Any

import ipywidgets

from .. import formatting
from ..errors import EbpflabError

ui: Any = ipywidgets  # its functions have no types
BLANK = "\N{NO-BREAK SPACE}"  # others run together in a list
# Only our extension of JupyterLab can put a cell into a notebook, and marks the page when it is there.
STYLE = """<style>
.ebpflab-list select, .ebpflab-cell textarea, .ebpflab-tree button.jupyter-button {
  font: 12px/1.5 var(--jp-code-font-family, monospace);
  color: var(--jp-content-font-color1, inherit);
}
.ebpflab-list select { background: var(--jp-layout-color1, transparent) }
.ebpflab-tree button.jupyter-button {
  height: auto; padding-top: 0; padding-bottom: 0; text-align: left; white-space: pre; background: transparent;
}
.ebpflab-tree button.jupyter-button:hover, .ebpflab-tree button.jupyter-button:focus {
  background: var(--jp-layout-color2, rgba(128, 128, 128, .12));
}
.ebpflab-cell textarea { tab-size: 4 }
.jupyter-button.ebpflab-insert { display: none }
.ebpflab-lab .jp-Notebook .ebpflab-insert { display: inline-block }
</style>"""


class Panel(abc.ABC):
    """What both widgets are: controls in a box, details below, and the same in text and HTML.

    Attributes
    ----------
    box
        The whole, to put into a layout of one's own.
    detail
        What is said of the choice, as HTML.
    """

    box: Any
    detail: Any
    _said: tuple[Any, ...] = ()

    def __repr__(self) -> str:
        return "\n".join([formatting.text(self._document()), *(_text(each) for each in self._said)])

    def _repr_mimebundle_(self, **more: Any) -> Any:
        data = self.box._repr_mimebundle_(**more) or {}
        page = formatting.html(self._document()) + self.detail.value
        return {**data, "text/plain": repr(self), "text/html": page}

    @abc.abstractmethod
    def _document(self) -> list[formatting.Part]: ...

    def _say(self, *shown: Any) -> None:
        # Anything that shows itself: a context, a path, an error, one part of a document.
        self._said = shown
        self.detail.value = "".join(_html(each) for each in shown)


def counted(count: int, word: str) -> str:
    """Say how many there are: 1 hook, 1,234 hooks."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _text(shown: Any) -> str:
    if isinstance(shown, formatting.Part):
        return formatting.text([shown])
    return str(shown) if isinstance(shown, EbpflabError) else repr(shown)


def _html(shown: Any) -> str:
    return formatting.html([shown]) if isinstance(shown, formatting.Part) else str(shown._repr_html_())
