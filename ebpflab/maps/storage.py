"""Storages: values that belong to a task, a file, a socket or a cgroup, and go with it."""

from __future__ import annotations

import contextlib
from typing import Any

from ._handles import descriptor, packed, process
from .bpfmap import BpfMap

_FD = 4  # bytes of a key: a file descriptor


class StorageMap(BpfMap):
    """A storage: the key is what the value belongs to.

    A task storage takes a pid or thread id (or a pidfd), an inode storage a path or an open file, a socket storage
    a socket, a cgroup storage a path below /sys/fs/cgroup. The kernel does not list the keys.

    Examples
    --------
    >>> s.maps["started"][os.getpid()]
    1738289123
    """

    def _encode_key(self, key: Any, held: contextlib.ExitStack) -> bytes:
        if self.type == "task_storage":
            return packed(process(key, held, self.name), _FD)
        wanted = {"sk_storage": "socket", "inode_storage": "file"}.get(self.type, "cgroup's path")
        return packed(descriptor(key, held, self.name, wanted, paths=self.type != "sk_storage"), _FD)
