from __future__ import annotations

from collections.abc import Callable

from .base import Attachment, Request

KINDS: dict[str, Callable[[Request], Attachment]] = {}
