"""A live view in a real JupyterLab while a million events a second arrive: its messages, the browser's memory, losses.

Browser, server, kernel and producer share this machine's cores. What the kernel sends is counted in the page, as
JupyterLab receives it; what the browser holds is asked after its garbage was collected.
"""

import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from .report import Broken, Figure

ROOT = Path(__file__).resolve().parents[1]
BROWSER = ROOT / "tests" / "browser"  # JupyterLab and Chromium as the tests have them
TICK = 0.001  # seconds from run to run of the program
RATE = 1_000_000
TABS = ("table", "plot")
SETTLED = 5.0  # seconds until the page has made what it makes once

_BEGIN = f"""
import json, os, resource, sys
sys.path.insert(0, {str(ROOT)!r})
from benchmarks import cells
from benchmarks.producer import Producer
s = cells.load(cells.sender(), keep=1_000_000)
"""
_VIEW = "view = s.view(tab={tab!r}); view.show()"
_START = """
def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
p = Producer(s, order=cells.order({count}), runs={runs}, interval={tick}).__enter__()
cpu_before = cpu()
p.start()
"""
_END = """
made = p.wait()
s.events.wait(s.vars["sent"] - s.vars["refused"], timeout=10)
print(json.dumps(dict(s.events.stats(), sent=s.vars["sent"], cpu=cpu() - cpu_before, made=made)))
"""
_CLOSE = "s.close()"

# Counts in the page what comes from the kernel: when, its type, its bytes.
_COUNT = """(() => {
    const { kernel } = jupyterapp.shell.currentWidget.sessionContext.session;
    window.ebpflabCame = [];
    kernel.anyMessage.connect((_, { msg, direction }) => {
        if (direction !== "recv" || msg.channel !== "iopub") return;
        const buffers = (msg.buffers || []).reduce((sum, each) => sum + each.byteLength, 0);
        const size = JSON.stringify(msg.content).length + buffers;
        ebpflabCame.push([performance.now() / 1000, msg.header.msg_type, size]);
    });
})()"""


def run(quick):
    seconds = 10 if quick else 30
    for tab in TABS:
        got = watched(tab, seconds)
        told = f"1 M/s for {seconds} s, live {tab}"
        yield Figure(
            f"{told}: messages in the fullest second",
            "messages",
            [float(got["fullest"])],
            budget=("ours", "<=", 10),
            note=f"{got['messages']} in all: {got['kinds']}",
            raw=got,
        )
        yield Figure("  largest message", "kB", [got["largest"] / 1000], budget=("ours", "<=", 50))
        yield Figure(
            "  lost",
            "events",
            [float(got["lost"])],
            budget=("ours", "<=", 0),
            note=f"{got['sent']:,} sent = {got['received']:,} received + {got['lost']:,} lost",
        )
        yield Figure(
            "  growth of the page's heap",
            "MB",
            [got["grown"] / 1e6],
            budget=("ours", "<=", 1),
            note=f"from {got['heap'] / 1e6:.1f} MB, {got['nodes']:+} nodes, over the last {got['watched']:.0f} s",
        )
        yield Figure("  CPU of the notebook's kernel", "% of a core", [100 * got["cpu"] / got["seconds"]])
        yield Figure("  limits of IOPub hit", "times", [float(got["limits"])], budget=("ours", "<=", 0))


def watched(tab, seconds):
    """Everything that was measured, as numbers by name."""
    sys.path.insert(0, str(BROWSER))
    import cdp
    import lab

    if cdp.executable() is None:
        raise Broken("view: there is no chromium on PATH")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(lab.serving(folder))
        page = stack.enter_context(cdp.chromium(folder))
        runs = int(seconds / TICK)
        start = _START.format(count=int(RATE * TICK), runs=runs, tick=TICK)
        book = lab.Lab(page, server).open("view.ipynb", [_BEGIN, _VIEW.format(tab=tab), start, _END, _CLOSE], True)
        book.run(0)
        page.send("Performance.enable")
        page.evaluate(_COUNT)
        book.run(1)
        page.wait_for("!!document.querySelector('.ebpflab-view')")
        book.run(2)
        begin = page.evaluate("performance.now() / 1000")
        time.sleep(SETTLED)
        before = _memory(page)
        time.sleep(max(0.0, seconds - SETTLED - 1.0))
        after = _memory(page)
        end = page.evaluate("performance.now() / 1000")
        page.screenshot(ROOT / "build" / "screenshots" / f"bench-view-{tab}.png")
        told = json.loads(book.run(3, timeout=60).strip().splitlines()[-1])
        came = [each for each in page.evaluate("ebpflabCame") if begin <= each[0] < end]
        book.run(4)
        book.close()
        log = (folder / "lab.log").read_text(errors="replace")
    if told["received"] + told["lost"] != told["sent"] or told["sent"] != runs * int(RATE * TICK):
        raise Broken(f"view: {told} does not add up to {runs * int(RATE * TICK):,}")
    if not came:
        raise Broken("view: the page received nothing")
    return {
        "sent": told["sent"],
        "received": told["received"],
        "lost": told["lost"],
        "cpu": told["cpu"],
        "seconds": told["made"]["ended"] - told["made"]["began"],
        "messages": len(came),
        "kinds": ", ".join(f"{count} {kind}" for kind, count in Counter(kind for _, kind, _ in came).most_common()),
        "fullest": _fullest([when for when, _, _ in came]),
        "largest": max(size for _, _, size in came),
        "mean": sum(size for _, _, size in came) / len(came),
        "heap": before["heap"],
        "grown": after["heap"] - before["heap"],
        "nodes": after["nodes"] - before["nodes"],
        "watched": after["at"] - before["at"],
        "limits": log.count("IOPub message rate exceeded") + log.count("IOPub data rate exceeded"),
    }


def _fullest(times):
    # How many came in the fullest second, wherever it begins.
    most, first = 0, 0
    for last, when in enumerate(times):
        while times[first] <= when - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def _memory(page):
    page.send("HeapProfiler.collectGarbage")
    metrics = {each["name"]: each["value"] for each in page.send("Performance.getMetrics")["metrics"]}
    return {"heap": metrics["JSHeapUsedSize"], "nodes": int(metrics["Nodes"]), "at": time.monotonic()}
