"""A fake handle over the sections of global variables that clang made of ``data/btf/globals.c``.

Its maps are anonymous files: what a test writes into them is what a kernel's program would.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from pathlib import Path

from ebpflab.engines.base import MapInfo

DATA = Path(__file__).parent / "data" / "btf"
MMAPABLE = 1 << 10  # BPF_F_MMAPABLE, include/uapi/linux/bpf.h
CPUS = 4  # slots of a counter in globals.c


def dump():
    return json.loads((DATA / "globals.json").read_text())["types"]


def offset_of(name):
    """Where bpftool's dump of the BTF has a variable: section and offset."""
    types = {t["id"]: t for t in dump()}
    sections = [t for t in types.values() if t["kind"] == "DATASEC"]
    return next((s["name"], v["offset"]) for s in sections for v in s["vars"] if types[v["type_id"]]["name"] == name)


class FakeHandle:
    """An opened object with one map per section; loading gives each map its pages, as libbpf does."""

    def __init__(self):
        read = {".data": ".data", ".rodata": ".rodata", ".data.ebpflab": ".data.ebpflab"}
        self.images = {name: bytearray((DATA / f"globals{file}").read_bytes()) for name, file in read.items()}
        self.images[".bss"] = bytearray(16)
        self.images[".data.custom"] = bytearray(struct.pack("<Q", 77))
        self.images[".rodata.str1.1"] = bytearray(b"a string\0")
        self.fds = {}

    def initial(self, name):
        return memoryview(self.images[name])

    def maps(self):
        internal = [
            MapInfo(name, 2, 4, len(image), 1, MMAPABLE, internal=True, fd=self.fds.get(name))
            for name, image in self.images.items()
        ]
        return [
            *internal,
            MapInfo("typed", 27, 0, 0, 4096, 0, internal=False),
            MapInfo(".data", 2, 4, 4, 1, 0, internal=False),
        ]

    def load(self):
        for name, image in self.images.items():
            fd = os.memfd_create(name)
            os.write(fd, image)
            os.ftruncate(fd, -(-len(image) // mmap.PAGESIZE) * mmap.PAGESIZE)
            self.fds[name] = fd

    def kernel_reads(self, name, size):
        section, offset = offset_of(name)
        return os.pread(self.fds[section], size, offset)

    def kernel_writes(self, name, data):
        section, offset = offset_of(name)
        os.pwrite(self.fds[section], data, offset)

    def close(self):
        for fd in self.fds.values():
            os.close(fd)
