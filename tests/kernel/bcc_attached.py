"""Cells of BCC's dialect that count what the test itself does, and what they counted."""

from __future__ import annotations

import os

import pytest

from ebpflab.bcc import library, process
from ebpflab.errors import ToolMissingError

CALLS, LATER = 97, 53  # primes
PORT = 4211
MINE = "if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;"
COUNTED = "BPF_ARRAY(seen, u64, 8);\n"


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


def cell(*functions, tables=COUNTED):
    text = tables + "\n".join(functions)
    return text.replace("MINE", MINE).replace("ME)", f"{os.getpid()})").replace("PORT", str(PORT))


def function(name, context, statements="seen.increment(0);", *, mine=True):
    check = f"{MINE} " if mine else ""
    return f"int {name}({context}) {{ {check}{statements} return 0; }}"


def counts(session, number=1):
    found = [session.maps["seen"][index] for index in range(number)]
    return found[0] if number == 1 else tuple(found)
