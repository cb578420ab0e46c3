"""``ebpflab run TOOL`` as a process of its own: lines of JSON or text, Ctrl-C, and totals."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys

import pytest

OPENS = 211


def start(*words, **options):
    command = [sys.executable, "-m", "ebpflab", "run", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def opened(folder, many):
    for _ in range(many):
        os.close(os.open(folder, os.O_RDONLY))


@pytest.fixture
def watching(tmp_path):
    """Start the tool on this process, and wait until it sees it; whoever is started is gone at the end."""
    started = []

    def watch(*words):
        process = start("opensnoop", "--pid", os.getpid(), *words)
        started.append(process)
        while not select.select([process.stdout], [], [], 0.05)[0]:
            opened(tmp_path, 1)
        return process

    yield watch
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_json_is_a_valid_line_for_each_row_and_ends_with_the_totals(number, watching, tmp_path):
    process = watching("--json")
    marker = tmp_path / 'counted \N{SNOWMAN} "quoted"'
    marker.mkdir()
    opened(marker, OPENS)
    process.send_signal(number)
    rest, errors = process.communicate(timeout=30)
    lines = [json.loads(line) for line in rest.splitlines()]
    assert (process.returncode, errors) == (0, "")
    *rows, last = lines
    assert [row["path"] for row in rows].count(str(marker)) == OPENS
    assert {row["pid"] for row in rows} == {os.getpid()}
    assert all(isinstance(row["took"], int) and row["time"].endswith("Z") for row in rows)
    assert last["totals"]["tool"] == "opensnoop"
    assert (last["totals"]["received"], last["totals"]["lost"]) == (len(rows), 0)


def test_rows_that_the_writer_was_too_slow_for_are_counted(watching, tmp_path):
    process = watching("--json", "--keep", "997")
    opened(tmp_path, 30_011)  # nobody reads the pipe meanwhile, and it is full soon
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=60)
    *rows, last = [json.loads(line) for line in out.splitlines()]
    totals = last["totals"]
    assert (process.returncode, errors) == (0, "")
    assert totals["missed"] > 0
    assert len(rows) + totals["missed"] == totals["received"]
    assert totals["received"] + totals["lost"] > 30_011


def test_text_has_one_head_and_the_totals_are_not_among_the_rows(watching, tmp_path):
    process = watching()
    opened(tmp_path, OPENS)
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=30)
    head, *rows = rest.splitlines()
    assert head.split() == ["time", "took", "pid", "comm", "flags", "error", "path"]
    ours = [row.index(str(tmp_path)[:50]) for row in rows if str(tmp_path)[:50] in row]  # long values are cut
    assert len(ours) > OPENS
    assert len(set(ours)) == 1, "columns keep their place"
    assert errors.startswith("tool opensnoop, seconds ")
    assert f"received {len(rows):,}, lost 0" in errors


def test_a_reader_that_has_enough_ends_it_without_a_word(watching):
    process = watching("--json")
    process.stdout.close()
    while process.poll() is None:
        opened("/", 100)
    assert process.stderr.read() == ""


def test_what_is_counted_in_maps_comes_at_the_end_and_again_and_again():
    done = start("runqlat", "--for", "1s", "--every", "0.3", "--json")
    out, errors = done.communicate(timeout=60)
    *rows, last = [json.loads(line) for line in out.splitlines()]
    assert (done.returncode, errors) == (0, "")
    assert set(rows[0]) == {"low", "high", "count"}
    starts = [i for i, row in enumerate(rows) if i == 0 or row["low"] <= rows[i - 1]["low"]]
    assert len(starts) >= 2, "once meanwhile and once at the end"
    assert last["totals"]["rows"] == len(rows) - starts[-1]
    assert min(row["count"] for row in rows) > 0


def test_mistakes_are_one_message_and_exit_code_1():
    for words, said in (
        (["opensnop"], "did you mean opensnoop?"),
        (["opensnoop", "--only-fialed"], "did you mean --only-failed"),
        (["opensnoop", "--pid", "nobody"], "--pid nobody: that is no whole number"),
        (["argsnoop", "--nr", "opnat"], "did you mean openat"),
        (["opensnoop", "--watch"], "unknown option --watch"),
        (["opensnoop", "--for", "soon"], "'soon' is not a duration"),
        (["--json"], "needs the name of a tool"),
    ):
        done = start(*words)
        out, errors = done.communicate(timeout=30)
        assert (done.returncode, out) == (1, "")
        assert said in errors
        assert "Traceback" not in errors


def test_help_shows_the_tool_and_a_run_without_words_how_to_go_on():
    out, _ = start("opensnoop", "--help").communicate(timeout=30)
    assert [word for word in ("did it work?", "--only-failed", "only this process", "--every") if word not in out] == []
    assert "ebpflab run opensnoop" in out
    out, _ = start().communicate(timeout=30)
    assert out.startswith("ebpflab run TOOL")
