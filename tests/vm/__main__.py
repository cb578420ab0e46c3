"""The command: ``python -m tests.vm setup | kernels | run | test``, from the root of the repository."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from . import VmError, host, image, kernels, suite, warm_bcc, warm_tools
from .machine import Job, Machine, run, saved_state
from .warm import warm


def main(arguments: Sequence[str]) -> int:
    """Run the command, and return its exit code."""
    # What follows "--" is for the guest.
    own, command = (list(arguments), []) if "--" not in arguments else _split(arguments)
    options = _parser().parse_args(own)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that machines end
    try:
        return int(options.function(options, command))
    except VmError as error:
        _say(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description="Stock Debian kernels under QEMU.")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    setup = verbs.add_parser("setup", help="say what this machine lacks")
    setup.add_argument("--install", action="store_true", help="install it with apt-get")
    setup.set_defaults(function=_setup)
    listing = verbs.add_parser("kernels", help="list the kernels, and the versions that are here")
    listing.set_defaults(function=_kernels)
    one = verbs.add_parser("run", help="run one command in a guest", usage="%(prog)s KERNEL [options] -- COMMAND...")
    one.add_argument("kernel", metavar="KERNEL")
    one.add_argument("--timeout", type=float, default=120, metavar="S", help="seconds (default: 120)")
    one.add_argument("--out", type=Path, metavar="DIR", help="the folder that is /vmjob in the guest")
    one.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", type=_assignment)
    one.add_argument("--as-test", action="store_true", help="with the environment and the filled cache of tests")
    one.set_defaults(function=_run)
    many = verbs.add_parser("test", help="run pytest in guests", usage="%(prog)s [KERNEL...] [options] -- ARGUMENT...")
    many.add_argument("kernels", nargs="*", metavar="KERNEL", help="default: all")
    many.add_argument("--jobs", type=int, default=2, metavar="N", help="machines at a time (default: 2)")
    many.add_argument("--out", type=Path, default=kernels.RESULTS, metavar="DIR", help="for logs (default: build/vm)")
    many.add_argument("--timeout", type=float, default=3600, metavar="S", help="seconds per kernel (default: 3600)")
    many.set_defaults(function=_test)
    for verb in (one, many):
        verb.add_argument("--mem", default="1G", metavar="SIZE", help="of a machine (default: 1G)")
        verb.add_argument("--cpus", type=int, default=1, metavar="N", help="of a machine (default: 1)")
    return parser


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name.isidentifier() or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _setup(options: argparse.Namespace, _command: list[str]) -> int:
    missing = host.missing()
    if missing and options.install:
        host.install(missing)
        missing = host.missing()
    _say(f"missing: {' '.join(missing)}" if missing else "all there is to it is installed")
    return 1 if missing else 0


def _kernels(_options: argparse.Namespace, _command: list[str]) -> int:
    for kernel in kernels.TABLE:
        here = image.cached(kernel)
        print(f"{kernel.name:6} {kernel.sources[0][0]:20} {here.version if here else '-'}")
    return 0


def _run(options: argparse.Namespace, command: list[str]) -> int:
    if not command:
        raise VmError("there is no command after --")
    kernel = kernels.find(options.kernel)
    machine = Machine(image.prepare(kernel, _say), kernel.append, options.mem, options.cpus)
    saved_state(machine)
    with contextlib.ExitStack() as stack:
        folder = options.out or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ebpflab-vm-")))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        # One word is a line for the shell, several are a command and its arguments.
        line = command[0] if len(command) == 1 else shlex.join(command)
        env = dict(options.env)
        if options.as_test:
            _fill_cache(machine, folder / "cache", command)
            env = {**suite.environment(kernel.name), **env}
            line = f"{suite.PREPARE}\n{line}"
        return run(machine, Job(line, folder, folder / "console.log", options.timeout, env), _pass_on)


def _fill_cache(machine: Machine, folder: Path, command: Sequence[str]) -> None:
    started = time.monotonic()
    done = warm(machine, folder, command)
    if warm_bcc.wanted(command):
        done.add(warm_bcc.warm(machine, folder))
    if warm_tools.wanted(command):
        done.add(warm_tools.warm(machine, folder))
    _say(
        f"{machine.image.version}: {len(done.compiled)} cells compiled on the host, {len(done.cached)} were there "
        f"({time.monotonic() - started:.1f} s)"
    )
    for name, reason in done.refused.items():
        _say(f"{machine.image.version}: {name} is left to the guest: {reason}")


def _pass_on(piece: bytes) -> None:
    while piece:
        piece = piece[os.write(1, piece) :]


def _test(options: argparse.Namespace, command: list[str]) -> int:
    names = options.kernels or [kernel.name for kernel in kernels.TABLE]
    for name in names:
        kernels.find(name)  # an unknown one ends it before anything starts
    machine = ["--timeout", str(options.timeout), "--mem", options.mem, "--cpus", str(options.cpus)]
    out = options.out.resolve()
    verdicts = suite.test(names, command, out=out, jobs=options.jobs, options=machine, say=_say)
    for verdict in verdicts:
        for failure in verdict.failures:
            _say(f"{verdict.kernel}: {failure}")
    return 1 if any(verdict.status for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
