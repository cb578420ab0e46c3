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

from .errors import EbpflabError


def directory(*parts: str) -> Path:
    # $EBPFLAB_CACHE, else the XDG cache directory. Raises EbpflabError when it cannot be made, or another user
    # could write to it.
    override = os.environ.get("EBPFLAB_CACHE")
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored: they would make a cache in whatever folder we happen to be.
    base = xdg if xdg.startswith("/") else os.path.expanduser("~/.cache")  # noqa: PTH111 - never raises
    root = Path(override) if override else Path(base) / "ebpflab"
    folder = root.joinpath(*parts)
    try:
        _make(folder)
    except OSError as error:
        raise EbpflabError(
            f"the cache {folder} cannot be made: {error.strerror}",
            hint="set EBPFLAB_CACHE to a directory that can be",
            stage="compile",
        ) from error
    for place in (root, folder):
        if not _is_ours(place.stat()):
            raise EbpflabError(
                f"the cache {place} can be written by other users, and what it holds becomes code in the kernel",
                hint=f"chown {os.geteuid()} {place} && chmod 700 {place}, or set EBPFLAB_CACHE to another directory",
                stage="compile",
            )
    if not is_private(folder):
        raise EbpflabError(
            f"other users could put another folder in the place of the cache {folder}",
            hint="set EBPFLAB_CACHE to a directory whose path only you and root can change",
            stage="compile",
        )
    return folder


def _make(folder: Path) -> None:
    # Like mkdir -p, but what is missing on the way is made private, too, whatever the umask.
    if not folder.exists():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def is_private(folder: Path) -> bool:
    # Whether only we (and root) can change what a folder holds, or what its path leads to.
    real = folder.resolve(strict=True)
    return _is_ours(real.stat()) and all(_is_trusted(parent.stat()) for parent in real.parents)


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_trusted(parent: os.stat_result) -> bool:
    # A sticky directory such as /tmp may be shared: only the owner can rename or remove an entry.
    shared = parent.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not parent.st_mode & stat.S_ISVTX
    return parent.st_uid in (0, os.geteuid()) and not shared


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
