"""Run a tool of BCC until it has made its program, and keep the program:
python3 bcc_tool.py ANSWER TOOL [ARGUMENT ...].

Works with the distribution's Python and BCC package, of which only the constructor is replaced. Writes JSON to the
file ANSWER: the text and the options for the compiler, or the options of the tool itself if its only argument is
``--options``.
"""

import argparse
import builtins
import curses
import io
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import bcc


def finish(answer):
    Path(ANSWER).write_text(json.dumps(answer))
    os._exit(0)


def recorded(self, src_file=b"", hdr_file=b"", text=None, debug=0, cflags=(), usdt_contexts=(), **_options):
    if text is None and src_file:
        text = Path(src_file).read_text()
    text = text.decode() if isinstance(text, bytes) else text or ""
    if not text.strip():  # only to ask for the names of system calls
        self.module, self.tables, self.funcs = None, {}, {}
        return
    text = "".join(context.get_text() for context in usdt_contexts) + text
    finish({"text": text, "cflags": [c.decode() if isinstance(c, bytes) else c for c in cflags or ()]})


class Probes:
    """USDT probes that are taken to exist."""

    def __init__(self, **_where):
        self.names = []

    def enable_probe(self, probe, fn_name):
        self.names.append((probe, fn_name))

    enable_probe_or_bail = enable_probe

    def get_text(self):
        return ""

    def enumerate_probes(self):
        return []

    def get_probe_arg_ctype(self, *_arguments):
        return "u64"

    def get_context(self):
        return 0


# Tools look here for what a kernel has. What this one lacks is added, since only their texts are wanted.
SYMBOLS = ("btrfs_file_operations", "ext4_file_operations", "xfs_file_operations", "vm_stat", "vm_zone_stat")
PRETENDED = {
    "/sys/kernel/debug/kprobes/blacklist": "",
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


def options(self, *_arguments, **_more):
    named = [action for action in self._actions if action.option_strings and action.dest != "help"]
    flags = [[action.option_strings[-1]] for action in named if action.nargs == 0]
    chosen = [[action.option_strings[-1], str(choice)] for action in named for choice in action.choices or ()]
    finish({"options": flags + chosen})


builtins.open = opened
curses.wrapper = lambda function, *arguments: function(mock.MagicMock(), *arguments)
subprocess.check_output = lambda *_command, **_options: b"GenuineIntel"  # kvmexit asks for the processor's maker
bcc.BPF.__init__ = recorded
bcc.USDT = Probes
ANSWER, TOOL, *arguments = sys.argv[1:]
if arguments[:1] == ["--options"]:
    argparse.ArgumentParser.parse_args = options
sys.argv = [TOOL, *arguments]
runpy.run_path(TOOL, run_name="__main__")
