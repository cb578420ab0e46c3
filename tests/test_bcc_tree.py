"""What stands in for kernel headers: macros, functions and short names, each given only to a program that uses it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from made_btf import Types

from ebpflab.bcc import compat, macros, rewriter, subset
from ebpflab.tables import system_calls
from ebpflab.toolchain import find_clang, find_uapi_headers

HEADERS = Path(macros.__file__).parent / "headers"
# The user's side of what uapi_macros.h has, but for the names that only the kernel knows.
SYSTEM = ("linux/fcntl.h", "linux/mount.h", "linux/fs.h", "linux/futex.h", "linux/capability.h", "linux/magic.h",
          "linux/if_ether.h", "linux/icmp.h", "linux/icmpv6.h", "linux/pkt_cls.h", "linux/pkt_sched.h",
          "linux/limits.h", "linux/sched.h", "linux/perf_event.h", "linux/stat.h", "linux/ptrace.h", "linux/in.h",
          "asm/socket.h", "signal.h")  # fmt: skip


def names(texts: list[str]) -> list[str]:
    return re.findall(r"^#define (\w+)", "".join(texts), re.MULTILINE)


def test_the_values_of_the_interface_are_those_of_the_system_s_headers() -> None:
    known = dict(re.findall(r"^#define (\w+) (.+)$", (HEADERS / "uapi_macros.h").read_text(), re.MULTILINE))
    asserts = "".join(f'#ifdef {n}\n_Static_assert(({n}) == ({v}), "{n}");\n#endif\n' for n, v in known.items())
    included = "".join(f"#include <{name}>\n" for name in SYSTEM)
    seen = "".join(f"#ifdef {name}\n@{name}\n#endif\n" for name in known)
    folders = [f"-I{folder}" for folder in find_uapi_headers()]

    def clang(mode: str, text: str) -> subprocess.CompletedProcess[str]:
        command = [str(find_clang()), "-x", "c", mode, *folders, "-"]
        return subprocess.run(command, input=included + text, check=False, capture_output=True, text=True, timeout=60)

    done = clang("-fsyntax-only", asserts)
    assert done.returncode == 0, done.stderr[:2000]
    assert clang("-E", seen).stdout.count("@") > 150


def test_every_macro_and_every_function_of_the_headers_is_found() -> None:
    for name in ("kmacros.h", "uapi_macros.h"):
        text = (HEADERS / name).read_text()
        assert len(macros.defined_in(text)) == text.count("\n#define "), name
    text = (HEADERS / "functions.h").read_text()
    everything = macros.functions(macros.words(text), ())
    assert len(everything) == text.count("\nstatic ") == text.count("\n}\n")


def test_a_program_gets_the_macros_that_it_uses_and_those_that_they_need() -> None:
    made = names(macros.defines({"MINORMASK", "PAGE_SIZE", "unknown"}, (), {}))
    assert sorted(made) == ["MINORBITS", "MINORMASK", "PAGE_SHIFT", "PAGE_SIZE", "__ebpflab_page_shift"]


def test_what_a_program_defines_itself_is_left_to_it() -> None:
    assert names(macros.defines({"PAGE_SIZE", "HZ"}, {"PAGE_SIZE"}, {})) == ["HZ"]
    assert macros.functions({"ip_hdr"}, {"ip_hdr"}) == []


def test_a_function_brings_the_one_that_it_calls_before_itself() -> None:
    made = "".join(macros.functions({"tcp_hdr"}, ()))
    assert made.count("static ") == 2
    assert made.index("*ebpflab_skb_header(") < made.index("*tcp_hdr(")


@pytest.mark.parametrize("include", ["net/sock.h", "net/inet_sock.h", "linux/tcp.h", "uapi/linux/tcp.h"])
def test_a_short_name_comes_with_a_header_that_has_it_and_not_without(include: str) -> None:
    assert macros.aliases({"sk_family"}, (), [include], {}) == ["#define sk_family __sk_common.skc_family\n"]
    assert macros.aliases({"sk_family"}, (), ["linux/fs.h"], {}) == []
    assert macros.aliases({"sk_family"}, {"sk_family"}, [include], {}) == []


def test_a_system_call_s_number_is_that_of_this_machine() -> None:
    known = {name: number for number, name in system_calls().items()}
    assert macros.calls({"__NR_openat", "__NR_nonsense"}) == [f"#define __NR_openat {known['openat']}\n"]


def test_tags_are_told_from_those_that_only_stand_before_a_star() -> None:
    text = "struct a *f(struct b x, union  c\n*y); enum d e; struct f; my_struct g;"
    assert subset.tags(text) == {"struct a", "struct b", "union c", "enum d", "struct f"}
    assert subset.tags(text, pointers=False) == {"struct b", "enum d"}


def dentry(member: str, size: int) -> dict[str, str]:
    types = Types()
    name = types.array(types.integer("char", 1, signed=True), size)
    types.struct("dentry", size, (member, name, 0))
    return dict(compat.macros(types.btf()))


def test_the_name_inside_a_dentry_is_found_under_either_of_its_names() -> None:
    assert dentry("d_iname", 32) == {"DNAME_INLINE_LEN": "#define DNAME_INLINE_LEN 32\n"}
    assert dentry("d_shortname", 40) == {
        "DNAME_INLINE_LEN": "#define DNAME_INLINE_LEN 40\n",
        "d_iname": "#define d_iname d_shortname.string\n",
    }
    assert dentry("d_other", 40) == {}


PRINTED = b"""Running from kernel directory at: /tmp/x
clang -cc1 -triple x86_64 -x c /virtual/main.c
/virtual/main.c:2:9: warning: unused
#if defined(BPF_LICENSE)
#error BPF_LICENSE cannot be specified through cflags
#endif
#if !defined(CONFIG_CC_STACKPROTECTOR)
#if defined(CONFIG_CC_STACKPROTECTOR_AUTO) \\
    || defined(CONFIG_CC_STACKPROTECTOR_STRONG)
#define CONFIG_CC_STACKPROTECTOR
#endif
#endif
int f(void) { return 0; }
#if 1
#endif

#include <bcc/footer.h>
1 warning generated.
"""


def test_the_program_is_told_from_what_is_printed_around_it() -> None:
    text = "int f(void) { return 0; }\n#if 1\n#endif\n"
    assert rewriter._taken_apart(PRINTED) == (text, "/virtual/main.c:2:9: warning: unused", 0)
    assert rewriter._taken_apart(b"/virtual/main.c:1:1: error: no\n1 error generated.\n") == (
        "",
        "/virtual/main.c:1:1: error: no",
        0,
    )
