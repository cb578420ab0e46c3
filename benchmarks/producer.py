"""Another process that makes events: it runs a BPF program again and again, or calls getppid(2).

The parent's side is :class:`Producer`. The child's side is this same file, run as a script: it needs the standard
library only, so that it starts at once, and it dies with its parent.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

READY_WITHIN = 20.0  # seconds
_BUSY = 0.001  # seconds to wait after a run that the program refused


class ProducerFailed(RuntimeError):  # noqa: N818 - an accident, not an answer
    """The process that makes events did not start, or ended in error."""


class Producer:
    """A process that makes events from :meth:`start` on; a context manager that ends it.

    Parameters
    ----------
    session, program
        Whose ``syscall`` program it runs; without a session it calls getppid(2), 1000 times a run.
    order
        The program's context.
    runs, seconds
        When it ends by itself; it does not with neither.
    interval
        Seconds from run to run; 0 is flat out. After a delay it catches up.
    cpu
        Where it runs; None is the last CPU.
    """

    def __init__(self, session=None, program="produce", *, order=b"", runs=None, seconds=None, interval=0.0, cpu=None):
        self.fd = None if session is None else program_fd(session, program)
        self.plan = {
            "fd": self.fd,
            "order": order.hex(),
            "runs": runs,
            "seconds": seconds,
            "interval": interval,
            "cpu": max(os.sched_getaffinity(0)) if cpu is None else cpu,
        }
        self.process = None
        self.report = None

    @property
    def pid(self):
        return self.process.pid

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, json.dumps(self.plan)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=() if self.fd is None else (self.fd,),
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children
        )
        if self.process.stdout.readline() != "ready\n":
            self.__exit__()
            raise ProducerFailed("the producer did not start")
        return self

    def start(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def stop(self):
        """End it after the run under way; what :meth:`wait` returns."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self):
        """Wait until it has ended: runs made, when it began and ended (monotonic), seconds of CPU."""
        output, _ = self.process.communicate()
        if self.process.returncode or not output:
            raise ProducerFailed(f"the producer ended with status {self.process.returncode}")
        self.report = json.loads(output)
        return self.report

    def __exit__(self, *_):
        if self.report is None:
            self.process.kill()
            self.process.communicate()


def program_fd(session, name):
    return next(p.fd for p in session._handle.programs() if p.name == name)


def map_fd(session, name="events"):
    return map_info(session, name).fd


def map_info(session, name="events"):
    return next(m for m in session._handle.maps() if m.name == name)


class _Options(ctypes.Structure):
    # struct bpf_test_run_opts of libbpf's bpf.h
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_void_p),
        ("ctx_out", ctypes.c_void_p),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("repeat", ctypes.c_int),
        ("duration", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
        ("batch_size", ctypes.c_uint32),
    ]


def _runner(plan):
    if plan["fd"] is None:
        return _calls
    test_run = ctypes.CDLL("libbpf.so.1", use_errno=True).bpf_prog_test_run_opts
    order = ctypes.create_string_buffer(bytes.fromhex(plan["order"]), len(plan["order"]) // 2)
    size = ctypes.sizeof(order)
    options = _Options(ctypes.sizeof(_Options), ctx_in=ctypes.addressof(order) if size else None, ctx_size_in=size)

    def run(_keep=order):
        status = test_run(plan["fd"], ctypes.byref(options))
        if status:
            raise OSError(-status, os.strerror(-status))
        return options.retval == 0

    return run


def _calls():
    for _ in range(1000):
        os.getppid()
    return True


def _produce(plan, run, stopped):
    runs, interval = 0, plan["interval"]
    most = float("inf") if plan["runs"] is None else plan["runs"]
    began = now = time.monotonic()
    until = began + (float("inf") if plan["seconds"] is None else plan["seconds"])
    while not stopped and runs < most and now < until:
        if (ahead := began + runs * interval - now) > 0:
            time.sleep(ahead)
        elif run():
            runs += 1
        else:
            time.sleep(_BUSY)
        now = time.monotonic()
    return {"runs": runs, "began": began, "ended": now, "cpu": time.process_time()}


def _child(plan):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it goes when its parent does
    os.sched_setaffinity(0, {plan["cpu"]})
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    run = _runner(plan)
    print("ready", flush=True)
    if sys.stdin.readline():
        print(json.dumps(_produce(plan, run, stopped)), flush=True)


if __name__ == "__main__":
    _child(json.loads(sys.argv[1]))
