# The macros and functions of kernel headers that one program uses.
#
# Defined for all programs, they would collide with names of their own; so each program gets what its words reach.

from __future__ import annotations

import functools
import gzip
import os
import platform
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..tables import system_calls

_HEADERS = Path(__file__).parent / "headers"
_DEFINE = re.compile(r"^#define (\w+)(?:[^\n\\]|\\.|\\\n)*\n", re.MULTILINE | re.DOTALL)
_FUNCTION = re.compile(r"^static [^\n(]*?(\w+)\([^\n]*\)\n\{.*?^\}\n", re.MULTILINE | re.DOTALL)
_OWNERS = re.compile(r"^/\* ((?:[\w/.-]+ )+)\*/\n(.*?)(?=^/\*|\Z)", re.MULTILINE | re.DOTALL)
_WORD = re.compile(r"\b[A-Za-z_]\w*")
# Where the kernel does not tell how it was configured, what programs ask for is as distributions have it.
_USUAL = {"BPF_SYSCALL": "1", "64BIT": "1", "SMP": "1", "NET_NS": "1", "NUMA": "1", "HZ": "250", "NR_CPUS": "8192"}
_USUAL |= {"FUNCTION_TRACER": "1"}
_BEFORE = {"MAX_SKB_FRAGS": "17"}  # what was fixed before it became an option
_WRAPPED = ("x86_64", "aarch64", "s390x")  # system calls take their arguments in a struct pt_regs


def words(text: str) -> set[str]:
    return set(_WORD.findall(text))


@functools.cache
def _table(name: str) -> Mapping[str, str]:
    text = (_HEADERS / name).read_text()
    pattern = _FUNCTION if name == "functions.h" else _DEFINE
    return {match[1]: match[0] for match in pattern.finditer(text)}


def functions(used: Iterable[str], taken: Iterable[str]) -> list[str]:
    # The functions among the words, with those that they call, in order.
    return reached(_table("functions.h"), used, taken)


def defined_in(text: str) -> Mapping[str, str]:
    # The macros that a header defines.
    return {match[1]: match[0] for match in _DEFINE.finditer(text)}


def reached(known: Mapping[str, str], used: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    # Those of the known that are among the words, with those that they use, in order.
    left_out = set(taken)
    wanted: set[str] = set()
    queue = [word for word in used if word in known and word not in left_out]
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += [word for word in words(known[name]) if word in known and word not in left_out]
    return [text for name, text in known.items() if name in wanted]


def defines(used: Iterable[str], taken: Iterable[str], more: Mapping[str, str]) -> list[str]:
    # The macros among the words, with those that they stand for. `more`: those that BTF decides on.
    known = {**_table("uapi_macros.h"), **_table("kmacros.h"), **more}
    size = os.sysconf("SC_PAGE_SIZE").bit_length() - 1
    known["__ebpflab_page_shift"] = f"#define __ebpflab_page_shift {size}\n"
    return reached(known, used, taken)


def aliases(used: Iterable[str], taken: Iterable[str], includes: Iterable[str], more: Mapping[str, str]) -> list[str]:
    # The short names of members among the words that the included headers have.
    names = [name.removeprefix("uapi/") for name in includes]
    known = dict(more)
    for match in _OWNERS.finditer((_HEADERS / "aliases.h").read_text()):
        if any(name.startswith(tuple(match[1].split())) for name in names):
            known.update((define[1], define[0]) for define in _DEFINE.finditer(match[2]))
    return reached(known, used, taken)


def calls(used: Iterable[str]) -> list[str]:
    # Numbers of system calls: __NR_x.
    wanted = {word[5:] for word in used if word.startswith("__NR_")}
    return [f"#define __NR_{name} {number}\n" for number, name in system_calls().items() if name in wanted]


def options(used: Iterable[str]) -> list[str]:
    # What the running kernel was configured with, as its own autoconf.h has it.
    known = _configuration()
    wanted = {word.removeprefix("CONFIG_").removesuffix("_MODULE") for word in used if word.startswith("CONFIG_")}
    return [_option(name, known[name]) for name in sorted(wanted & known.keys())]


def _option(name: str, value: str) -> str:
    return f"#define CONFIG_{name}{'_MODULE' if value == 'm' else ''} {'1' if value in ('y', 'm') else value}\n"


@functools.cache
def _configuration() -> Mapping[str, str]:
    for path in (Path("/proc/config.gz"), Path("/boot") / f"config-{os.uname().release}"):
        if os.access(path, os.R_OK):
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
            return {**_BEFORE, **dict(re.findall(r"(?m)^CONFIG_(\w+)=(.+)$", text))}
    machine = platform.machine()
    wrapped = {"ARCH_HAS_SYSCALL_WRAPPER": "y"} if machine in _WRAPPED else {}
    return {**_BEFORE, **_USUAL, **wrapped, **({"X86_64": "y"} if machine == "x86_64" else {})}
