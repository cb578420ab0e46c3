"""Perf event arrays as counters: what a program reads with ``bpf_perf_event_read()``, or BCC's ``perf_read()``."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _perf_events
from ..errors import KernelSupportError, MapError, PrivilegeError
from ..program_types import perf_event_names, perf_event_target
from . import _entries
from ._descriptor import Descriptor
from ._entries import Entries
from .bpfmap import BpfMap
from .codec import integer
from .facts import Facts
from .types import COUNTERS

if TYPE_CHECKING:
    from .mapping import Maps

_SOFTWARE = 1  # PERF_TYPE_SOFTWARE


class PerfCounters(BpfMap):
    """A perf event array whose counters programs read: empty until :meth:`open` puts an event of each CPU into it.

    ``m[cpu]`` is what the CPU's event has counted, ``m.df()`` all of them.

    Examples
    --------
    >>> s.maps["faults"].open("page-faults")
    >>> s.maps["faults"][0]
    1021
    """

    def __init__(self, facts: Facts, descriptor: Descriptor, maps: Maps) -> None:
        super().__init__(replace(facts, type=COUNTERS, key=integer(4), value=integer(8), stride=8), descriptor, maps)
        self._events: dict[int, Descriptor] = {}

    def open(self, event: str, *, pid: int | None = None) -> None:
        """Count an event on every CPU that is online, from now on; an event that was counted before is replaced.

        Parameters
        ----------
        event
            A name of perf(1): ``cpu-clock`` (nanoseconds), ``page-faults``, ``cpu-cycles``, or ``raw:0x...``.
        pid
            A process whose thread of this number is counted alone; a program then reads the counter in it.

        Raises
        ------
        AttachError
            There is no event of that name.
        KernelSupportError
            This machine's processor has no such counter.
        MapError, PrivilegeError
            The kernel refuses.

        Examples
        --------
        >>> s.maps["cycles"].open("cpu-clock")
        """
        wanted = perf_event_target(event)
        opened: dict[int, Descriptor] = {}
        try:
            for cpu in (cpu for cpu in _perf_events.online() if cpu < self.max_entries):
                fd = _perf_events.open_counter(wanted.type, wanted.config, -1 if pid is None else pid, cpu)
                opened[cpu] = Descriptor(fd, self.name)
                with self._fd as own:
                    _perf_events.put(own, cpu, fd)
        except OSError as error:
            _close(opened)
            raise self._refused(error, event, wanted.type) from None
        except BaseException:
            _close(opened)
            raise
        _close(self._events)
        self._events = opened

    def _lookup(self, key: Any) -> bytes:
        cpu = int.from_bytes(self._encode_key_alone(key), "little" if np.little_endian else "big")
        with self._fd:  # a closed session says so
            event = self._events.get(cpu)
        if event is None:
            raise KeyError(f"{self.name} counts nothing on CPU {cpu}: {self.name}.open(EVENT) puts an event there")
        with event as fd:
            return os.read(fd, 8)

    def _encode_key_alone(self, key: Any) -> bytes:
        assert self._facts.key is not None
        return self._facts.key.encode(key, f"{self.name} key")

    def _raw_keys(self) -> list[bytes]:
        with self._fd:
            return [self._encode_key_alone(cpu) for cpu in sorted(self._events)]

    def _entries(self) -> Entries:
        keys = self._raw_keys()
        values = [self._lookup(key) for key in keys]
        shown = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 4), np.frombuffer(b"".join(values), np.uint8)
        return Entries(shown[0], shown[1].reshape(-1, 8), _entries.clock_offset())

    def _first(self, most: int) -> list[tuple[Any, Any]]:
        return list(self._pairs())[:most]

    def _close(self) -> None:
        _close(self._events)
        super()._close()

    def _refused(self, error: OSError, event: str, kind: int) -> Exception:
        number = error.errno or 0
        if number in (errno.EACCES, errno.EPERM):
            what = f"{self.name}: the kernel does not let this process count {event}"
            return PrivilegeError(what, cause="CAP_PERFMON", hint="run as root, or with CAP_PERFMON", stage="map")
        if number in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV) and kind != _SOFTWARE:
            what = f"{event} cannot be counted: this machine's processor offers no counters (PMU), or not this one"
            software = ", ".join(perf_event_names(_SOFTWARE)[:7])
            hint = f"most virtual machines have none; what the kernel counts itself works everywhere: {software}"
            return KernelSupportError(what, hint=hint, stage="map")
        if number == errno.ESRCH:
            return MapError(f"{self.name}: there is no such process", errno=number, hint="pid= takes a running process")
        return MapError(f"{self.name}: {event} cannot be counted: {os.strerror(number)}", errno=number)


def _close(events: dict[int, Descriptor]) -> None:
    for event in events.values():
        event.close()
