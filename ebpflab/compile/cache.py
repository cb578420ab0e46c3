# Where compiled objects and kernel headers are kept between runs.
#
# What lies here becomes code in the kernel, so the directory has to belong to this user alone, and a file
# appears whole or not at all: written under another name, then renamed.

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from ..errors import EbpflabError


def directory(*parts: str) -> Path:
    # $EBPFLAB_CACHE, else the XDG cache directory. Raises EbpflabError when it cannot be made, or another user
    # could write to it.
    override = os.environ.get("EBPFLAB_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    root = Path(override) if override else Path(base) / "ebpflab"
    folder = root.joinpath(*parts)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)  # parents are made by the umask, and root is no parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EbpflabError(
            f"the cache {folder} cannot be made: {error.strerror}",
            hint="set EBPFLAB_CACHE to a directory that can be",
            stage="compile",
        ) from error
    for place in {root, folder}:
        status = place.stat()
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EbpflabError(
                f"the cache {place} can be written by other users, and what it holds becomes code in the kernel",
                hint=f"chown {os.geteuid()} {place} && chmod 700 {place}, or set EBPFLAB_CACHE to another directory",
                stage="compile",
            )
    return folder


def write(path: Path, data: bytes) -> None:
    # Whole or not at all, also with two notebooks compiling the same cell.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def key(*parts: bytes | str) -> str:
    # A digest of the parts that tells ("ab", "c") from ("a", "bc").
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def trim(folder: Path, limit: int) -> None:
    # Keep the `limit` files last used; an object cache must not grow for ever.
    files = []
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process trims as well
            status = file.stat()
            if stat.S_ISREG(status.st_mode):
                files.append((status.st_mtime_ns, file))
    for _, file in sorted(files, reverse=True)[limit:]:
        file.unlink(missing_ok=True)
