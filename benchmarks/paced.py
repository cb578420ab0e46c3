"""A million events a second for a minute into one frame, while a plot of them is drawn twice a second."""

import io
import resource
import time

from . import cells
from .memory import resident, settled
from .producer import Producer
from .report import Broken, Figure

TICK = 0.001  # seconds from run to run of the program
RATE = 1_000_000
REDRAW = 0.5
SHOWN = 20_000  # rows in a plot
BINS = 50


def run(quick):
    seconds = 10 if quick else 60
    told = f"{RATE / 1e6:.0f} M/s for {seconds} s, live plot"
    got = paced(seconds)
    yield Figure(
        f"{told}: lost",
        "events",
        [float(got["lost"])],
        budget=("ours", "<=", 0),
        note=f"{got['sent']:,} sent = {got['received']:,} received + {got['lost']:,} lost; ring at most "
        f"{got['fullest']:.0%} full when looked at; {got['drawn']} redraws of {got['picture']:,} bytes",
        raw=got,
    )
    yield Figure(
        f"{told}: CPU",
        "% of a core",
        [100 * got["cpu"] / got["seconds"]],
        budget=("ours", "<=", 60),
        note=f"the frame of all {got['rows']:,} rows included, which alone took {got['frame_seconds']:.2f} s",
    )
    yield Figure("  without that last frame", "% of a core", [100 * got["live_cpu"] / got["seconds"]])
    yield Figure("  producing, in the other process", "% of a core", [100 * got["producer_cpu"] / got["seconds"]])
    yield Figure(
        "  memory of the store / raw bytes of its rows",
        "x",
        [got["allocated"] / got["raw_bytes"]],
        budget=("ours", "<=", 1.2),
        note=f"{got['raw_bytes'] / 1e6:,.0f} MB of records",
    )
    yield Figure(
        "  growth of the process / the same",
        "x",
        [got["grown"] / got["raw_bytes"]],
        budget=("ours", "<=", 1.2),
        note="while it ran, the plot and its small frames included; before the frame of all rows was made",
    )


def paced(seconds):
    """Everything that was measured, as numbers by name."""
    plot = Plot()
    count = int(RATE * TICK)
    total = seconds * RATE
    with (
        cells.load(cells.sender(), keep=total) as s,
        Producer(s, order=cells.order(count), runs=total // count, interval=TICK) as p,
    ):
        e = s.events
        plot.draw(e)
        before, begin = settled(), _cpu()
        p.start()
        fullest, picture = 0, 0
        while p.process.poll() is None:
            start = time.monotonic()
            fullest = max(fullest, e.stats()["in_ring"])
            picture = plot.draw(e)
            time.sleep(max(0.0, REDRAW - (time.monotonic() - start)))
        made = p.wait()
        e.wait(s.vars["sent"] - s.vars["refused"], timeout=10)
        live_cpu, grown = _cpu() - begin, resident() - before
        stats, allocated = e.stats(), e._store.allocated
        start = time.monotonic()
        frame = e.df()
        frame_seconds, cpu = time.monotonic() - start, _cpu() - begin
        _check(s, stats, frame)
        return {
            "sent": s.vars["sent"],
            "received": stats["received"],
            "lost": stats["lost"],
            "rows": len(frame),
            "seconds": made["ended"] - made["began"],
            "cpu": cpu,
            "live_cpu": live_cpu,
            "producer_cpu": made["cpu"],
            "frame_seconds": frame_seconds,
            "fullest": fullest / cells.RING,
            "allocated": allocated,
            "grown": grown,
            "raw_bytes": len(frame) * cells.RECORD,
            "drawn": plot.drawn,
            "picture": picture,
        }


def _check(session, stats, frame):
    sent = session.vars["sent"]
    if stats["received"] + stats["lost"] != sent or len(frame) != stats["received"]:
        raise Broken(f"paced: {stats} and {len(frame):,} rows do not add up to {sent:,}")
    if not stats["lost"] and not (frame["number"].to_numpy()[1:] == frame["number"].to_numpy()[:-1] + 1).all():
        raise Broken("paced: the rows are not in order")


class Plot:
    """What somebody watches: the rate so far, the newest values, the most frequent names; drawn anew, made once."""

    def __init__(self):
        import numpy as np
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas

        self.figure = Canvas(figsize=(8, 3), dpi=80)
        FigureCanvasAgg(self.figure)
        self.rate, self.values = self.figure.subplots(1, 2)
        (self.line,) = self.rate.plot([], [])
        self.histogram = np.histogram
        self.steps = self.values.stairs(np.zeros(BINS), np.arange(BINS + 1))
        self.rates, self.drawn = [], 0

    def draw(self, e):
        """Draw it as a PNG; how many bytes that is."""
        newest, stats = e.df(last=SHOWN), e.stats()
        self.rates.append(stats["rate"])
        self.line.set_data(range(len(self.rates)), self.rates)
        self.rate.set_title(f"{stats['received']:,} received, {stats['lost']:,} lost", fontsize=8)
        if len(newest):
            self.steps.set_data(*self.histogram(newest["value"].to_numpy(), bins=BINS))
            top = newest["comm"].value_counts().head(3)
            self.values.set_title(", ".join(f"{name} {count}" for name, count in top.items()), fontsize=8)
        for axes in (self.rate, self.values):
            axes.relim()
            axes.autoscale_view()
        out = io.BytesIO()
        self.figure.savefig(out, format="png")
        self.drawn += 1
        return out.tell()


def _cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
