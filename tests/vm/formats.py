"""Four file formats: the compressed kernel in a bzImage, ELF, the initrd's cpio archive, and modules.dep."""

from __future__ import annotations

import lzma
import stat
import struct
import subprocess
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from . import VmError


def payload(data: bytes) -> bytes:
    """Return the vmlinux inside a bzImage (Documentation/arch/x86/boot.rst).

    Raises
    ------
    VmError
        When it is no bzImage, or what it holds is no ELF file.

    Examples
    --------
    >>> payload(Path("/boot/vmlinuz-6.1.0-13-amd64").read_bytes())[:4]
    b'\\x7fELF'
    """
    if len(data) < 0x250 or data[0x202:0x206] != b"HdrS":
        raise VmError("the kernel is no bzImage")
    start = ((data[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", data, 0x248)
    # The last four bytes are the size of what comes out.
    vmlinux = decompress(data[start + offset : start + offset + length - 4])
    if vmlinux[:4] != b"\x7fELF":
        raise VmError("the kernel in the bzImage is no ELF file, or compressed in an unknown way")
    return vmlinux


def decompress(data: bytes) -> bytes:
    """Undo xz, gzip or zstd, told apart by their first bytes; other data is returned as it is.

    Raises
    ------
    VmError
        When the data is damaged.

    Examples
    --------
    >>> decompress(gzip.compress(b"vmlinux"))
    b'vmlinux'
    """
    try:
        if data.startswith(b"\xfd7zXZ\0"):
            return lzma.decompress(data)
        if data.startswith(b"\x1f\x8b"):
            return zlib.decompress(data, wbits=31)
        if data.startswith(b"\x28\xb5\x2f\xfd"):
            return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
    except (lzma.LZMAError, zlib.error, subprocess.CalledProcessError) as error:
        raise VmError(f"damaged data: {error}") from error
    return data


def section(elf: bytes, name: str) -> bytes:
    """Return the content of a section of a 64-bit little-endian ELF file (elf(5)).

    Raises
    ------
    VmError
        When it is no such file, or has no section of that name.

    Examples
    --------
    >>> section(vmlinux, ".BTF")[:2]
    b'\\x9f\\xeb'
    """
    if elf[:6] != b"\x7fELF\x02\x01":
        raise VmError("this is no 64-bit little-endian ELF file")
    try:
        (table,) = struct.unpack_from("<Q", elf, 0x28)
        size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
        # Of each header: offset of the name, offset and size of the content.
        headers = [struct.unpack_from("<I20xQQ", elf, table + number * size) for number in range(count)]
        for at, offset, length in headers:
            start = headers[names][1] + at
            if elf[start : elf.index(b"\0", start)] == name.encode():
                return elf[offset : offset + length]
    except (struct.error, IndexError, ValueError) as error:
        raise VmError(f"the ELF file is damaged: {error}") from error
    raise VmError(f"the ELF file has no section {name}")


def is_static(elf: bytes) -> bool:
    """Return whether a 64-bit program has no PT_INTERP header, and so needs no shared library (elf(5)).

    Examples
    --------
    >>> is_static(Path("/bin/busybox").read_bytes())
    True
    """
    (table,) = struct.unpack_from("<Q", elf, 0x20)
    size, count = struct.unpack_from("<HH", elf, 0x36)
    return all(struct.unpack_from("<I", elf, table + number * size)[0] != 3 for number in range(count))


@dataclass(frozen=True)
class Entry:
    """One file of a cpio archive.

    ``mode`` is type and permissions as in stat(2); the data of a symbolic link is its target; ``device`` is
    major and minor number.
    """

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def program(name: str, data: bytes) -> Entry:
    return Entry(name, stat.S_IFREG | 0o755, data)


def archive(entries: Iterable[Entry]) -> bytes:
    """Return a cpio archive in the "newc" format (Documentation/driver-api/early-userspace/buffer-format.rst).

    Examples
    --------
    >>> archive([directory("bin")])[:6]
    b'070701'
    """
    out = bytearray()
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        fields = (number, entry.mode, 0, 0, 1, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + name
        out += bytes(-len(out) % 4) + entry.data
        out += bytes(-len(out) % 4)
    return bytes(out)


def load_order(dependencies: str, builtin: str, wanted: Iterable[str]) -> list[str]:
    """Return the files of modules and of all that they need, in the order of loading.

    Parameters
    ----------
    dependencies, builtin
        The texts of ``modules.dep`` and ``modules.builtin`` (modules.dep(5)).
    wanted
        Names of modules, as ``lsmod`` prints them. Built-in ones are left out.

    Raises
    ------
    VmError
        When the kernel has no module of a name.

    Examples
    --------
    >>> load_order("fs/9p.ko: net/9pnet.ko\\nnet/9pnet.ko:\\n", "", ["9p"])
    ['net/9pnet.ko', 'fs/9p.ko']
    """
    lines = (line.partition(":") for line in dependencies.splitlines())
    needs = {path: rest.split() for path, _, rest in lines}
    paths = _by_name(needs)
    inside = _by_name(builtin.split())
    order: dict[str, None] = {}  # as a set that keeps its order
    for name in wanted:
        if name in paths:
            # A line lists everything that the module needs, also indirectly, and what comes first stands last.
            order.update(dict.fromkeys([*reversed(needs[paths[name]]), paths[name]]))
        elif name not in inside:
            raise VmError(f"this kernel has no module {name}, and does not have it built in")
    return list(order)


def _by_name(paths: Iterable[str]) -> Mapping[str, str]:
    return {path.rpartition("/")[2].partition(".ko")[0].replace("-", "_"): path for path in paths}
