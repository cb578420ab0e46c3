"""Maps as bpftool shows them: by the id in the descriptor's own text, without the code under test."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

BPFTOOL = shutil.which("bpftool", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")


def map_id(fd):
    return int(re.search(r"^map_id:\s*(\d+)", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.MULTILINE)[1])


def run(*arguments):
    done = subprocess.run([BPFTOOL, "-j", *map(str, arguments)], check=False, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout or "null")


def dump(bpf_map):
    """The entries of a map as pairs of raw bytes; of a per-CPU map the value is a list of bytes."""
    found = []
    for entry in run("map", "dump", "id", map_id(bpf_map.fd)):
        if "values" in entry:
            found.append((raw(entry["key"]), [raw(cpu["value"]) for cpu in entry["values"]]))
        elif "error" not in entry["value"]:
            found.append((raw(entry["key"]), raw(entry["value"])))
    return found


def raw(bytes_as_text):
    return bytes(int(byte, 16) for byte in bytes_as_text)


def formatted(bpf_map):
    """The entries as bpftool formats them by BTF: pairs of key and value."""
    entries = run("map", "dump", "id", map_id(bpf_map.fd))
    return [(entry["formatted"]["key"], entry["formatted"]["value"]) for entry in entries]
