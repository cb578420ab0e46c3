"""What the tools of bpf_src/ cost: nanoseconds of a run, by the kernel's own statistics, while their workloads run.

``python -m benchmarks tools [NAME ...]`` measures, writes each figure into the header of its tool, and makes
docs/tools.md from the headers. Workloads are those of the tests: the modules tests/kernel/workloads_*.py.
"""

import importlib.util
import re
import statistics
import sys
from pathlib import Path

import ebpflab
from ebpflab.errors import EbpflabError
from ebpflab.toolbox import shelf
from ebpflab.tracer.programs import counting_runs

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "tools.md"
ROUNDS = 5
_HEAD = """\
# Tools

Each answers one question. In a notebook `%bpf run NAME --for 10s` runs one, shows its rows and draws its picture, and
leaves the session in a variable of its name; `%bpf tools NAME` shows its options. In Python
`ebpflab.load("NAME", vars={...})` gives the session, with `s.rows()` and `s.plot()`. In a shell `ebpflab run NAME`
prints rows until Ctrl-C, and `ebpflab run NAME --json` a line of JSON for each.

Made from the headers of `bpf_src/*.bpf.c` by `python -m benchmarks tools`; not written by hand. *ns a run* is the mean
of all runs of a tool's programs under its test's workload, by the kernel's own statistics (`BPF_ENABLE_STATS`, which
itself adds some 20 ns), on a virtual machine with 2 CPUs and Linux 6.18. What a tool costs in all is this times the
number of runs.

| tool | question | ns a run | runs | options |
|---|---|---|---|---|
"""

_TAIL = """
## How they are written

A tool is one C file. The comment at its top is what `%bpf tools NAME` shows: the question, a sample, the expressions
that give its rows and its picture of a session `s`, what a run costs, and what the kernel must have. Every
`const volatile` variable is an option, with the comment behind it as its help. Targets that a section does not say
stand in a line `Attach:`, in capitals where the user has to give them.

Kernels differ in their hooks, and features decide, never versions. Programs in optional sections are alternatives when
their names say so; of each purpose the first way is loaded whose hooks this kernel has, and `s.stages` says which:

```c
SEC("?fentry/vfs_read")               int BPF_PROG(on_read__fentry, struct file *file) { ... }
SEC("?kprobe/vfs_read")               int BPF_KPROBE(on_read__kprobe, struct file *file) { ... }
SEC("?tp/syscalls/sys_enter_read")    int on_read__tp(struct trace_event_raw_sys_enter *ctx) { ... }
```

A way that takes two programs names both: `on_read__kprobe__enter`, `on_read__kprobe__exit`. This works in any cell.
Members that kernels name differently are CO-RE's affair: `bpf_core_field_exists`, and structs with a suffix such as
`___old`.
"""


def main(names):
    measured = workloads()
    unknown = set(names) - set(shelf.paths())
    if unknown:
        sys.exit(f"no tool is called {', '.join(sorted(unknown))}")
    for name in names or sorted(shelf.paths()):
        if name not in measured:
            print(f"{name:14} not measured: no workload")
            continue
        try:
            cost = measure(name, measured[name])
        except EbpflabError as error:
            print(f"{name:14} not measured: {error.what}")
            continue
        runs, ns = cost
        print(f"{name:14} {ns:7,.0f} ns a run, {runs:9,} runs")
        write(shelf.paths()[name], round(ns))
    DOCUMENT.write_text(document())
    return 0


def workloads():
    """Return the workload of each tool, by name, from the modules of the tests."""
    folder = ROOT / "tests" / "kernel"
    sys.path.insert(0, str(folder))  # they import their neighbours
    found = {}
    for path in sorted(folder.glob("workloads_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found |= module.WORKLOADS
    return found


def measure(name, workload):
    """Return how often the programs of a tool ran under its workload, and the median of the rounds' means in ns."""
    means, total = [], 0
    with workload() as (options, make_events), counting_runs(), ebpflab.load(name, **options) as session:
        make_events()  # warm
        for _ in range(ROUNDS):
            before = session.programs
            make_events()
            after = session.programs
            runs = int((after["run_cnt"] - before["run_cnt"]).sum())
            if runs:
                means.append(float((after["run_ns"] - before["run_ns"]).sum()) / runs)
            total += runs
    if not means:
        raise EbpflabError(f"the workload of {name} does not make its programs run")
    return total, statistics.median(means)


def write(path, ns):
    """Put a figure into the header of a tool."""
    text = path.read_text()
    path.write_text(re.sub(r"(?<=\n// Overhead: )( *)[\d,]+ ns a run", rf"\g<1>{ns:,} ns a run", text, count=1))


def document():
    """Return docs/tools.md, made from the headers."""
    rows = []
    for name in sorted(shelf.paths()):
        tool = shelf.find(name)
        ns, _, runs = tool.overhead.partition(" ns a run; ")
        if not runs:
            ns, runs = "", tool.overhead
        options = " ".join(f"`{p.option}`" for p in tool.parameters)
        where = " ".join(f"`--attach {program}={place}`" for program, place in tool.wanted.items())
        link = f"[`{name}`](../bpf_src/{name}.bpf.c)"
        rows.append(f"| {link} | {tool.question} | {ns} | {runs.rstrip('.')} | {f'{where} {options}'.strip()} |\n")
    needs = "".join(f"- **{name}**: {shelf.find(name).needs}\n" for name in sorted(shelf.paths()))
    return f"{_HEAD}{''.join(rows)}\n## What they need\n\n{needs}{_TAIL}"
