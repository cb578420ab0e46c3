"""The formats of the verifier's messages, out of kernel images: an independent witness for the table of messages.

The stock kernels of tests/vm lie unpacked in build/vm/kernels; their strings are in ``.rodata``, those of one object
file side by side. ``python -m tests.verifier_formats`` writes down again which of them says what
(tests/data/verifier_formats.json); all five have to be there then.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile

from ebpflab.toolchain import find_libbpf
from ebpflab.verifier.messages import PATTERNS
from tests.vm import kernels

RECORD = Path(__file__).parent / "data" / "verifier_formats.json"
FORMATS = sorted({said for pattern in PATTERNS for said in pattern.said})
_NEAR = 1536  # bytes between two known formats of one object file
_FEW = 8  # known formats that lie together by chance, such as texts that several files share

# What the verifier prints beside refusals: states, statistics, notes, warnings to the kernel's own log (a level in
# front), pieces of a line (a blank in front).
_ASIDE = re.compile(
    r"^ |^\x01|mark_(?:precise|reg)|force_precise|propagating|func#%d @|processed %d|verification time|stack depth"
    r"|from %d to|%d: safe|(?:cur|old) state|Validating|SCC |Func#%d|caller:|callee|to caller|Live regs|last_idx"
    r"|regs=|parent |frame %d|didn't|verification passed|marking pointer|CO-RE relocating|target candidate"
    r"|topo_order|subprog#|subprog %d|exception_callback|stack use|arg JOIN|WARNING!|bpf_dynptr_\w+: unk"
    r"|Please fix|log line truncated|order: |RTNL|failed to register|workqueue|\t"
)


def images() -> dict[str, Path]:
    """Return the unpacked kernels that are here: name to file."""
    found = {kernel.name: kernel.folder / "vmlinux" for kernel in kernels.TABLE}
    return {name: path for name, path in found.items() if path.exists()}


@cache
def strings(image: Path) -> tuple[tuple[int, str], ...]:
    """Return the texts of a kernel's read-only data, with their offsets."""
    with image.open("rb") as file:
        data = ELFFile(file).get_section_by_name(".rodata").data()
    return tuple((match.start(), match[1].decode()) for match in re.finditer(rb"([\x01\t\n\x20-\x7e]{3,})\0", data))


def plain(text: str) -> str:
    """Return a format without what only the width of a number, or Linux 7.3's way to name registers, changes."""
    text = re.sub(r"\bR%d|\bargs?[# ]*%d", "%s", text.rstrip("\n"))
    return re.sub(r"%#?l*[dux]", "%d", text)


def occurrences(image: Path) -> set[str]:
    """Return those formats of the table that a kernel has."""
    here = {plain(text) for _, text in strings(image)}
    return {said for said in FORMATS if plain(said) in here}


def refusals(image: Path) -> list[str]:
    """Return the formats of whole lines that lie among the known ones: the verifier's refusals."""
    known = {plain(said) for said in FORMATS}
    regions: list[list[int]] = []
    for offset, text in strings(image):
        if plain(text) in known:
            if regions and offset - regions[-1][-1] < _NEAR:
                regions[-1].append(offset)
            else:
                regions.append([offset])
    return [
        text
        for region in regions
        if len(region) >= _FEW
        for offset, text in strings(image)
        if region[0] <= offset <= region[-1] and text.endswith("\n") and " " in text.strip()
        if not _ASIDE.search(text) and not text.startswith("/")
    ]


def in_libbpf() -> set[str]:
    """Return those formats of the table that libbpf has: it rewrites some messages."""
    data = find_libbpf().read_bytes()
    return {said for said in FORMATS if said.encode() in data}


def record() -> dict[str, str]:
    """Return each format of the table with the names of the kernels that have it, and libbpf."""
    here = {name: occurrences(path) for name, path in images().items()} | {"libbpf": in_libbpf()}
    return {said: " ".join(name for name, formats in here.items() if said in formats) for said in FORMATS}


if __name__ == "__main__":
    if absent := {kernel.name for kernel in kernels.TABLE} - set(images()):
        sys.exit(f"no image of {', '.join(sorted(absent))} in {kernels.cache()}: python -m tests.vm setup")
    RECORD.write_text(json.dumps(record(), indent=0, sort_keys=True) + "\n")
