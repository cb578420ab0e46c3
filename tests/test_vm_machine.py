"""The parts of tests/vm around a machine that need none: its command line, its process, reports, the command."""

from __future__ import annotations

import io
import itertools
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from vm import VmError, __main__, image, kernels, machine, qemu, suite, warm

# --- The machine --------------------------------------------------------------------------------------------

IMAGE = image.Image(Path("/cache/6.12"), "6.12.95+deb12-amd64", "d1gest")
MACHINE = machine.Machine(IMAGE, append="lsm=bpf")


def option(command, name):
    return [value for flag, value in itertools.pairwise(command) if flag == name]


def test_the_kernel_gets_its_command_line_and_boots_by_its_elf_file():
    command = MACHINE.command(Path("/job"), Path("/console"))
    assert option(command, "-kernel") == ["/cache/6.12/vmlinux"]
    assert option(command, "-append")[0].split()[-1] == "lsm=bpf"
    assert "console=ttyS0" in option(command, "-append")[0].split()


def test_the_guest_can_write_to_nothing_but_the_jobs_folder():
    shares = option(MACHINE.command(Path("/a,job"), Path("/console")), "-fsdev")
    assert [share for share in shares if "readonly=on" not in share.split(",")] == [
        "local,id=job,path=/a,,job,security_model=none,multidevs=remap"
    ]
    assert sum("path=/," in share for share in shares) == 1
    assert sum("path=/cache/6.12/tree/lib/modules/6.12.95+deb12-amd64," in share for share in shares) == 1


def test_a_state_depends_on_the_machine_and_not_on_where_it_is_kept():
    name = machine.state_name(MACHINE, "7.2")
    elsewhere = replace(MACHINE, image=replace(IMAGE, folder=Path("/other/6.12")))
    assert machine.state_name(elsewhere, "7.2") == name
    others = [
        machine.state_name(MACHINE, "8.2"),
        machine.state_name(replace(MACHINE, append=""), "7.2"),
        machine.state_name(replace(MACHINE, memory="2G"), "7.2"),
        machine.state_name(replace(MACHINE, cpus=2), "7.2"),
        machine.state_name(replace(MACHINE, image=replace(IMAGE, digest="other")), "7.2"),
    ]
    assert len({name, *others}) == 6


