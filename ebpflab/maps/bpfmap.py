"""A map as a mapping: what every type of map has, and all that hash tables and arrays need."""

from __future__ import annotations

import contextlib
import errno
import functools
from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any, TypeVar

from .. import _bpfmaps
from . import _entries, histogram, table
from ._descriptor import Descriptor
from ._entries import Entries
from ._refusals import cannot, refused
from .facts import Facts
from .pictures import MapPlots

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from .mapping import Maps
    from .watch import Watch

T = TypeVar("T")
_MISSING = object()


class BpfMap(MutableMapping[Any, Any]):
    """A BPF map: ``m[k]``, ``m[k] = v``, ``del m[k]``, ``k in m``, ``len(m)``, ``m.items()``, ``m.df()``.

    Keys and values have the types that the cell gives them (``__type(key, ...)``, ``__type(value, ...)``):
    numbers, text, :class:`~ebpflab.maps.record.Record` for structs, tuples for arrays. Maps without types have
    bytes. Iterating goes over a copy of the entries, so entries may be changed meanwhile, here or by programs.

    A program may write a value while it is read. The kernel copies 8 bytes at a time: a number is never torn, but
    the fields of a struct may be of different updates, unless the value has a ``struct bpf_spin_lock``: it is
    then read and written under its lock (BPF_F_LOCK).

    In an LPM trie ``m["10.1.2.3"]`` is the entry of the longest prefix that this address has.

    Attributes
    ----------
    name : str
        As in the cell.

    Raises
    ------
    KeyError
        No entry has this key.
    MapError
        A key or value does not fit its type, the map is full, or this type of map cannot do that.
    SessionError
        The session is closed.

    Examples
    --------
    >>> s.maps["counts"]["bash"]
    17
    >>> s.maps["counts"].df().nlargest(5, "value")
    """

    def __init__(self, facts: Facts, descriptor: Descriptor, maps: Maps) -> None:
        self._facts, self._fd, self._maps = facts, descriptor, maps
        self.name = facts.name

    @property
    def type(self) -> str:
        """The kernel's name of its type: ``hash``, ``percpu_array``."""
        return self._facts.type.name

    @property
    def key_type(self) -> str:
        """The C type of its keys; empty if it has none."""
        return self._facts.key.c_type if self._facts.key else ""

    @property
    def value_type(self) -> str:
        """The C type of its values; empty if it has none."""
        return self._facts.value.c_type if self._facts.value else ""

    @property
    def max_entries(self) -> int:
        """How many entries it takes."""
        return self._facts.max_entries

    @property
    def fd(self) -> int:
        """Its file descriptor, which belongs to the session: use it, and do not close it."""
        with self._fd as fd:
            return fd

    def __getitem__(self, key: Any) -> Any:
        self._may("read")
        return self._decode_value(self._lookup(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._may("write")
        with contextlib.ExitStack() as held:
            raw, data = self._encode_key(key, held), self._encode_value(value, held)
            self._call("write", key, lambda fd: _bpfmaps.update(fd, raw, data, self._facts.lookup_flags))

    def __delitem__(self, key: Any) -> None:
        self._may("delete")
        with contextlib.ExitStack() as held:
            raw = self._encode_key(key, held)
            self._call("delete", key, lambda fd: _bpfmaps.delete(fd, raw))

    def __contains__(self, key: object) -> bool:
        self._may("read")
        try:
            self._lookup(key)
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[Any]:
        return iter([self._decode_key(raw) for raw in self._raw_keys()])

    def __len__(self) -> int:
        return self._facts.max_entries if self._facts.type.full else len(self._raw_keys())

    def items(self) -> ItemsView[Any, Any]:
        """Return the entries as they are now, as pairs of key and value."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Return the values as they are now."""
        return _Values(self)

    def pop(self, key: Any, default: Any = _MISSING) -> Any:
        """Delete an entry and return its value, in one step where the kernel can (hash tables, Linux 5.14).

        Raises
        ------
        KeyError
            No entry has this key, and there is no default.
        """
        self._may("delete")
        try:
            return self._take(key)
        except KeyError:
            if default is _MISSING:
                raise
            return default

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Write the entries of a mapping, of pairs, or of a frame with the columns that :meth:`df` has.

        Parameters
        ----------
        other
            The entries; a row of a frame is an entry.
        more
            Entries whose keys are text.

        Examples
        --------
        >>> s.maps["allowed"].update({pid: True for pid in (1, 17)})
        """
        if hasattr(other, "itertuples"):
            other = table.rows(self._facts, other)
        super().update(other, **more)

    def clear(self) -> None:
        """Delete every entry; in an array, whose entries stay, set them all to zero."""
        if not self._facts.type.full:
            self._may("delete")
        zero = bytes(self._facts.stride)
        for raw in self._raw_keys():
            if self._facts.type.full:
                self._call("write", raw, functools.partial(_write, raw, zero, self._facts.lookup_flags))
                continue
            with contextlib.suppress(KeyError):  # a program deleted it meanwhile
                self._call("delete", raw, functools.partial(_delete, raw))

    def df(self) -> pd.DataFrame:
        """Return all entries as a DataFrame: the columns of the key, then those of the value.

        A key that is no struct is the column ``key``, such a value the column ``value``; fields of structs are
        columns of their own, and a name that both have becomes ``key.x`` and ``value.x``. Types are those of the
        frames of streams. ``df.attrs["complete"]`` is False if programs deleted so many entries meanwhile that
        some may be missing. Entries are read in batches where the kernel can (Linux 5.6).

        Raises
        ------
        MapError
            The kernel does not list the entries of this type of map.
        SessionError
            The session is closed.
        """
        return self._shown(self._entries())

    def hist(self) -> pd.DataFrame:
        """Return a map of log2 slots as a histogram: low, high, count, after the columns of the key if it has some.

        Slot i counts values from 2^i to 2^(i+1) - 1, slot 0 both 0 and 1: ``low`` and ``high`` are inclusive. This
        is the convention of libbpf-tools (``log2l()`` and ``print_log2_hist()`` there). Recognised are a member of
        the value, or a value, that is an array of at most 64 integers called ``slots`` or ``hist`` or so, and an
        array map of such a name whose values are integers. Tables of BCC's dialect are histograms by what is counted
        in them, ``bpf_log2l(x)``, ``bpf_log2(x)`` or, in a ``BPF_HISTOGRAM``, plain numbers: ``low`` is ``high``.

        Raises
        ------
        MapError
            The map is no such histogram; says why.

        Examples
        --------
        >>> s.maps["hists"].hist().groupby("comm", observed=True)["count"].sum()
        """
        return histogram.frame(self._facts, self._entries())

    @property
    def plot(self) -> MapPlots:
        """The pictures of the map: ``plot()`` is its histogram, ``plot.top("comm")`` and others those of its frame.

        Examples
        --------
        >>> s.maps["latency"].plot(units="us")
        >>> s.maps["samples"].plot.flame(["user", "kernel"], weight="count")
        """
        return MapPlots(self.df, self._histogram)

    def _histogram(self, units: str, key: Any, ax: Axes | None) -> Axes:
        with contextlib.ExitStack() as held:
            only = None if key is None else self._encode_key(histogram.whole_key(self._facts, key), held)
        return histogram.plot(self._facts, self._entries(), units=units, key=only, ax=ax)

    def watch(self, interval: float = 1.0, for_: float | None = None, *, keep: int = 600) -> Watch:
        """Read the map again and again from now on, in the background.

        Parameters
        ----------
        interval
            Seconds from one reading to the next.
        for_
            Seconds after which it ends; the default is with the session, or at ``stop()``.
        keep
            How many readings to keep; the oldest are dropped.

        Examples
        --------
        >>> with s.maps["counts"].watch(0.5) as w:
        ...     time.sleep(10)
        >>> w.rate().plot(x="time", y="value")
        """
        from .watch import Watch

        self._may("list")
        with self._fd:  # a closed session says so here, and not in a thread
            pass
        return self._maps._watching(Watch(self.name, self._entries, self._shown, interval, for_, keep))

    def __eq__(self, other: object) -> bool:
        return self is other  # what it holds changes: two maps are never the same

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        from ..formatting import text
        from .summary import map_document

        return text(map_document(self))

    def _repr_html_(self) -> str:
        from ..formatting import html
        from .summary import map_document

        return html(map_document(self))

    def _close(self) -> None:
        self._fd.close()

    def _may(self, operation: str) -> None:
        if operation in self._facts.type.cannot:
            raise cannot(self._facts, operation)

    def _encode_key(self, key: Any, held: contextlib.ExitStack) -> bytes:  # noqa: ARG002 - see maps.references
        assert self._facts.key is not None
        return self._facts.key.encode(key, f"{self.name} key")

    def _decode_key(self, raw: bytes) -> Any:
        assert self._facts.key is not None
        return self._facts.key.decode(raw)

    def _encode_value(self, value: Any, held: contextlib.ExitStack) -> bytes:  # noqa: ARG002
        assert self._facts.value is not None
        return self._facts.value.encode(value, f"{self.name} value")

    def _decode_value(self, raw: bytes) -> Any:
        assert self._facts.value is not None
        return self._facts.value.decode(raw)

    def _lookup(self, key: Any) -> bytes:
        facts = self._facts
        with contextlib.ExitStack() as held:
            raw = self._encode_key(key, held)
            return self._call("read", key, lambda fd: _bpfmaps.lookup(fd, raw, facts.stride, facts.lookup_flags))

    def _take(self, key: Any) -> Any:
        with contextlib.ExitStack() as held:
            raw = self._encode_key(key, held)
            try:
                with self._fd as fd:
                    return self._decode_value(_bpfmaps.take(fd, raw, self._facts.stride))
            except OSError as error:
                if error.errno == errno.ENOENT:
                    raise self._missing(key) from None
        value = self[key]  # in two steps where one is not known
        del self[key]
        return value

    def _call(self, operation: str, key: Any, do: Callable[[int], T]) -> T:
        with self._fd as fd:
            try:
                return do(fd)
            except OSError as error:
                if error.errno == errno.ENOENT and operation != "write":
                    raise self._missing(key) from None
                raise refused(self._facts, operation, error.errno or 0, fd) from None

    def _missing(self, key: Any) -> KeyError:
        if self._facts.type.full:
            return KeyError(f"{self.name} has entries 0 to {self.max_entries - 1:,}, and no {key!r}")
        what = f"{self.name} has no entry {key!r}"
        if self._facts.key is not None and self._facts.key.padding:
            # The kernel compares all bytes of a key, and a C initialiser need not clear the padding.
            what += (
                f"; {self.key_type} has {self._facts.key.padding} bytes of padding, and a program that does not clear "
                "them first (__builtin_memset) makes other keys: items() and df() show them"
            )
        return KeyError(what)

    def _entries(self) -> Entries:
        self._may("list")
        return self._listed(lambda: _entries.read(self._facts, self._fd))

    def _raw_keys(self) -> list[bytes]:
        self._may("list")
        # With values it takes fewer calls than without; an array's empty places have a key all the same.
        if self._facts.type.batched or self._facts.type.index:
            return [row.tobytes() for row in self._entries().keys]
        return self._listed(lambda: _entries.keys_of(self._facts, self._fd))

    def _listed(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except OSError as error:
            with self._fd as fd:
                raise refused(self._facts, "list", error.errno or 0, fd) from None

    def _pairs(self) -> Iterator[tuple[Any, Any]]:
        keys, values, *_ = self._entries()
        for key, value in zip(keys, values, strict=True):
            yield self._decode_key(key.tobytes()), self._decode_value(value.tobytes())

    def _first(self, most: int) -> list[tuple[Any, Any]]:
        self._may("list")
        keys, values, *_ = self._listed(lambda: _entries.some(self._facts, self._fd, most))
        return [
            (self._decode_key(k.tobytes()), self._decode_value(v.tobytes())) for k, v in zip(keys, values, strict=True)
        ]

    def _frame(self, entries: Entries) -> pd.DataFrame:
        return table.frame(self._facts, entries, lookup=self._maps.lookup)

    def _shown(self, entries: Entries) -> pd.DataFrame:
        return self._labelled(self._frame(entries), entries)

    def _labelled(self, frame: pd.DataFrame, entries: Entries) -> pd.DataFrame:
        assert self._facts.key is not None
        key = [str(name) for name in frame.columns[: table.key_width(self._facts.key)]]
        frame.attrs = {"map": self.name, "key": key, "complete": entries.complete}
        return frame


class _Items(ItemsView[Any, Any]):
    _mapping: BpfMap

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping._pairs()


class _Values(ValuesView[Any]):
    _mapping: BpfMap

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping._pairs())


def _write(key: bytes, value: bytes, flags: int, fd: int) -> None:
    _bpfmaps.update(fd, key, value, flags)


def _delete(key: bytes, fd: int) -> None:
    _bpfmaps.delete(fd, key)
