from __future__ import annotations

import errno
import re
import subprocess
from pathlib import Path

import pytest

from ebpflab.compile import macros

HEADER = Path(macros.__file__).parent / "include" / "macros.h"
KNOWN = re.findall(r"^#define (\w+) ", HEADER.read_text(), re.MULTILINE)
# Where the values stand in a user's headers, and names that only the kernel's own have.
SYSTEM = ("errno.h", "fcntl.h", "sched.h", "signal.h", "sys/socket.h", "netinet/in.h", "linux/if_ether.h",
          "linux/limits.h", "linux/netfilter.h", "linux/pkt_cls.h", "linux/stat.h", "linux/tcp.h")  # fmt: skip
KERNEL_ONLY = {"ERESTARTSYS", "ENOTSUPP", "IP_CE", "IP_DF", "IP_MF", "IP_OFFSET", "PF_EXITING", "PF_KTHREAD",
               "TASK_COMM_LEN", "MINORBITS", "MINORMASK", "SOL_TCP", "SOL_UDP"}  # fmt: skip


def test_the_values_are_those_of_the_system_s_headers() -> None:
    included = "".join(f"#include <{name}>\n" for name in SYSTEM)
    asserts = []
    for name in KNOWN:
        if name not in KERNEL_ONLY:
            value = re.search(rf"^#define {name} (.+)$", HEADER.read_text(), re.MULTILINE)[1]
            asserts.append(
                f'#ifndef {name}\n#error {name} is unknown\n#endif\n_Static_assert({name} == {value}, "{name}");'
            )
    source = f"#define _GNU_SOURCE\n{included}" + "\n".join(asserts)
    command = ["clang", "-x", "c", "-fsyntax-only", "-"]
    done = subprocess.run(command, input=source, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[:2000]
    assert len(asserts) > 200


def test_no_name_is_there_twice_and_every_error_number_is() -> None:
    assert len(set(KNOWN)) == len(KNOWN)
    assert set(errno.errorcode.values()) - {"EDEADLOCK", "EWOULDBLOCK"} <= set(KNOWN)


def test_a_cell_gets_the_macros_that_it_uses_and_those_that_they_need() -> None:
    text = macros.subset({"MINORMASK", "ETH_P_IP", "unknown"}, (), ())
    assert re.findall(r"#define (\w+)", text) == ["ETH_P_IP", "MINORBITS", "MINORMASK"]


@pytest.mark.parametrize(
    ("taken", "text"),
    [((), "#define ETH_P_IP 0x800"), ((), "  #  define ETH_P_IP 8"), (("ETH_P_IP",), "enum { ETH_P_IP };")],
)
def test_what_a_cell_defines_itself_is_left_to_it(taken: tuple[str, ...], text: str) -> None:
    assert macros.subset({"ETH_P_IP"}, taken, [text]) == ""
