"""BCC's class BPF without the kernel: it keeps the program, and where each function is attached.

Runs in the distribution's Python, which has BCC's package; that still answers what the kernel has: its functions
(by a regular expression, too), tracepoints and types, and where a library's functions are.
"""

import re
from pathlib import Path
from unittest import mock

import bcc

_EVENTS = {0: bcc.PerfHWConfig, 1: bcc.PerfSWConfig}


class Finished(BaseException):  # tools catch exceptions
    """The tool has made its program and attached it, and would now wait for events."""


class Recorder:
    """What a tool gave to BCC: ``text`` and ``cflags``, and pairs of a function and its target in ``attach``."""

    def __init__(self):
        self.text, self.cflags, self.attach = None, [], []

    def install(self):
        """Put stand-ins in the places of what asks the kernel for something."""
        bpf = bcc.BPF
        bpf.__init__ = lambda this, *arguments, **options: self._construct(this, *arguments, **options)
        bpf.__getitem__ = bpf.get_table = lambda this, *_arguments, **_options: mock.MagicMock()
        bpf.load_func = lambda this, name, kind, *_more: mock.Mock(name_=_text(name), fd=0)
        bpf.attach_kprobe = lambda this, *given, **options: self._kernel("kprobe", this, *given, **options)
        bpf.attach_kretprobe = lambda this, *given, **options: self._kernel("kretprobe", this, *given, **options)
        bpf.attach_uprobe = lambda this, *given, **options: self._user("uprobe", *given, **options)
        bpf.attach_uretprobe = lambda this, *given, **options: self._user("uretprobe", *given, **options)
        bpf.attach_tracepoint = lambda this, *given, **options: self._tracepoint(*given, **options)
        bpf.attach_raw_tracepoint = lambda this, tp=b"", fn_name=b"": self._add(fn_name, f"raw_tp:{_text(tp)}")
        bpf.attach_perf_event = lambda this, *given, **options: self._perf_event(*given, **options)
        bpf.attach_xdp = staticmethod(lambda dev, fn, *_flags: self._add(fn.name_, f"xdp:{_text(dev)}"))
        bpf.attach_raw_socket = staticmethod(lambda fn, dev: self._add(fn.name_, f"socket:{_text(dev)}"))
        bpf.cleanup = lambda this: None
        for name in ("perf_buffer_poll", "ring_buffer_poll", "kprobe_poll", "trace_open"):
            setattr(bpf, name, _finish)

    def _construct(self, this, src_file=b"", hdr_file=b"", text=None, debug=0, cflags=(), usdt_contexts=(), **_more):
        if text is None and src_file:
            text = Path(_text(src_file)).read_text()
        text = _text(text or "")
        this.module, this.tables, this.funcs = None, {}, {}
        this.kprobe_fds, this.uprobe_fds, this.tracepoint_fds = {}, {}, {}
        if not text.strip():  # only to ask for the names of system calls
            return
        # A program before this one was made to see what compiles.
        self.attach = []
        self.text = "".join(context.get_text() for context in usdt_contexts) + text
        self.cflags = [_text(flag) for flag in cflags or ()]
        for context in usdt_contexts:
            for probe, function in context.names:
                self._add(function, f"usdt:{context.place}:{probe}")

    def _add(self, function, target):
        if (_text(function), target) not in self.attach:
            self.attach.append((_text(function), target))

    def _kernel(self, kind, this, event=b"", event_off=0, fn_name=b"", event_re=b"", **_more):
        found = bcc.BPF.get_kprobe_functions(_bytes(event_re)) if event_re else {_bytes(event)}
        names = sorted(name for name in map(_text, found) if event_re or name in _functions())
        if not names:  # what BCC raises, too; tools then try another name
            raise Exception(f"Failed to attach BPF program {fn_name} to {kind} {event or event_re}")
        for name in names:
            self._add(fn_name, f"{kind}:{name}{f'+{event_off}' if event_off else ''}")
            this.kprobe_fds[f"{kind}:{name}"] = {}

    def _user(self, kind, name=b"", sym=b"", sym_re=b"", addr=None, fn_name=b"", pid=-1, sym_off=0):
        name, sym, sym_re = _bytes(name), _bytes(sym), _bytes(sym_re)
        addresses = bcc.BPF.get_user_addresses(name, sym_re) if sym_re else [addr]
        for each in addresses:
            path, offset = bcc.BPF._check_path_symbol(name, sym, each, pid, sym_off)
            self._add(fn_name, f"{kind}:{_text(path)}:{offset:#x}{f',pid={pid}' if pid > 0 else ''}")

    def _tracepoint(self, tp=b"", tp_re=b"", fn_name=b""):
        names = sorted(bcc.BPF.get_tracepoints(_bytes(tp_re))) if tp_re else [_text(tp)]
        for name in names:
            if not bcc.BPF.tracepoint_exists(*name.split(":")):
                raise Exception(f"Failed to attach BPF program {fn_name} to tracepoint {name}")
            self._add(fn_name, f"tp:{name}")

    def _perf_event(self, ev_type=-1, ev_config=-1, fn_name=b"", sample_period=0, sample_freq=0, pid=-1, cpu=-1, *_):
        names = {number: name for name, number in vars(_EVENTS[ev_type]).items() if isinstance(number, int)}
        name = names[ev_config].lower().replace("_", "-")
        how = f"freq={sample_freq}" if sample_freq else f"period={sample_period}"
        where = "".join(f",{option}={value}" for option, value in (("pid", pid), ("cpu", cpu)) if value >= 0)
        self._add(fn_name, f"perf_event:{name},{how}{where}")


class Probes:
    """USDT probes that are taken to exist, as a tool knows them by a process or a file."""

    def __init__(self, pid=None, path=None, **_more):
        self.place, self.names = path or f"pid={pid}", []

    def enable_probe(self, probe, fn_name):
        self.names.append((probe, fn_name))

    enable_probe_or_bail = enable_probe

    def get_text(self):
        return ""

    def enumerate_probes(self):
        return []

    enumerate_active_probes = enumerate_probes

    def get_probe_arg_ctype(self, *_arguments):
        return "u64"

    def get_context(self):
        return 0


def _finish(*_arguments, **_options):
    raise Finished


finish = _finish


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _bytes(value):
    return value.encode() if isinstance(value, str) else value


_KNOWN = set()


def _functions():
    if not _KNOWN:
        _KNOWN.update(re.findall(r"(?m)^\w+ [tTwW] (\S+)", Path("/proc/kallsyms").read_text()))
    return _KNOWN
