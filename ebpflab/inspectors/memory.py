# How much memory there is for maps and programs: on the machine, and in the cgroup of this process.

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path("/")


def available() -> int | None:
    # What a process can get without swapping (proc(5)), in bytes.
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text("proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def left() -> str:
    size = available()
    return "" if size is None else readable(size)


def limit() -> str:
    # Since Linux 5.11 maps and programs are charged to the cgroup of the process that makes them. "" without a limit.
    lines = _text("proc/self/cgroup").splitlines()
    own = next((line[3:].lstrip("/") for line in lines if line.startswith("0::")), "")
    most, used = (_text(f"sys/fs/cgroup/{own}/memory.{which}").strip() for which in ("max", "current"))
    if not most.isdigit():  # the root has none, and a container may not show it
        return ""
    taken = f" and uses {readable(int(used))}" if used.isdigit() else ""
    return f"the cgroup /{own} may use {readable(int(most))}{taken} (memory.max)"


def readable(size: int) -> str:
    value, units = float(size), iter(("bytes", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while value >= 1024 and (larger := next(units, "")):
        value, unit = value / 1024, larger
    return f"{value:,.0f} {unit}" if value >= 10 or unit == "bytes" else f"{value:,.1f} {unit}"


def _text(path: str) -> str:
    # A file that is not there, or not ours to read, says nothing.
    try:
        return (_ROOT / path).read_text()
    except OSError:
        return ""
