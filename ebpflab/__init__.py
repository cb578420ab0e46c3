"""Jupyter-native eBPF: a cell of C becomes a pandas DataFrame of live kernel events.

In a notebook::

    %load_ext ebpflab

    %%bpf opens --for 10s
    SEC("tp/syscalls/sys_enter_openat")
    int on_open(struct tracepoint__syscalls__sys_enter_openat *ctx) { ... }

    opens.events.df()

In Python::

    with ebpflab.load(source) as s:
        s.events.wait(100, timeout=5)
        frame = s.events.df()

A cell goes one way, and the modules follow it: ``cell`` (the text), ``compile`` (clang, headers, cache),
``engines`` (open, load, attach), ``stream`` and ``store`` (draining, history), ``decode`` and ``records``
(bytes to columns), ``events`` (the stream a user holds); ``session`` walks the line and owns what it makes.
Beside it stand ``inspectors`` (facts of the running kernel) and ``jupyter`` (magics). CONTRIBUTING.md has
the whole map.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import EbpflabError
    from .health import doctor
    from .inspectors.contexts import context
    from .inspectors.features import features
    from .inspectors.search import hooks
    from .inspectors.templating import template
    from .inspectors.tracefs import format
    from .inspectors.types import type
    from .inspectors.types.bindings import bindings
    from .loading import load
    from .recording.replay import replay
    from .registry import close_all, sessions
    from .session import Session
    from .toolbox.shelf import tools
    from .tracer.programs import counting_runs
    from .tracer.trace import bpftrace
    from .witnesses.checking import check

__version__ = "0.1.0"
__all__ = [
    "EbpflabError",
    "Session",
    "__version__",
    "bindings",
    "bpftrace",
    "check",
    "close_all",
    "context",
    "counting_runs",
    "doctor",
    "features",
    "format",
    "hooks",
    "load",
    "replay",
    "sessions",
    "template",
    "tools",
    "type",
]

# Public name -> module. Imported at first use, so that `import ebpflab` costs next to nothing.
_HOMES = {
    "EbpflabError": ".errors",
    "Session": ".session",
    "bindings": ".inspectors.types.bindings",
    "bpftrace": ".tracer.trace",
    "check": ".witnesses.checking",
    "close_all": ".registry",
    "context": ".inspectors.contexts",
    "counting_runs": ".tracer.programs",
    "doctor": ".health",
    "features": ".inspectors.features",
    "format": ".inspectors.tracefs",
    "hooks": ".inspectors.search",
    "load": ".loading",
    "replay": ".recording.replay",
    "sessions": ".registry",
    "template": ".inspectors.templating",
    "tools": ".toolbox.shelf",
    "type": ".inspectors.types",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        found = getattr(import_module(_HOMES[name], __name__), name)
        globals()[name] = found
        return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _viewer(session: Session, look: Any) -> Any:
    # The live view that suits the place. Only this door knows both sides: nothing else may import `jupyter`.
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel"):
        from .jupyter.view import LiveView

        return LiveView(session, look)
    from .views.terminal import TextView

    return TextView(session, look)


def load_ipython_extension(shell: Any) -> None:
    """Register ``%%bpf`` and ``%bpf``, completion and help in such cells; called by ``%load_ext ebpflab``."""
    from . import errors
    from .jupyter.completion import register
    from .jupyter.magics import BpfMagics, announce, present
    from .jupyter.magics import unregister as forget

    forget(shell)  # %reload_ext would otherwise leave the ones of before
    shell.register_magics(BpfMagics)
    register(shell)
    errors.magics = True
    if hasattr(shell, "kernel"):  # a front end that shows HTML
        errors.present = present
    announce()


def unload_ipython_extension(shell: Any) -> None:
    """Take the magics, completion and help out of the shell again; called by ``%unload_ext ebpflab``."""
    from . import errors
    from .jupyter import completion, magics

    errors.present, errors.magics = None, False
    completion.unregister(shell)
    magics.unregister(shell)
