"""Stack ids and addresses in records -> symbols.

``bpf_get_stackid()`` keeps a stack as addresses in a map of type ``BPF_MAP_TYPE_STACK_TRACE`` (the kernel's
``kernel/bpf/stackmap.c``) and returns its key, or a negative error number. The addresses of a user stack mean
something only together with the process, and while that lives; so they are taken down soon after a record arrives,
by :meth:`Resolver.remember`.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from . import _bpfmaps, tables
from .symbols import KernelSymbols, UserSymbols

if TYPE_CHECKING:
    from .engines.base import MapInfo
    from .rules import Space
    from .shown import Array
    from .symbols.table import Symbol
    from .symbols.user import Process

STACK_TRACE = 7  # BPF_MAP_TYPE_STACK_TRACE, include/uapi/linux/bpf.h
_BUILD_ID = 1 << 5  # BPF_F_STACK_BUILD_ID: entries are build ids and places in files
_KERNEL = 1 << 63  # addresses from here on are the kernel's
_STALE, _SOON = 1.0, 0.05  # seconds: when a process is looked at again, at the latest and at the earliest
_MOST_PROCESSES, _MOST_PAIRS = 1024, 8192  # whose memory is kept; stacks beyond that are kept as text

Trace = tuple[int, ...]  # addresses, the innermost first


class StackTraces:
    """The stacks of one map, each read once and kept; they stay readable after :meth:`close`.

    Parameters
    ----------
    fd
        The map's file descriptor; it is duplicated.
    value_size
        Bytes of a value: 8 for each address.

    Examples
    --------
    >>> traces.trace(1021)
    (18446744071581000000, 18446744071580000000)
    """

    def __init__(self, fd: int, value_size: int) -> None:
        self._fd: int | None = os.dup(fd)
        self._size = value_size
        self._kept: dict[int, Trace] = {}
        self._lock = threading.Lock()  # the drain remembers while a frame is made

    def trace(self, number: int) -> Trace | None:
        """Return the addresses of a stack, the innermost first, or None if the map does not have it."""
        found = self._kept.get(number)
        if found is None:
            with self._lock:
                found = self._read(number)
        return found

    def kept(self) -> list[Trace]:
        """Return the stacks that were read so far."""
        with self._lock:
            return list(self._kept.values())

    def remember(self, ids: Iterable[int]) -> None:
        """Read these stacks, as far as the map has them."""
        for number in ids:
            self.trace(number)

    def close(self) -> None:
        """Read what has not been asked for yet, and give the map back."""
        with self._lock:
            if self._fd is None:
                return
            number, key = -1, _bpfmaps.next_key(self._fd, None, 4)
            # Ids ascend; after one that is deleted meanwhile the kernel starts again.
            while key is not None and int.from_bytes(key, sys.byteorder) > number:
                number = int.from_bytes(key, sys.byteorder)
                if number not in self._kept:
                    self._read(number)
                key = _bpfmaps.next_key(self._fd, key, 4)
            os.close(self._fd)
            self._fd = None

    def _read(self, number: int) -> Trace | None:
        if self._fd is None or number < 0:
            return None
        try:
            value = _bpfmaps.lookup(self._fd, np.uint32(number).tobytes(), self._size)
        except FileNotFoundError:
            return None
        addresses = np.frombuffer(value, np.uint64)
        trace = tuple(addresses[addresses != 0].tolist())
        if trace:
            self._kept[number] = trace
        return trace or None


class Resolver:
    """Says what the stack ids and addresses of records stand for on this machine: a :class:`~ebpflab.rules.Lookup`.

    Frames of a stack that have no name are ``[libfoo.so]`` (a file without symbols), ``[anon]``, ``[unknown]`` (no
    memory of the process), or the address (in the kernel). A whole stack is ``[exited]`` if its process was gone
    before anybody looked, ``[missing]`` if no map has it, and an error's name in brackets for a negative id.

    Parameters
    ----------
    maps
        The stack-trace maps of the program. A kernel stack is looked for among kernel stacks only, and a user stack
        among the others; the first map that has the id counts.

    Examples
    --------
    >>> lookup(handle.maps()).stacks("kernel", np.array([1021, -14]), None)
    ['do_syscall_64;__x64_sys_getppid', '[EFAULT]']
    """

    def __init__(self, maps: Sequence[StackTraces]) -> None:
        self.machine = platform.machine()
        self._maps = tuple(maps)
        self._kernel, self._user = KernelSymbols(), UserSymbols()
        self._processes: dict[int, tuple[float, Process]] = {}
        self._pairs: dict[tuple[int, int], tuple[Trace, Process | None]] = {}
        self._texts: dict[tuple[Space, int, int], str] = {}  # by space, process (-1 where there is none) and id
        self._lock = threading.Lock()  # of the pairs, for a moment only: the drain must not wait for files to be read

    def remember(self, space: Space, ids: Array, pids: Array | None) -> None:
        """Take down the addresses of these stacks, and for user stacks the memory of their processes."""
        for pid, number in _with_pids(ids, pids):
            if space == "kernel":
                self._trace(space, number)
            elif (space, pid, number) not in self._texts:
                self._pair(pid, number)

    def stacks(self, space: Space, ids: Array, pids: Array | None) -> list[str]:
        """Return the stacks of these ids as text: function names from the root, separated by semicolons."""
        keys = [(space, *pair) for pair in _with_pids(ids, pids)]
        for key in dict.fromkeys(keys):
            if key not in self._texts and key[2] >= 0 and (text := self._fold(*key)):
                self._texts[key] = sys.intern(text)
        return [self._texts.get(key) or _error(key[2]) for key in keys]

    def addresses(self, space: Space, values: Array, pids: Array | None) -> list[str]:
        """Return the symbol of each address as ``name+0x1f``, or the address."""
        if space == "kernel":
            found = self._kernel.find(values.tolist())
        elif pids is None:
            found = [None] * len(values)
        else:
            found = [self._user_symbol(pid, values[i : i + 1]) for i, pid in enumerate(pids.tolist())]
        return [_symbol_text(symbol) or hex(value) for symbol, value in zip(found, values.tolist(), strict=True)]

    def notes(self) -> list[str]:
        """Return what a reader of the columns should know, such as that the kernel hides its symbols."""
        hidden = self._kernel.hidden() if self._kernel.asked else None
        return [hidden] if hidden else []

    def close(self) -> None:
        """Read what the maps still hold, and give them back; harmless when repeated.

        To be called before the programs are unloaded: they are in their own stacks, and lose their names with it.
        """
        for traces in self._maps:
            traces.close()
        kept = (trace for traces in self._maps for trace in traces.kept() if trace[0] >= _KERNEL)
        if calls := {address for trace in kept for address in _calls(trace)}:
            self._kernel.find(calls)

    def _fold(self, space: Space, pid: int, number: int) -> str | None:
        if space == "user":
            trace, process = self._pair(pid, number)
            return None if trace is None else self._fold_user(pid, trace, process)
        trace = self._trace(space, number)
        if trace is None:
            return None
        calls = _calls(trace)
        return _folded([s.name if s else hex(a) for s, a in zip(self._kernel.find(calls), calls, strict=True)])

    def _fold_user(self, pid: int, trace: Trace, process: Process | None) -> str:
        if process is None:
            return "[exited]" if pid >= 0 else _folded(map(hex, trace))
        return _folded(map(_frame, self._user.find(process, np.array(_calls(trace), np.uint64))))

    def _trace(self, space: Space, number: int) -> Trace | None:
        # Two maps may give the same id to different stacks; which half of memory they are of tells them apart.
        found = (traces.trace(number) for traces in self._maps) if number >= 0 else iter(())
        return next((trace for trace in found if trace and (trace[0] >= _KERNEL) == (space == "kernel")), None)

    def _pair(self, pid: int, number: int) -> tuple[Trace | None, Process | None]:
        known = self._pairs.get((pid, number))
        if known is not None:  # also of a process that was gone: its number may be another's by now
            return known
        trace = self._trace("user", number)
        if trace is None:
            return None, None
        process = self._process(pid, np.array(_calls(trace), np.uint64)) if pid >= 0 else None
        with self._lock:
            self._pairs[pid, number] = trace, process
            oldest = next(iter(self._pairs)) if len(self._pairs) > _MOST_PAIRS else None
        if oldest is not None:
            self._settle(oldest)
        return trace, process

    def _settle(self, pair: tuple[int, int]) -> None:
        # Keep the text of a stack instead of its process's memory.
        pid, number = pair
        known = self._pairs.get(pair)
        if known is not None:  # else another thread was quicker
            self._texts["user", pid, number] = sys.intern(self._fold_user(pid, *known))
        with self._lock:
            self._pairs.pop(pair, None)

    def _process(self, pid: int, addresses: Array) -> Process | None:
        # The memory of a process when last seen. It changes as libraries are loaded, and by execve(2) altogether.
        now = time.monotonic()
        seen, process = self._processes.get(pid, (0.0, None))
        age = now - seen
        if process is None or age > _STALE or (age > _SOON and -1 in process.places(addresses)):
            fresh = self._user.process(pid)
            process = process if fresh is None or fresh == process else fresh
            if process is not None:
                self._processes[pid] = now, process
            for gone in list(self._processes)[:-_MOST_PROCESSES]:
                self._processes.pop(gone, None)
        return process

    def _user_symbol(self, pid: int, address: Array) -> Symbol | None:
        process = self._process(pid, address)
        return self._user.find(process, address)[0] if process else None


def lookup(maps: Iterable[MapInfo]) -> Resolver:
    """Return a resolver for the stack-trace maps among a loaded object's maps; close it before they go.

    Maps of build ids (``BPF_F_STACK_BUILD_ID``) hold no addresses, and are left out.

    Examples
    --------
    >>> with contextlib.closing(lookup(handle.maps())) as found:
    ...     decode.to_frame(record_type, chunks, found)
    """
    ours = [m for m in maps if m.type == STACK_TRACE and m.fd is not None and not m.flags & _BUILD_ID]
    return Resolver([StackTraces(m.fd, m.value_size) for m in ours if m.fd is not None])


def _with_pids(values: Array, pids: Array | None) -> list[tuple[int, int]]:
    return list(zip([-1] * len(values) if pids is None else pids.tolist(), values.tolist(), strict=True))


def _calls(trace: Trace) -> Trace:
    # All but the innermost are return addresses: the byte before belongs to the call, and to the calling function
    # even where the call was its last instruction.
    return (*trace[:1], *(address - 1 for address in trace[1:]))


def _folded(names: Iterable[str]) -> str:
    # Flame graphs want the root first.
    return ";".join(reversed([name.replace(";", ":") for name in names]))


def _frame(symbol: Symbol | None) -> str:
    return "[unknown]" if symbol is None else symbol.name or f"[{symbol.origin}]"


def _symbol_text(symbol: Symbol | None) -> str:
    if symbol is None:
        return ""
    return str(symbol) if symbol.name else f"{symbol.origin}+{symbol.offset:#x}"


def _error(number: int) -> str:
    return f"[{tables.errors().get(-number, str(number))}]" if number < 0 else "[missing]"
