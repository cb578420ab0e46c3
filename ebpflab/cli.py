"""The ``ebpflab`` shell command.

It has to start with nothing but the standard library: ``make`` runs ``python3 -m ebpflab setup`` on a machine
that has nothing else yet.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from . import health, questions, toolchain
from .errors import EbpflabError, KernelSupportError, PrivilegeError, ToolMissingError
from .inspectors import kernel
from .options import Parser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .session import Session

_TRACEFS = ("mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, or 1 with the reason on stderr.

    Examples
    --------
    >>> main(["doctor", "--json"])
    0
    """
    try:
        words = sys.argv[1:] if arguments is None else list(arguments)
        if words[:1] == ["run"]:  # its options are the tool's
            return _run_tool(words[1:])
        if words[:1] == ["check"]:  # the words after its -- are a command
            return _check(words[1:])
        parser = _parser()
        options, unknown = parser.parse_known_args(words)
        if unknown:
            getattr(options, "parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
        code = int(options.run(options))
        sys.stdout.flush()
        return code
    except EbpflabError as error:
        print(error, file=sys.stderr)
        return 1
    except BrokenPipeError:
        # `ebpflab doctor | head` has read enough; what is left in the buffer must not be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130  # as a shell reports a program that SIGINT ended


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ebpflab", description="Jupyter-native eBPF.")
    parser.add_argument("--version", action="version", version=f"ebpflab {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="what this machine has and lacks, and how to mend it")
    doctor.add_argument("--json", action="store_true", help="the same, for scripts")
    doctor.set_defaults(run=_doctor)

    setup = commands.add_parser("setup", help="install the system packages that are missing")
    setup.add_argument("--dry-run", action="store_true", help="print the commands and run none")
    setup.add_argument("--mount", action="store_true", help="mount tracefs as well, if it is not")
    setup.add_argument("--may-lack", action="store_true", help="go on without them where they cannot be installed")
    setup.set_defaults(run=_setup)

    lab = commands.add_parser("lab", help="open JupyterLab on the notebooks")
    lab.add_argument("directory", nargs="?", type=Path, metavar="DIR", help="open this folder instead")
    lab.set_defaults(run=_lab)

    run = commands.add_parser("run", help="run a tool of bpf_src, until Ctrl-C; run TOOL --help has its options")
    run.set_defaults(run=lambda _: _run_tool([]))

    check = commands.add_parser("check", help="one count by libbpf, BCC and bpftrace; check --help has its options")
    check.set_defaults(run=lambda _: _check([]))

    tools = commands.add_parser("tools", help="the tools of bpf_src, or all of one")
    tools.add_argument("pattern", nargs="?", default="", metavar="TOOL|WORD", help="a tool, or a word of its question")
    tools.add_argument("--json", action="store_true", help="the same, for scripts")
    tools.set_defaults(run=functools.partial(_inspect, questions.QUESTIONS["tools"]))

    replay = commands.add_parser("replay", help="show what a recording holds")
    replay.add_argument("file", type=Path, metavar="FILE", help="what s.events.record(FILE) wrote")
    replay.add_argument("--speed", default="max", metavar="X", help="take 1/X of the original time (default: none)")
    shown = replay.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="the same, for scripts")
    shown.add_argument("--watch", action="store_true", help="show the live view while it plays, as with --speed 1")
    replay.set_defaults(run=_replay)

    inspect = commands.add_parser("inspect", help="ask what can be hooked, how a type is laid out, ...")
    asked = inspect.add_subparsers(required=True, metavar="QUESTION", parser_class=Parser)
    for name, question in questions.QUESTIONS.items():
        words = asked.add_parser(name, help=question.help, description=question.help, allow_abbrev=False)
        question.arguments(words)
        words.add_argument("--json", action="store_true", help="the same, for scripts")
        words.set_defaults(run=functools.partial(_inspect, question), parser=words)

    demo = commands.add_parser("demo", help="run the quickstart notebook against this kernel")
    demo.add_argument("--output", type=Path, default=Path("build/quickstart.html"), metavar="FILE")
    demo.set_defaults(run=_demo)
    return parser


def _version() -> str:
    try:
        return importlib.metadata.version("ebpflab")
    except importlib.metadata.PackageNotFoundError:
        return "(not installed: running from its source folder)"


def _doctor(options: argparse.Namespace) -> int:
    report = health.doctor()
    print(json.dumps(report.to_dict(), indent=2) if options.json else report)
    return 0 if report.ok else 1


def _setup(options: argparse.Namespace) -> int:
    missing = _missing()
    try:
        _install(missing, dry_run=options.dry_run)
    except EbpflabError as error:
        if not options.may_lack or "venv" in missing:
            raise
        # Replaying recordings, as the notebooks do then, takes nothing but Python.
        print(f"ebpflab setup: going on without {', '.join(missing)}: {error}")
    _install_wanted(dry_run=options.dry_run)
    if kernel.tracefs_path() is None:
        _mount_tracefs(allowed=options.mount, dry_run=options.dry_run)
    return 0


def _missing() -> list[str]:
    # What `make` itself needs, besides what a cell needs: Debian's Python comes without venv.
    return [t.name for t in toolchain.tools() if t.path is None and (t.required or t.name == "venv")]


def _install_wanted(*, dry_run: bool) -> None:
    # What notebooks of this package use, one by one: whatever cannot be had keeps nothing else from working.
    for name in [t.name for t in toolchain.tools() if t.path is None and t.wanted]:
        try:
            _install([name], dry_run=dry_run)
        except EbpflabError as error:
            print(f"ebpflab setup: going on without {name}: {error}")


def _install(missing: list[str], *, dry_run: bool) -> None:
    if not missing:
        print("ebpflab setup: every system package is there")
        return
    print(f"ebpflab setup: missing {', '.join(missing)}")
    commands = _install_commands(missing)
    if dry_run:
        print(*(f"  would run: {shlex.join(command)}" for command in commands), sep="\n")
        return
    if os.geteuid() != 0:
        hint = " && ".join(f"sudo {shlex.join(command)}" for command in commands)
        raise PrivilegeError("installing packages needs root", cause="this user is not root", hint=hint, stage="setup")
    for command in commands:
        _run(command)
    still = [tool for tool in toolchain.tools() if tool.name in missing and tool.path is None]
    if still:
        what = f"still missing after the installation: {', '.join(tool.name for tool in still)}"
        raise ToolMissingError(what, hint=still[0].hint)


def _install_commands(missing: list[str]) -> list[list[str]]:
    command = toolchain.install_command(missing)
    if command is None:
        what = f"missing: {', '.join(missing)}, and no package of this machine's package manager is known for it"
        raise ToolMissingError(what, hint=toolchain.install_hint(missing))
    # A fresh Debian has no lists of packages yet.
    return [["apt-get", "update"], command] if command[0] == "apt-get" else [command]


def _mount_tracefs(*, allowed: bool, dry_run: bool) -> None:
    command = shlex.join(_TRACEFS)
    if not allowed or not kernel.facts().can("CAP_SYS_ADMIN"):
        print(f"ebpflab setup: tracefs is not mounted, and tracepoints need it: {command}")
    elif dry_run:
        print(f"  would run: {command}")
    else:
        _run(list(_TRACEFS))
        if kernel.tracefs_path() is None:
            raise KernelSupportError("tracefs was mounted and is not to be seen in /proc/self/mounts")


def _run(command: list[str]) -> None:
    print(f"+ {shlex.join(command)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise ToolMissingError(
            f"{command[0]} failed with exit code {done.returncode}",
            details=[shlex.join(command)],
            hint="its own words are above; run the command by hand once it can work, then again this one",
        )


def _lab(options: argparse.Namespace) -> int:
    folder = options.directory or _own_notebooks()
    if not folder.is_dir():
        raise EbpflabError(f"{folder} is not a folder")
    if not _has_module("jupyterlab"):
        hint = shlex.join([sys.executable, "-m", "pip", "install", "ebpflab[lab]"])
        raise ToolMissingError("JupyterLab is not installed", hint=hint)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={folder.resolve()}"]
    if os.geteuid() == 0:
        command.append("--allow-root")
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606 - Jupyter takes this process's place: its signals are Jupyter's


def _own_notebooks() -> Path:
    from .demo import notebooks_folder

    shipped = notebooks_folder()
    if "site-packages" not in shipped.parts:
        return shipped
    # An installed package is not a place to work in: the reader gets a copy, and keeps what is already there.
    mine = Path("ebpflab-notebooks")
    mine.mkdir(exist_ok=True)
    for notebook in shipped.glob("*.ipynb"):
        if not (mine / notebook.name).exists():
            shutil.copy(notebook, mine)
    return mine


def _has_module(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def _run_tool(words: Sequence[str]) -> int:
    from .toolbox.command import main

    return main(words)


def _check(words: Sequence[str]) -> int:
    from .witnesses.command import main

    return main(words)


def _replay(options: argparse.Namespace) -> int:
    from .recording.replay import replay

    with replay(options.file, speed=options.speed) as session:
        if options.watch:
            session.view().watch()
            return 0
        while session.state == "replaying":
            session.events.wait(timeout=0.1)
        print(json.dumps(_described(session), indent=2) if options.json else session)
    return 0


def _described(session: Session) -> dict[str, object]:
    frame = session.events.head()
    octets = [str(name) for name, kind in frame.dtypes.items() if "binary" in str(kind)]
    frame = frame.assign(**{name: [value.hex() for value in frame[name]] for name in octets})
    head = json.loads(frame.to_json(orient="records", date_format="iso", date_unit="ns", default_handler=str))
    return {
        "session": session.name,
        "stream": session.events.name,
        "programs": session.programs["section"].tolist(),
        "recorded": session.stages["detail"].iloc[-1],
        "stats": session.events.stats(),
        "first": head,
        "source": session.source,
    }


def _inspect(question: questions.Question, options: argparse.Namespace) -> int:
    answer = question.ask(options)
    print(json.dumps(questions.plain(answer), indent=2) if options.json else questions.text(answer))
    return 0


def _demo(options: argparse.Namespace) -> int:
    from .demo import run

    print(run(options.output))
    return 0
