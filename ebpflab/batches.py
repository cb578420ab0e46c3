"""Following a stream: what arrives, a drain at a time, for plain and for asynchronous loops."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .frame import frame, parts
from .records import RecordTypes
from .store import Cursor

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from .rules import Lookup

_LOOK = 0.5  # seconds: a wait without an end could not be interrupted on every platform
_TURN = 0.1  # seconds: Jupyter's stop button is heeded at the next turn of the event loop, and does not cause one


class Batch(dict[str, "NDArray[np.generic]"]):
    """The columns of some records of one type as numpy arrays; ``pandas.DataFrame(batch)`` takes it.

    Attributes
    ----------
    record : str
        The name of their struct.

    Examples
    --------
    >>> for batch in s.events.batches(timeout=1):
    ...     print(batch.record, len(batch["pid"]))
    """

    def __init__(self, record: str, columns: dict[str, Any]) -> None:
        super().__init__(columns)
        self.record = record


class Batches:
    """Iterates over what arrives in a stream, with ``for`` or ``async for``; made by ``s.events.batches()``.

    A loop that is slower than the stream loses nothing until the stream's own history is full; what left it
    unread is counted in :attr:`missed`. It never holds up the kernel.

    Examples
    --------
    >>> async for batch in s.events.batches(timeout=2):
    ...     total += len(batch["pid"])
    """

    def __init__(self, cursor: Cursor, types: RecordTypes, timeout: float | None) -> None:
        self._cursor, self._types, self._timeout = cursor, types, timeout
        self._ready: Iterator[Batch] = iter(())

    @property
    def missed(self) -> int:
        """Events that left the history before this loop came to them."""
        return self._cursor.missed

    def close(self) -> None:
        """Stop following; the loop ends."""
        self._cursor.close()

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        while (batch := next(self._ready, None)) is None:
            if not self._wait():
                self.close()
                raise StopIteration
            self._ready = self._take()
        return batch

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> Batch:
        # Others have their turn, too, when there is always something to read.
        await asyncio.sleep(0)
        while (batch := next(self._ready, None)) is None:
            if not await self._wait_async():
                self.close()
                raise StopAsyncIteration
            self._ready = self._take()
        return batch

    def __enter__(self) -> Batches:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self) -> Iterator[Batch]:
        with self._cursor.read() as snapshot:
            found = list(parts(snapshot, self._types))
        for part in found:
            for chunk in part.chunks:
                yield Batch(part.record, part.candidate.type.decode(chunk.data, chunk.clock_offset_ns))

    def _wait(self) -> bool:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            left = _LOOK if deadline is None else min(_LOOK, deadline - time.monotonic())
            if self._cursor.wait(max(0.0, left)):
                return True
            if self._cursor.ended or left <= 0:
                return False

    async def _wait_async(self) -> bool:
        # The writer's thread wakes the event loop: no thread waits, and nobody looks again and again.
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        told = False

        def tell() -> None:
            nonlocal told
            if told:  # a loop that is busy for an hour would find a call for every drain
                return
            told = True
            with contextlib.suppress(RuntimeError):  # the loop was closed while we waited in it
                loop.call_soon_threadsafe(arrived.set)

        forget = self._cursor.listen(tell)
        try:
            if self._cursor.wait(0):
                return True
            if self._cursor.ended:
                return False
            deadline = None if self._timeout is None else loop.time() + self._timeout
            while not arrived.is_set():
                left = _TURN if deadline is None else min(_TURN, deadline - loop.time())
                if left <= 0:
                    return self._cursor.wait(0)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(arrived.wait(), left)
        finally:
            forget()
        return self._cursor.wait(0) or not self._cursor.ended


class Tail:
    """What arrives, a frame at each call; made by :meth:`Events.tail`."""

    def __init__(self, cursor: Cursor, types: RecordTypes, lookup: Lookup | None) -> None:
        self._cursor, self._types, self._lookup = cursor, types, lookup

    def __call__(self) -> pd.DataFrame:
        """Return the frame of the events since the last call; empty when there are none.

        Raises
        ------
        DecodeError
            When records do not fit their struct.
        """
        with self._cursor.read() as snapshot:
            return frame(snapshot, self._types, self._lookup)

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds for events; whether there are any."""
        return self._cursor.wait(timeout)

    @property
    def missed(self) -> int:
        """Events that left the history before a call came to them."""
        return self._cursor.missed
