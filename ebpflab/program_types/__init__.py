"""One table of BPF program types, and what section names and attach targets mean.

``table`` has a row for every kind; attaching, the context inspector, templates, completion and documentation
all read it. ``sections`` takes ``SEC("...")`` names apart, ``targets`` what may be attached to. Nothing here
asks the kernel: :func:`ebpflab.inspectors.search.explain_missing` tells whether a target exists.
"""

from .model import Option, ProgramType, Section, Verdict
from .routes import Route, route_target
from .sections import parse_section
from .table import ATTACH_TYPES, BY_KIND, PROGRAM_TYPES
from .targets import (
    NetfilterHook,
    PerfEvent,
    Target,
    UprobeTarget,
    is_pattern,
    kprobe_target,
    netfilter_names,
    netfilter_target,
    parse_target,
    pattern,
    perf_event_names,
    perf_event_target,
    tracepoint_target,
    uprobe_target,
    usdt_target,
)

__all__ = [
    "ATTACH_TYPES",
    "BY_KIND",
    "PROGRAM_TYPES",
    "NetfilterHook",
    "Option",
    "PerfEvent",
    "ProgramType",
    "Route",
    "Section",
    "Target",
    "UprobeTarget",
    "Verdict",
    "is_pattern",
    "kprobe_target",
    "netfilter_names",
    "netfilter_target",
    "parse_section",
    "parse_target",
    "pattern",
    "perf_event_names",
    "perf_event_target",
    "route_target",
    "tracepoint_target",
    "uprobe_target",
    "usdt_target",
]
