"""Run a tool of BCC until it waits for events, and keep its program and where it is attached:
python3 bcc_tool.py ANSWER TOOL [ARGUMENT ...].

Works with the distribution's Python and BCC package, of which only what changes the kernel is replaced. Writes JSON to
the file ANSWER: the text, the options for the compiler and the attachments, or the options of the tool itself if its
only argument is ``--options``.
"""

import argparse
import builtins
import curses
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import bcc
import bcc_recorder

# Tools look here for what a kernel has. What this one lacks is added, since only their texts are wanted.
SYMBOLS = ("btrfs_file_operations", "ext4_file_operations", "xfs_file_operations", "vm_stat", "vm_zone_stat")
BLACKLIST = "/sys/kernel/debug/kprobes/blacklist"
PRETENDED = {
    BLACKLIST: "",
    "/proc/kallsyms": "".join(f"ffffffff82000000 d {name}\n" for name in SYMBOLS),
}
really_open = builtins.open


def opened(path, mode="r", *arguments, **options):
    if path in PRETENDED:
        real = really_open(path).read() if os.access(path, os.R_OK) else ""
        text = PRETENDED[path] + real
        return io.BytesIO(text.encode()) if "b" in mode else io.StringIO(text)
    if str(path).startswith("/usr/share/bpfcc-tools/"):  # the package is not installed, only taken apart
        path = Path(TOOL).parent.parent / "share" / "bpfcc-tools" / Path(path).name
    return really_open(path, mode, *arguments, **options)


def answer(value):
    Path(ANSWER).write_text(json.dumps(value))
    os._exit(0)


def options(self, *_arguments, **_more):
    named = [action for action in self._actions if action.option_strings and action.dest != "help"]
    flags = [[action.option_strings[-1]] for action in named if action.nargs == 0]
    chosen = [[action.option_strings[-1], str(choice)] for action in named for choice in action.choices or ()]
    answer({"options": flags + chosen})


def main(arguments):
    if arguments == ["--options"]:
        argparse.ArgumentParser.parse_args = options
    sys.argv = [TOOL, *arguments]
    recorder = bcc_recorder.Recorder()
    recorder.install()
    if release := os.environ.get("BCC_TOOL_RELEASE"):  # of the kernel whose facts stand in the places of this one's
        uname = os.uname()
        os.uname = lambda: os.uname_result((*uname[:2], release, *uname[3:]))
    builtins.open = opened
    curses.wrapper = lambda function, *given: function(mock.MagicMock(), *given)
    subprocess.check_output = lambda *_command, **_options: b"GenuineIntel"  # kvmexit asks for the processor's maker
    time.sleep = signal.pause = bcc_recorder.finish
    bcc.USDT = bcc_recorder.Probes
    ended = ""
    try:
        runpy.run_path(TOOL, run_name="__main__")
    except (bcc_recorder.Finished, SystemExit):
        pass
    except Exception as error:  # noqa: BLE001 - whatever a tool does once its program is made
        ended = f"{type(error).__name__}: {error}"
    if recorder.text is not None:
        found = {name: getattr(recorder, name) for name in ("text", "cflags", "attach")}
        answer({**found, "ended": ended})
    sys.exit(ended)


if __name__ == "__main__":
    ANSWER, TOOL, *ARGUMENTS = sys.argv[1:]
    main(ARGUMENTS)
