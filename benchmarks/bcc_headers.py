"""What BCC compiles against: the kernel's headers where they are installed, else a tree made of its BTF.

BCC 0.26 takes a folder for headers if it holds ``include/linux/kconfig.h``, and ``BCC_KERNEL_SOURCE`` names it. Ours
holds the whole vmlinux.h, the few macros that BCC's own header asks for, and empty files for all else.
"""

import gzip
import os
import platform
import re
from pathlib import Path

from ebpflab.compile import vmlinux

from . import peers

_STUBS = (
    "uapi/linux/bpf.h",
    "uapi/linux/if_packet.h",
    "uapi/linux/if_ether.h",
    "linux/types.h",
    "linux/bpf_common.h",
    "linux/log2.h",
    "asm/page.h",
)
_KCONFIG = """\
#ifndef BTF_KCONFIG_H
#define BTF_KCONFIG_H
#include <generated/autoconf.h>
#include <linux/version.h>
#define BPF_NO_PRESERVE_ACCESS_INDEX
#define BPF_NO_KFUNC_PROTOTYPES
#define _UAPI__LINUX_BPF_H__
#undef __seg_gs
#undef __seg_fs
#define __seg_gs
#define __seg_fs
#include <vmlinux.h>
#define NULL ((void *)0)
#define PAGE_SIZE 4096
#define __user
#define __always_inline inline __attribute__((always_inline))
#define BPF_F_CURRENT_CPU 0xffffffffULL
#endif
"""


def environment():
    """The environment that lets BCC find headers, and what they are."""
    installed = Path("/lib/modules", platform.release(), "build")
    if (installed / "include/linux/kconfig.h").exists():
        return {}, "compiled against the installed kernel headers; import and first compile are not counted"
    return {"BCC_KERNEL_SOURCE": str(_tree())}, (
        "no kernel headers here: compiled against the whole vmlinux.h from BTF, which takes a tenth longer; "
        "import and first compile are not counted"
    )


def _tree():
    root = peers.BUILD / f"headers-{platform.release()}"
    include = root / "include"
    for stub in _STUBS:
        _write(include / stub, "")
    _write(include / "generated/autoconf.h", _config())
    _write(include / "linux/version.h", _version())
    _write(include / "vmlinux.h", vmlinux.whole())
    _write(include / "linux/kconfig.h", _KCONFIG)
    return root


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _config():
    # A kernel that does not tell its configuration still has these, or nothing would run.
    lines = ["CONFIG_BPF_SYSCALL=y", "CONFIG_64BIT=y", "CONFIG_SMP=y"]
    if platform.machine() == "x86_64":
        lines += ["CONFIG_X86_64=y", "CONFIG_ARCH_HAS_SYSCALL_WRAPPER=y"]
    if os.access("/proc/config.gz", os.R_OK):
        lines = gzip.decompress(Path("/proc/config.gz").read_bytes()).decode().splitlines()
    set_ = [line.split("=", 1) for line in lines if line.startswith("CONFIG_")]
    said = {"y": ("", "1"), "m": ("_MODULE", "1")}
    return "".join("#define {}{} {}\n".format(name, *said.get(value, ("", value))) for name, value in set_)


def _version():
    numbers = [int(n) for n in re.findall(r"\d+", platform.release())[:3]]
    major, minor, sub = numbers + [0] * (3 - len(numbers))
    code = (major << 16) + (minor << 8) + min(sub, 255)
    return (
        f"#define LINUX_VERSION_CODE {code}\n"
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))\n"
    )
