"""Completion and Shift-Tab help inside ``%%bpf`` cells, from the kernel, so that every front end has them.

Completion is a matcher of IPython's own (``custom_matchers`` of its completer, since 8.6). For help there is no such
place: ipykernel takes the Python name at the cursor out of the cell and looks up that. So the kernel object's
``do_inspect``, which still has the whole cell, is stood in for, and answers for ``%%bpf`` cells alone.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

from IPython.core.completer import SimpleCompletion, context_matcher

from .. import authoring, questions
from ..errors import EbpflabError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..authoring import Item

_NAME = "ebpflab"  # of the matcher
_FIRST = 100  # before IPython's own matchers, which would take C for Python
_WIDEST = 40  # characters of a type in a list of completions
_TYPED = ("field", "variable")  # whose C type says more than what they are


def register(shell: Any) -> None:
    """Complete and explain ``%%bpf`` cells in this shell; once, however often it is called.

    Examples
    --------
    >>> register(get_ipython())
    """
    unregister(shell)
    shell.Completer.custom_matchers.append(_matcher)
    kernel = getattr(shell, "kernel", None)  # none in a terminal
    if kernel is not None:
        before = vars(kernel).get("do_inspect")  # of another extension, if there is one
        kernel.do_inspect = _inspector(shell, kernel.do_inspect)
        kernel.do_inspect.before = before


def unregister(shell: Any) -> None:
    """Leave the shell as it was before :func:`register`."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", None) != _NAME]
    kernel: Any = getattr(shell, "kernel", None)
    ours = None if kernel is None else vars(kernel).get("do_inspect")
    if ours is None or getattr(ours, "ebpflab", None) is not ours:
        return
    before = getattr(ours, "before", None)
    if before is None:
        del kernel.do_inspect  # the method of its class shows again
    else:
        kernel.do_inspect = before


@context_matcher(priority=_FIRST, identifier=_NAME)  # type: ignore[untyped-decorator]
def _matcher(context: Any) -> dict[str, Any]:
    lines = context.full_text.split("\n")
    offset = sum(len(line) + 1 for line in lines[: context.cursor_line]) + context.cursor_position
    found = authoring.complete(context.full_text, offset, _notebook())
    if authoring.wanted():
        _ask_later()
    if found is None:
        return {"completions": []}
    return {
        "completions": [SimpleCompletion(item.text, type=_type(item)) for item in found.items] or _Nothing(),
        "matched_fragment": found.fragment,
        "suppress": True,
        "ordered": True,
    }


class _Nothing:
    # No completions, neither ours nor Python's: IPython lets only a result that has a length silence the others.

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[SimpleCompletion]:
        return iter(())


def _type(item: Item) -> str:
    shown = item.detail[:_WIDEST] if item.kind in _TYPED and item.detail else item.kind
    return shown.replace(" ", "\N{NO-BREAK SPACE}")  # JupyterLab would break the line


def _notebook() -> authoring.Notebook:
    import ebpflab

    return authoring.Notebook(_commands(), tuple(session.name for session in ebpflab.sessions()))


@functools.lru_cache(maxsize=1)
def _commands() -> dict[str, tuple[str, ...]]:
    # The commands of %bpf, and the options of those that are questions.
    from .magics import _COMMANDS

    return {name: _options(name) for name in _COMMANDS}


def _options(name: str) -> tuple[str, ...]:
    if name not in questions.QUESTIONS:
        return ()
    parser = argparse.ArgumentParser(add_help=False)
    questions.QUESTIONS[name].arguments(parser)
    return tuple(flag for action in parser._actions for flag in action.option_strings)


_asking = threading.Lock()
_slips: list[None] = []


def _ask_later() -> None:
    # What the verifier allows is asked beside the notebook's own work; the next completion will know.
    if not _asking.acquire(blocking=False):
        return
    try:
        threading.Thread(target=_ask, name="ebpflab-ask", daemon=True).start()
    except RuntimeError:  # the system has no thread to give: the next completion tries again
        _asking.release()


def _ask() -> None:
    try:
        authoring.ask()
    except (EbpflabError, OSError):
        return  # no BTF, no privileges: then all helpers are offered
    except Exception:  # a bug, which is told, but once: somebody is typing
        if not _slips:
            logging.getLogger("ebpflab").exception("what programs may call could not be asked; all helpers are offered")
        _slips.append(None)
    finally:
        _asking.release()


def _forked() -> None:
    # The thread that would release the lock is not in the child.
    global _asking
    _asking = threading.Lock()


os.register_at_fork(after_in_child=_forked)


def _inspector(shell: Any, original: Any) -> Any:
    async def do_inspect(code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()) -> Any:
        if not authoring.is_cell(code):
            reply = original(code, cursor_pos, detail_level, omit_sections)
            return await reply if inspect.isawaitable(reply) else reply
        found = authoring.explain(code, cursor_pos)
        data = {"text/plain": found.text} if found else {}
        if found and shell.enable_html_pager:
            data["text/html"] = found.html
        return {"status": "ok", "data": data, "metadata": {}, "found": found is not None}

    do_inspect.ebpflab = do_inspect  # type: ignore[attr-defined] # the mark: a wrapper that copies it is not marked
    return do_inspect
