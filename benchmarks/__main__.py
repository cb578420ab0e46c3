"""Run the benchmarks: ``python -m benchmarks [NAME ...] [--json FILE] [--quick] [--strict]``."""

import argparse
import importlib
import signal
import sys
import time

from .report import Broken, Report

SECTIONS = ("drain", "live", "perf", "paced", "frames", "tracer", "latency", "stop", "memory", "view", "bcc_cells")


def main():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    which = f"which of {', '.join(SECTIONS)} (default: all), or soak alone, or tools and names of tools"
    parser.add_argument("names", nargs="*", help=which)
    parser.add_argument("--json", default="build/bench.json", metavar="FILE", help="where the numbers go")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--strict", action="store_true", help="fail if a budget is missed or was not measured")
    parser.add_argument("--records", type=lambda text: int(float(text)), default=10**9, help="of the soak")
    options = parser.parse_args()
    if options.names[:1] == ["tools"]:
        from . import tools

        return tools.main(options.names[1:])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as Ctrl-C does
    if unknown := set(options.names) - {*SECTIONS, "soak"}:
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}, soak")
    if "soak" in options.names:
        from . import soak

        return soak.main(options.records)
    return measure(options)


def measure(options):
    report = Report(options.json, vars(options))
    report.head()
    try:
        for name in options.names or SECTIONS:
            begin = time.monotonic()
            try:
                for figure in importlib.import_module(f"{__package__}.{name}").run(options.quick):
                    report.add(name, figure)
            except Broken as error:
                report.wrong(name, error)
            report.seconds[name] = time.monotonic() - begin
        report.complete = True
    except KeyboardInterrupt:
        print("\ninterrupted: the figures so far are kept")
    finally:
        report.close()
    if not report.complete:
        return 130
    return 1 if report.broken or (options.strict and report.failing()) else 0


if __name__ == "__main__":
    sys.exit(main())
