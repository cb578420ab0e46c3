# A map's file descriptor that several threads read through and one of them may close.

from __future__ import annotations

import os
import threading

from ..errors import SessionError


class Descriptor:
    # It closes the descriptor that it is given, when the last user is done with it: a number that is closed
    # under a reader may be another map's by its next call.
    def __init__(self, fd: int, name: str) -> None:
        self._fd, self._name = fd, name
        self._users = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def closed(self) -> bool:
        return self._closed

    def __enter__(self) -> int:
        with self._lock:
            if self._closed:
                raise closed(self._name)
            self._users += 1
        return self._fd

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            self._release()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._release()

    def _release(self) -> None:
        if self._closed and not self._users and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()  # inner maps that nobody looks at any more


def closed(name: str) -> SessionError:
    return SessionError(f"{name}: the session is closed", hint="take frames before close(), or run the cell again")
