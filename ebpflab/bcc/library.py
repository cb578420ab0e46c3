"""Where BCC's library is, which version it is, and the headers that it carries inside.

Only ``libbcc.so.0`` is needed, which any Python can load; BCC's own Python package is not. Nothing is loaded
here: the library runs in a child process.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
from pathlib import Path

from .. import toolchain
from ..errors import ToolMissingError

# A line that only this header has; each is stored as one C string.
_MARKS = {
    "bpf.h": b"#define _UAPI__LINUX_BPF_H__",
    "bpf_workaround.h": b"#define __HAVE_BUILTIN_BSWAP16__",
    "helpers.h": b"#define __BPF_HELPERS_H",
    "proto.h": b"#define __BCC_PROTO_H",
    "footer.h": b"#define BPF_LICENSE GPL",
}


def find_libbcc() -> Path:
    """Return BCC's shared library: ``EBPFLAB_LIBBCC``, else ``libbcc.so.0`` where the dynamic linker looks.

    Raises
    ------
    ToolMissingError
        There is none; the hint is the command that installs it. PyPI's package ``bcc`` is named where it is
        installed instead.

    Examples
    --------
    >>> find_libbcc().name
    'libbcc.so.0'
    """
    try:
        return toolchain.find_libbcc()
    except ToolMissingError as error:
        error.details = (*error.details, *([said] if (said := wrong_package()) else []))
        raise


def version(library: Path | None = None) -> str | None:
    """Return the version that the library's file name states, or None.

    Examples
    --------
    >>> version()
    '0.26.0'
    """
    return (library or find_libbcc()).resolve().name.partition(".so.")[2] or None


def wrong_package() -> str:
    """Return a sentence about an importable ``bcc`` that is not the BPF Compiler Collection; "" if there is none.

    Examples
    --------
    >>> wrong_package()
    ''
    """
    try:
        spec = importlib.util.find_spec("bcc")
    except ValueError:  # a module made by hand, with no spec, stands in sys.modules
        return ""
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()] if spec else []
    wrong = next((folder for folder in folders if not (folder / "libbcc.py").is_file()), None)
    if wrong is None:
        return ""
    try:
        found = f"bcc {importlib.metadata.version('bcc')}"
    except importlib.metadata.PackageNotFoundError:
        found = "bcc"
    return f"the package {found} in {wrong} is another project of that name, from PyPI; nothing here needs it"


def header(name: str, library: Path | None = None) -> str:
    """Return a header that the library carries: helpers.h, bpf.h, bpf_workaround.h, proto.h or footer.h.

    Raises
    ------
    ToolMissingError
        The library holds no such header.
    """
    return _header(name, library or find_libbcc())


def identity(library: Path) -> str:
    """Return a text that changes when the library is replaced."""
    status = library.stat()
    return f"{library.resolve()}:{status.st_size}:{status.st_mtime_ns}"


@functools.lru_cache(maxsize=16)
def _header(name: str, library: Path) -> str:
    data = library.read_bytes()
    at = data.find(_MARKS[name])
    if at < 0:
        raise ToolMissingError(f"{library} carries no {name}", hint="another version of BCC may: 0.26 is known to")
    start, end = data.rfind(b"\0", 0, at) + 1, data.find(b"\0", at)
    text = data[start:end].decode("utf-8", "replace")
    return re.sub(r"\A[^\n]*\n", "\n", text)  # what stands before the first line end belongs to the string before
