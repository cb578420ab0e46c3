"""The whole line in one call: :func:`load` takes a source from text to attached programs."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import line, registry
from .errors import AttachError, CellError
from .keep import Keep, buffer_bytes
from .session import Session, Stage

_numbers = itertools.count(1)


def load(
    source: str | os.PathLike[str],
    *,
    name: str | None = None,
    engine: str = "auto",
    attach: bool = True,
    targets: Mapping[str, str | Sequence[str]] | None = None,
    vars: Mapping[str, Any] | None = None,
    keep: str | float | None = None,
    unsafe: bool = False,
    events: Mapping[str, str] | None = None,
    buffers: Mapping[str, str | int] | None = None,
    headers: str | os.PathLike[str] | None = None,
    cflags: str | Sequence[str] = (),
) -> Session:
    """Compile, load and attach BPF programs, and start collecting what they send.

    Parameters
    ----------
    source
        C text; the path of a ``.c``, ``.bpf.c`` or ``.o`` file; or the name of a tool in ``bpf_src``.
    name
        A name for the session. A live session of the same name is replaced: closed once the new one is attached.
    engine
        ``"auto"`` (by the cell's dialect), ``"libbpf"`` or ``"bcc"``.
    attach
        Whether to attach after loading.
    targets
        Where to attach, by section or function name, when it is not where the section says. A function of BCC's
        dialect whose name says nothing takes a kind as well: ``{"count": "kprobe:vfs_read"}``. A list has several.
    vars
        Global variables to set before the verifier runs.
    keep
        History to keep of each stream: rows (``1e6``), bytes (``"200MB"``) or seconds (``"60s"``).
    unsafe
        Whether to allow helpers that can harm the machine.
    events
        Record types of buffers whose definition does not name them: ``{"events": "open_event"}``.
    buffers
        Sizes of ring buffers, and of perf buffers on each CPU: ``{"events": "64MiB"}``; default: what the cell says.
    headers
        A folder of real kernel headers to compile a cell of BCC's dialect with, instead of the kernel's own types.
    cflags
        Options for the compiler: ``"-DPAGES=8 -Iinclude"``, or a list of them.

    Returns
    -------
    Session
        Also a context manager.

    Raises
    ------
    EbpflabError
        One of its children, for each stage; running sessions stay as they were.

    Examples
    --------
    >>> s = ebpflab.load('SEC("raw_tp/sys_enter") int h(void *ctx) { return 0; }')
    >>> s.close()
    """
    label = name or f"bpf{next(_numbers)}"
    stages: list[Stage] = []

    @contextlib.contextmanager
    def stage(title: str) -> Iterator[line.Outcome]:
        start, outcome = time.perf_counter(), line.Outcome()
        yield outcome
        stages.append(Stage(title, (time.perf_counter() - start) * 1000, outcome.detail))

    history = Keep.parse(keep)
    sizes = {buffer: buffer_bytes(size) for buffer, size in (buffers or {}).items()}
    tool = line.tool(source)
    first, more = _parted({**(tool.targets if tool else {}), **(targets or {})})
    prepared = line.prepare(source, engine, first, dict(events or {}), stage, headers, cflags)
    prepared = replace(prepared, more=more)
    with stage("open") as outcome:
        handle = line.open_object(prepared, label, outcome)
    with contextlib.ExitStack() as undo:
        undo.callback(handle.close)
        session = Session(prepared, label, handle, stages)
        session.tool = tool
        undo.callback(session.close)
        line.check(handle, prepared, session.vars, dict(vars or {}), unsafe=unsafe)
        with stage("load + verify") as outcome, line.located(prepared.cell, label, prepared.warnings):
            session._load(history, dict(events or {}), sizes)
            outcome.detail = f"{sum(p.insns for p in handle.programs())} instructions"
        if attach:
            with stage("attach") as outcome, line.located(prepared.cell, label):
                _attach(session, registry.named(label))
                outcome.detail = f"{len(session._links)} link{'s' if len(session._links) != 1 else ''}"
        undo.pop_all()
    registry.add(session)
    return session


def _parted(targets: Mapping[str, str | Sequence[str]]) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
    # Each program's first target, which the program may be verified for, and those that it is attached to besides.
    places = {name: (given,) if isinstance(given, str) else tuple(given) for name, given in targets.items()}
    empty = next((name for name, given in places.items() if not given), None)
    if empty is not None:
        raise CellError(f"targets: the list of {empty} is empty", hint="leave it out, or name a target")
    return {name: given[0] for name, given in places.items()}, {
        n: given[1:] for n, given in places.items() if given[1:]
    }


def _attach(session: Session, old: Session | None) -> None:
    # Attach before the session of the same name goes, so that nothing is missed in between; but where a hook takes one
    # program only (XDP, a struct_ops name), the old one has to leave first, and comes back if the new one fails.
    try:
        session.attach()
    except AttachError as error:
        if old is None or old.state != "attached" or error.errno not in (errno.EBUSY, errno.EEXIST):
            raise
        old.detach()
        try:
            session.attach()
        except BaseException as second:
            with contextlib.suppress(AttachError):  # what matters is why the new one cannot be attached
                old.attach()
            raise second from None
