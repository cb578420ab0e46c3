"""The kernel tests on several kernels: one machine each, a few at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import shlex
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from . import VmError
from .kernels import ROOT

# Notebooks run on this machine's own kernel: what they import takes minutes under emulation.
_TESTS = ("tests/kernel", "--ignore=tests/kernel/test_notebooks_run.py")
_PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
_OUTCOMES = {"failure": "failed", "error": "failed", "skipped": "skipped"}
# ebpflab takes a cache only from a directory of its own user, which is root in the guest. Objects that are compiled
# there stay for the next run only if that is so on the host, too.
PREPARE = """[ -O /vmjob/cache ] || { cp -r /vmjob/cache /run/cache && export EBPFLAB_CACHE=/run/cache; }"""


def environment(kernel: str) -> dict[str, str]:
    """Return the environment of tests in a guest.

    Examples
    --------
    >>> environment("6.12")["EBPFLAB_VM"]
    '6.12'
    """
    corpus = os.environ.get("EBPFLAB_BCC_CORPUS")
    return {
        **({"EBPFLAB_BCC_CORPUS": corpus} if corpus else {}),
        "EBPFLAB_VM": kernel,
        "EBPFLAB_CACHE": "/vmjob/cache",
        "EBPFLAB_REQUIRE_KERNEL": "1",
        "EBPFLAB_HOOK_REPORT": "/vmjob/hooks.json",
        "EBPFLAB_BCC_REPORT": "/vmjob/bcc.json",
        "PYTHONDONTWRITEBYTECODE": "1",  # it would be gone afterwards
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # importing hypothesis takes 12 seconds, and no kernel test uses it
        "TMPDIR": "/run",  # the host's /tmp is there, too, and pytest would tidy it up
    }


@dataclass(frozen=True)
class Verdict:
    """How the tests went on one kernel; ``failures`` are lines, ``seconds`` all that it took."""

    kernel: str
    status: int
    seconds: float
    outcomes: Mapping[str, int] = field(default_factory=dict)
    failures: Sequence[str] = ()

    def __str__(self) -> str:
        counts = ", ".join(f"{self.outcomes.get(name, 0)} {name}" for name in ("passed", "failed", "skipped"))
        ended = {0: "", 1: "", 124: ", out of time", 125: ", the machine died"}
        return f"{self.kernel}: {counts}, {self.seconds:.0f} s{ended.get(self.status, f', exit code {self.status}')}"


def read_report(path: Path) -> tuple[Mapping[str, int], list[str]]:
    """Return how many tests passed, failed and were skipped, and a line for each failure, from a JUnit file.

    Examples
    --------
    >>> read_report(Path("build/vm/6.12/junit.xml"))
    ({'passed': 191}, [])
    """
    counts: Counter[str] = Counter()
    failures = []
    # The file is one that pytest just wrote for us.
    for case in ET.parse(path).getroot().iter("testcase"):
        found = next((child for child in case if child.tag in _OUTCOMES), None)
        outcome = "passed" if found is None else _OUTCOMES[found.tag]
        counts[outcome] += 1
        if found is not None and outcome == "failed":
            first = found.get("message", "").partition("\n")[0]
            failures.append(f"{case.get('classname')}::{case.get('name')}: {first}")
    return dict(counts), failures


def test(
    kernels: Sequence[str],
    arguments: Sequence[str],
    *,
    out: Path,
    jobs: int,
    options: Sequence[str],
    say: Callable[[str], None],
) -> list[Verdict]:
    """Run pytest on each kernel, several at a time.

    The output goes to ``KERNEL/pytest.log``, and also to this process's own if there is one kernel.

    Parameters
    ----------
    kernels
        Names of the table.
    arguments
        For pytest.
    out
        The folder for a folder of each kernel.
    jobs
        How many machines at a time.
    options
        For ``python -m tests.vm run``.
    say
        Told when each kernel starts, and how it went.

    Raises
    ------
    VmError
        When pytest cannot collect the tests, or another run uses the folder of a kernel.
    """
    arguments = with_tests(arguments)
    collect(arguments)
    waiting, verdicts = list(kernels), []
    with contextlib.ExitStack() as stack:
        for kernel in kernels:
            stack.enter_context(_alone_in(out / kernel))
        selector = stack.enter_context(selectors.DefaultSelector())
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < jobs:
                kernel = waiting.pop(0)
                say(f"{kernel}: started; its log is {out / kernel / 'pytest.log'}")
                run = _Run(kernel, arguments, out / kernel, options, echo=len(kernels) == 1)
                stack.callback(run.end)
                selector.register(run.output, selectors.EVENT_READ, run)
            for key, _ in selector.select():
                run = cast(_Run, key.data)
                if not run.pump():
                    selector.unregister(run.output)
                    verdicts.append(run.verdict())
                    say(str(verdicts[-1]))
    return verdicts


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise VmError(f"another run of the tests writes to {folder}; choose another folder with --out") from error
        yield


class _Run:
    # `python -m tests.vm run` for one kernel, and its log.
    def __init__(
        self, kernel: str, arguments: Sequence[str], folder: Path, options: Sequence[str], *, echo: bool
    ) -> None:
        self._kernel = kernel
        self._report = folder / "junit.xml"
        self._report.unlink(missing_ok=True)
        self._log = (folder / "pytest.log").open("wb")
        self._echo = echo
        self._started = time.monotonic()
        run = [sys.executable, "-m", "tests.vm", "run", kernel, "--as-test", "--out", str(folder), *options]
        pytest = [*_PYTEST, "--junit-xml=/vmjob/junit.xml", *arguments]
        self._process = subprocess.Popen(
            [*run, "--", *pytest], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.output = cast(IO[bytes], self._process.stdout)

    def pump(self) -> bool:
        # Pass on what there is; False at the end.
        piece = self.output.read1()  # type: ignore[attr-defined]
        self._log.write(piece)
        self._log.flush()
        if self._echo:
            sys.stdout.buffer.write(piece)
            sys.stdout.flush()
        return bool(piece)

    def end(self) -> None:
        self._process.terminate()  # which ends its machine, if that is still there
        self._process.wait()
        self.output.close()
        self._log.close()

    def verdict(self) -> Verdict:
        status = self._process.wait()
        outcomes, failures = read_report(self._report) if self._report.exists() else ({}, [])
        return Verdict(self._kernel, status, time.monotonic() - self._started, outcomes, failures)


def with_tests(arguments: Sequence[str]) -> list[str]:
    """Return arguments for pytest that name tests: those of the kernel, if none are named.

    Examples
    --------
    >>> with_tests(["-k", "ring"])
    ['-k', 'ring', 'tests/kernel', '--ignore=tests/kernel/test_notebooks_run.py']
    """
    named = any((ROOT / argument.partition("::")[0]).exists() for argument in arguments if argument)
    return [*arguments, *(() if named else _TESTS)]


def collect(arguments: Sequence[str]) -> None:
    """Let this machine's Python collect the tests: guests then find them compiled, and a misspelt name costs no boot.

    Raises
    ------
    VmError
        When pytest finds no tests, or cannot import them, with what it said.
    """
    leave_out = {"PYTHONDONTWRITEBYTECODE", "EBPFLAB_REQUIRE_KERNEL"}
    env = {name: value for name, value in os.environ.items() if name not in leave_out}
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    commands = ([sys.executable, "-m", "compileall", "-q", "ebpflab"], [*_PYTEST, "-q", "--collect-only", *arguments])
    for command in commands:
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise VmError(f"{shlex.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}".rstrip())
