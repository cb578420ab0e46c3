"""The programs that BCC's own tools carry, as Debian packages them (bpfcc-tools): every tool, with its options."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

PYTHON = "/usr/bin/python3"
_RECORDER = Path(__file__).with_name("bcc_tool.py")
_CALLS = Path(__file__).parents[1] / "data" / "bcc" / "calls.txt"


class Text(NamedTuple):
    """A program of a tool, the options that it gives to the compiler, and what it attaches.

    ``attach`` has pairs of a function and its target, ``("trace_open", "kprobe:do_sys_openat2")``: those that the tool
    attaches by a call; other functions have their hook in their name. ``ended`` is the error that ended the tool
    before it waited for events, if one did.
    """

    tool: str
    arguments: tuple[str, ...]
    text: str
    cflags: tuple[str, ...]
    attach: tuple[tuple[str, str], ...] = ()
    ended: str = ""

    @property
    def source(self) -> str:
        """The program with the macros of its options: a cell has no options of its own for the compiler."""
        defined = (flag[2:].partition("=") for flag in self.cflags if flag.startswith("-D"))
        return "".join(f"#define {name} {value or 1}\n" for name, _, value in defined) + self.text

    @property
    def targets(self) -> dict[str, str]:
        """Where each function goes first. USDT probes are left out: those of the recorder are not there."""
        return {function: target for function, target in reversed(self.attach) if not target.startswith("usdt:")}

    @property
    def more(self) -> list[tuple[str, str]]:
        """Where functions go besides, as pairs of a function and its target without the kind."""
        first = self.targets
        return [(f, t.partition(":")[2]) for f, t in self.attach if f in first and t != first[f]]


def missing() -> str | None:
    """Why there is no corpus here, or None."""
    if shutil.which(PYTHON) is None or _run([PYTHON, "-c", "import bcc"]).returncode:
        return "the distribution's Python has no bcc: apt-get install python3-bpfcc"
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        return "bpfcc-tools is fetched with apt-get, which is not here"
    return None


def fetch(folder: Path) -> Path:
    """Download Debian's bpfcc-tools into a folder, without installing it; gives the folder of the tools."""
    done = _run(["apt-get", "download", "bpfcc-tools"], cwd=folder, timeout=300)
    assert done.returncode == 0, f"apt-get cannot fetch bpfcc-tools: {done.stderr}"
    (package,) = folder.glob("bpfcc-tools_*.deb")
    _run(["dpkg-deb", "-x", str(package), str(folder / "root")])
    return folder / "root" / "usr" / "sbin"


def texts(folder: Path, *, every: bool = True, only: Collection[str] = ()) -> list[Text]:
    """Return the different programs of the tools in a folder, in order: of every call, or of each tool's first.

    ``only`` names the tools that are wanted, if not all are.
    """
    tools = sorted(path for path in folder.iterdir() if b"python" in path.read_bytes().partition(b"\n")[0])
    tools = [tool for tool in tools if not only or _name(tool) in only]
    with ThreadPoolExecutor(2) as pool:
        variants = zip(tools, pool.map(_variants if every else _first, tools), strict=True)
        wanted = [(tool, arguments) for tool, calls in variants for arguments in calls]
        found = pool.map(lambda each: _text(*each), wanted)
        unique = {(text.tool, text.text, text.cflags): text for text in reversed([t for t in found if t])}
    return sorted(unique.values())


def save(found: list[Text], path: Path) -> None:
    """Write texts to a file, for a machine that has no tools to record."""
    path.write_text(json.dumps([text._asdict() for text in found]))


def read(path: Path) -> list[Text]:
    """Return what :func:`save` wrote."""
    rows = json.loads(path.read_text())
    lists = ("arguments", "cflags")
    return [
        Text(**{**row, **{k: tuple(row[k]) for k in lists}, "attach": tuple((f, t) for f, t in row["attach"])})
        for row in rows
    ]


def _name(tool: Path) -> str:
    return tool.name.removesuffix("-bpfcc")


def _calls(name: str) -> list[list[str]]:
    lines = (shlex.split(line, comments=True) for line in _CALLS.read_text().splitlines())
    found = [[str(os.getpid()) if word == "PID" else word for word in line[1:]] for line in lines if line[:1] == [name]]
    return found or [[]]


def _variants(tool: Path) -> list[list[str]]:
    calls = _calls(_name(tool))
    answer = _record(tool, ["--options"]) or {}
    return calls + [[*option, *calls[0]] for option in answer.get("options", [])]


def _first(tool: Path) -> list[list[str]]:
    return _calls(_name(tool))[:1]


def _text(tool: Path, arguments: list[str]) -> Text | None:
    answer = _record(tool, arguments)
    if answer is None:
        return None
    attach = tuple((function, target) for function, target in answer["attach"])
    return Text(_name(tool), tuple(arguments), answer["text"], tuple(answer["cflags"]), attach, answer["ended"])


def _record(tool: Path, arguments: list[str]) -> dict | None:
    # The recorder writes its answer to a file; a tool that refuses its arguments gives none.
    with tempfile.NamedTemporaryFile("r") as answer:
        try:
            # Tools keep functions in sets: their order must not change a program from one run to the next.
            env = {**os.environ, "PYTHONHASHSEED": "0"}
            _run([PYTHON, str(_RECORDER), answer.name, str(tool), *arguments], stdin=subprocess.DEVNULL, env=env)
        except subprocess.TimeoutExpired:
            return None
        return json.loads(answer.read() or "null")


def _run(command: list[str], **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False, **{"timeout": 60, **options})
