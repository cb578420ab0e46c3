"""Figures beside their budgets: a table while they are measured, and JSON with every raw number."""

import datetime
import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path

MET, MISSED, UNMEASURED, FREE = "met", "MISSED", "NOT MEASURED", ""
_WIDTHS = (46, 16, 28, 9, 22, 12)


class Broken(Exception):  # noqa: N818 - it says what is broken
    """Something that was measured is wrong: counts that do not add up, rows that are missing."""


@dataclass
class Figure:
    """One line of the table.

    Parameters
    ----------
    what
        What is measured.
    unit
        Of both sides' numbers.
    ours, theirs
        The rounds of each side; the median counts.
    peer
        Who the other side is; empty without one.
    better
        "more" or "less"; a ratio above 1 is in our favour either way.
    budget
        ``("ours" or "ratio", ">=" or "<=", limit)``, or None for a figure that only informs.
    missing
        Why the peer could not be measured.
    note
        What a reader has to know besides.
    raw
        Further numbers, for the JSON.
    """

    what: str
    unit: str
    ours: list[float]
    theirs: list[float] = field(default_factory=list)
    peer: str = ""
    better: str = "more"
    budget: tuple[str, str, float] | None = None
    missing: str = ""
    note: str = ""
    raw: dict = field(default_factory=dict)

    @property
    def value(self):
        return statistics.median(self.ours) if self.ours else None

    @property
    def other(self):
        return statistics.median(self.theirs) if self.theirs else None

    @property
    def ratio(self):
        if not self.ours or not self.theirs:
            return None
        up, down = (self.value, self.other) if self.better == "more" else (self.other, self.value)
        return up / down if down else None

    @property
    def verdict(self):
        if self.budget is None:
            return FREE
        of, sign, limit = self.budget
        value = self.value if of == "ours" else self.ratio
        if value is None:
            return UNMEASURED
        return MET if (value >= limit if sign == ">=" else value <= limit) else MISSED

    def row(self):
        theirs = f"{self.peer}: {_short(self.other)}" if self.theirs else ""
        if self.missing:
            theirs = "PEER MISSING"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}x"
        return self.what, f"{_short(self.value)} {self.unit}", theirs, ratio, self.budget_text(), self.verdict

    def budget_text(self):
        if self.budget is None:
            return ""
        of, sign, limit = self.budget
        return f"{sign} {limit:g} {self.unit}" if of == "ours" else f"{sign} {limit:g}x {self.peer}"

    def to_dict(self):
        computed = {"median": self.value, "peer_median": self.other, "ratio": self.ratio, "verdict": self.verdict}
        return asdict(self) | computed


def _short(number):
    if number is None:
        return "-"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def line(cells):
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()


class Report:
    """Prints figures as they come and writes them as JSON.

    Parameters
    ----------
    path
        Where the JSON goes.
    options
        How the benchmarks were called.
    """

    def __init__(self, path, options):
        self.path, self.options = Path(path), options
        self.figures, self.seconds, self.broken, self.complete = {}, {}, {}, False
        self.machine = machine()

    def head(self):
        m = self.machine
        print(f"{m['cpu']}, {m['cpus']} CPUs, Linux {m['kernel']}, load {m['load'][0]:.2f}; Python {m['python']}")
        print(", ".join(f"{name} {version}" for name, version in m["versions"].items()))
        print("\n" + line(("what", "ours", "peer", "ratio", "budget", "")))

    def add(self, section, figure):
        self.figures.setdefault(section, []).append(figure)
        print(line(figure.row()), flush=True)
        for text in filter(None, (figure.missing and f"PEER MISSING: {figure.missing}", figure.note)):
            print(f"    {text}", flush=True)

    def wrong(self, section, error):
        """Note that a section could not be finished."""
        self.broken[section] = str(error)
        print(f"!!! BROKEN: {error}", flush=True)

    def failing(self):
        return [f for figures in self.figures.values() for f in figures if f.verdict in (MISSED, UNMEASURED)]

    def write(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        document = {
            "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "complete": self.complete,
            "options": self.options,
            "machine": self.machine | {"load_after": os.getloadavg()},
            "seconds": self.seconds,
            "broken": self.broken,
            "figures": {section: [f.to_dict() for f in figures] for section, figures in self.figures.items()},
        }
        self.path.write_text(json.dumps(document, indent=1) + "\n")

    def close(self):
        """Say what was missed, loudly, and write the JSON."""
        self.write()
        print(f"\n{sum(self.seconds.values()):.0f} s; every number is in {self.path}")
        for section, text in self.broken.items():
            print(f"!!! BROKEN: {section}: {text}")
        for figure in self.failing():
            what, ours, theirs, ratio, budget, verdict = figure.row()
            print(f"!!! {verdict}: {what}: {ours}, {theirs or 'no peer'} {ratio}, budget {budget}")


def machine():
    """What the figures were measured on."""
    cpuinfo = Path("/proc/cpuinfo").read_text()
    names = [row.partition(":")[2].strip() for row in cpuinfo.splitlines() if row.startswith("model name")]
    memory = Path("/proc/meminfo").read_text().split()
    return {
        "cpu": names[0] if names else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_kib": int(memory[1]),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load": os.getloadavg(),
        "versions": _versions(),
    }


def _versions():
    import importlib.metadata

    from ebpflab import toolchain

    packages = {name: importlib.metadata.version(name) for name in ("numpy", "pandas", "pyarrow", "matplotlib")}
    tools = {t.name: t.version or "?" for t in toolchain.tools() if t.path and t.name in _SHOWN}
    return {"ebpflab": importlib.metadata.version("ebpflab"), **packages, **tools}


_SHOWN = ("clang", "libbpf", "bcc", "bpftrace")
