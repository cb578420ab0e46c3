"""Run every benchmark: ``make bench``, or ``python -m benchmarks [throughput] [latency]``."""

import sys

from . import latency, throughput

ALL = {"throughput": throughput.main, "latency": latency.main}

for name in sys.argv[1:] or ALL:
    ALL[name]()