def test_a_jobs_script_sets_the_environment_and_starts_where_we_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    env = {"PLAIN": "1", "QUOTED": 'it\'s "$HOME" \\', "EMPTY": ""}
    show = 'pwd; printf "%s\\n" "$PLAIN" "$QUOTED" "${EMPTY-unset}"; exit 7'
    job = machine.Job(show, tmp_path, tmp_path / "console", 1, env)
    done = subprocess.run(["sh", "-c", job.script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [str(tmp_path), "1", 'it\'s "$HOME" \\', ""]
    assert done.returncode == 7


def test_the_guests_first_process_is_a_script_that_sh_can_read():
    script = Path(image.__file__).with_name("init.sh")
    assert subprocess.run(["sh", "-n", script], capture_output=True, check=True).stderr == b""


# --- QEMU's process -----------------------------------------------------------------------------------------

# Says hello as QEMU's monitor does, answers each command with the next of its arguments, and stays.
MONITOR = """
import json, re, signal, socket, sys
number = int(re.search(r"id=monitor,fd=(\\d+)", " ".join(sys.argv))[1])
answers = json.loads(sys.argv[1])
monitor = socket.socket(fileno=number).makefile("rw")
print('{"QMP": {}}', file=monitor, flush=True)
for line, answer in zip(monitor, [{"return": {}}, *answers]):
    print(json.dumps({"event": "RESUME"}), file=monitor)
    print(json.dumps(answer), file=monitor, flush=True)
if answers:
    signal.pause()
sys.exit("it broke")
"""


def monitor(*answers):
    return qemu.start([sys.executable, "-c", MONITOR, json.dumps(answers)])


def test_the_monitors_answers_are_told_from_its_events_and_the_process_ends_with_us():
    with monitor({"return": {"status": "inmigrate"}}, {"return": {"status": "paused"}}) as guest:
        guest.wait_for("query-status", "paused")
        process = guest._process
        assert process.poll() is None
    assert process.poll() is not None


def test_what_qemu_refuses_is_an_error():
    with (
        monitor({"error": {"desc": "no such thing"}}) as guest,
        pytest.raises(VmError, match="QEMU refuses cont: no such thing"),
    ):
        guest.ask("cont")


def test_a_migration_that_fails_is_an_error():
    with monitor({"return": {"status": "failed"}}) as guest, pytest.raises(VmError, match="with failed instead of"):
        guest.wait_for("query-migrate", "completed")


def test_the_last_words_of_a_qemu_that_ended_are_told():
    with monitor() as guest, pytest.raises(VmError, match="QEMU ended: it broke"):
        guest.ask("cont")


def test_a_qemu_that_is_not_installed_is_an_error_that_says_how_to_get_it():
    with pytest.raises(VmError, match="setup --install"), qemu.start(["/no/such/qemu"]):
        pass


@pytest.fixture
def guest():
    """A Qemu whose guest is this test: with the far ends of its control and output."""
    pairs = [socket.socketpair() for _ in range(3)]
    (_, monitor), (_, control), (_, output) = pairs
    monitor.sendall(b'{"QMP": {}}\n{"return": {}}\n')
    with subprocess.Popen(["true"]) as process, io.BytesIO() as messages:
        yield qemu.Qemu(process, [ours for ours, _ in pairs], messages), control, output
    for end in (end for pair in pairs for end in pair):
        end.close()


def test_all_output_comes_before_the_answer(guest):
    ours, control, output = guest
    pieces = []
    output.sendall(b"x" * 100_003)
    control.sendall(b"exit 7\n")
    assert ours.answer(5, pieces.append) == "exit 7"
    assert b"".join(pieces) == b"x" * 100_003


def test_a_machine_that_ends_without_an_answer_leaves_an_empty_one(guest):
    ours, control, output = guest
    pieces = []
    output.sendall(b"panic")
    for end in (control, output):
        end.close()
    assert ours.answer(5, pieces.append) == ""
    assert pieces == [b"panic"]


def test_when_the_time_is_up_there_is_no_answer(guest):
    ours, control, _ = guest
    control.sendall(b"exi")
    start = time.monotonic()
    assert ours.answer(0.2, print) is None
    assert 0.1 < time.monotonic() - start < 2


# --- The tests in the guests --------------------------------------------------------------------------------


def test_tests_that_are_not_named_are_those_of_the_kernel():
    assert suite.with_tests(["tests/test_vm_tools.py::test_x", "-q"]) == ["tests/test_vm_tools.py::test_x", "-q"]
    assert suite.with_tests(["-k", "ring"])[:3] == ["-k", "ring", "tests/kernel"]
    assert suite.with_tests([])[0] == "tests/kernel"


CASES = """
import pytest
def test_one(): pass
@pytest.mark.parametrize("x", range(3))
def test_some(x): assert x != 1, "x is one"
@pytest.mark.skip(reason="not today")
def test_skipped(): pass
@pytest.fixture
def broken(): raise ValueError("no fixture")
def test_error(broken): pass
"""


def test_a_report_of_pytest_is_counted_and_its_failures_are_named(tmp_path):
    (tmp_path / "test_cases.py").write_text(CASES)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "--junit-xml=report.xml",
        "test_cases.py",
    ]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # quicker
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 failed, 3 passed, 1 skipped, 1 error" in done.stdout
    counts, failures = suite.read_report(tmp_path / "report.xml")
    assert counts == {"passed": 3, "failed": 2, "skipped": 1}
    assert failures == [
        "test_cases::test_some[1]: AssertionError: x is one",
        'test_cases::test_error: failed on setup with "ValueError: no fixture"',
    ]


def test_a_verdict_is_one_line():
    verdict = suite.Verdict("6.12", 1, 61.7, {"passed": 97, "failed": 2})
    assert str(verdict) == "6.12: 97 passed, 2 failed, 0 skipped, 62 s"
    assert str(suite.Verdict("5.10", 124, 9)) == "5.10: 0 passed, 0 failed, 0 skipped, 9 s, out of time"
    assert str(suite.Verdict("5.10", 4, 9)).endswith("9 s, exit code 4")


def test_tests_that_cannot_be_collected_start_no_machine():
    with pytest.raises(VmError, match=r"not found: .*test_nosuch\.py"):
        suite.collect(["tests/kernel/test_nosuch.py"])


def test_two_runs_do_not_write_to_one_folder(tmp_path):
    with (
        suite._alone_in(tmp_path / "6.12"),
        pytest.raises(VmError, match="choose another folder with --out"),
        suite._alone_in(tmp_path / "6.12"),
    ):
        pass


@pytest.mark.parametrize(("prepared", "found"), [("true", "/vmjob/cache"), ("false", "/run/cache")])
def test_a_cache_that_is_not_roots_is_copied(prepared, found):
    script = suite.PREPARE.replace("[ -O /vmjob/cache ]", prepared).replace("cp -r /vmjob/cache /run/cache", "true")
    environment = {**os.environ, **suite.environment("6.12")}
    command = ["sh", "-c", f'{script}\necho "$EBPFLAB_CACHE"']
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip() == found


def test_cells_are_those_that_a_module_of_the_tests_registers(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_cells.py").write_text("SOURCE = 'int x;'\n")
    (tmp_path / "hook_cells.py").write_text("from neighbour_of_cells import SOURCE\nCELLS = {'one': SOURCE}\n")
    assert warm.registered(tmp_path / "hook_cells.py") == {"one": "int x;"}
    assert warm.registered(tmp_path / "no_such_module.py") == {}


# --- The command --------------------------------------------------------------------------------------------


def test_the_command_lists_every_kernel(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("EBPFLAB_VM_CACHE", str(tmp_path))
    assert __main__.main(["kernels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [[k.name, k.sources[0][0], "-"] for k in kernels.TABLE]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "6.12"], "no command after --"),
        (["run", "6.99", "--", "true"], "no kernel '6.99'"),
        (["test", "5.10", "6.99"], "no kernel '6.99'"),
    ],
)
def test_a_command_that_makes_no_sense_is_told_so(arguments, words, capsys):
    assert __main__.main(arguments) == 1
    assert words in capsys.readouterr().err


def test_a_variable_without_a_value_is_refused(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["run", "6.12", "--env", "HOME", "--", "true"])
    assert "'HOME' is not NAME=VALUE" in capsys.readouterr().err
