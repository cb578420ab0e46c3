"""The parts of tests/vm that need no machine: file formats, choice of versions, command lines, reports."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st
from vm import VmError, apt, formats, host, image, kernels, warm

PYTHON = Path(sys.executable).resolve().read_bytes()

# --- The initrd: cpio ---------------------------------------------------------------------------------------

# What `printf 'bin\nbin/tool\nbin/sh\n' | cpio -o -H newc` of BusyBox 1.35 printed, up to the trailer's padding.
CPIO = (
    b"07070100234023000041ED0000000000000000000000026B02F08E00000000000000FE000000000000000000000000000000040000000"
    b"0bin\0\0\0"
    b"07070100234031000081ED0000000000000000000000016B02F08E00000005000000FE000000000000000000000000000000090000000"
    b"0bin/tool\0\0hello\0\0\0"
    b"070701002340410000A1FF0000000000000000000000016B02F08E00000004000000FE000000000000000000000000000000070000000"
    b"0bin/sh\0\0\0\0tool"
    b"070701%s0000000B00000000TRAILER!!!\0" % (b"0" * 88)
)
ENTRIES = [
    formats.directory("bin"),
    formats.program("bin/tool", b"hello"),
    formats.Entry("bin/sh", stat.S_IFLNK | 0o777, b"tool"),
]


def without_origin(archive: bytes) -> bytes:
    """The archive without inodes, numbers of links, times and devices, which say where the files were."""
    fields = rb"070701.{8}(.{24}).{16}(.{8}).{16}(.{32})"
    return re.sub(fields, lambda match: b"".join(match.groups()).upper(), archive, flags=re.DOTALL).rstrip(b"\0")


def test_an_archive_is_what_cpio_writes():
    assert without_origin(formats.archive(ENTRIES)) == without_origin(CPIO)


def test_a_device_has_its_numbers_and_every_file_an_inode_of_its_own():
    archive = formats.archive([*ENTRIES, formats.Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1))])
    headers = [archive[match.start() :][:110] for match in re.finditer(rb"070701", archive)]
    assert len({header[6:14] for header in headers}) == len(headers) == 5
    assert (headers[3][78:86], headers[3][86:94]) == (b"00000005", b"00000001")


@given(st.lists(st.tuples(st.text("ab/é", min_size=1, max_size=9), st.binary(max_size=9)), max_size=5))
def test_whatever_the_lengths_everything_starts_at_a_multiple_of_four(files):
    archive = formats.archive([formats.program(name, data) for name, data in files])
    at, found = 0, []
    while True:
        fields = [int(archive[at + start : at + start + 8], 16) for start in range(6, 110, 8)]
        name = archive[at + 110 :][: fields[11]].decode()
        data = at + 110 + fields[11]
        data += -data % 4
        if name == "TRAILER!!!\0":
            break
        found.append((name.removesuffix("\0"), archive[data : data + fields[6]]))
        at = data + fields[6]
        at += -at % 4
    assert found == files
    assert len(archive) % 4 == 0


# --- The kernel: bzImage and ELF ----------------------------------------------------------------------------


def bzimage(packed: bytes, *, sectors: int = 30) -> bytes:
    """A boot sector, setup code and a payload that ends with the size of what it holds, as Linux builds them."""
    head = bytearray(((sectors or 4) + 1) * 512)
    head[0x1F1] = sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, 77, len(packed) + 4)
    return bytes(head) + bytes(77) + packed + (123).to_bytes(4, "little") + b"more code"


PACKERS = {"gzip": gzip.compress, "xz": lzma.compress, "nothing": bytes}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("sectors", [0, 1, 30])
def test_the_kernel_in_a_bzimage_comes_out_whole(packer, sectors):
    vmlinux = b"\x7fELF" + os.urandom(997)
    assert formats.payload(bzimage(PACKERS[packer](vmlinux), sectors=sectors)) == vmlinux


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_zstd_is_undone_too():
    packed = subprocess.run(["zstd", "-c"], input=PYTHON[:9973], capture_output=True, check=True).stdout
    assert formats.decompress(packed) == PYTHON[:9973]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (PYTHON, "no bzImage"),
        (b"", "no bzImage"),
        (bzimage(b"plain text"), "no ELF file"),
        (bzimage(lzma.compress(b"\x7fELF" * 100)[:-9]), "damaged"),
        (bzimage(gzip.compress(b"\x7fELF" * 100)[:-9]), "damaged"),
    ],
)
def test_what_is_no_kernel_is_named(data, words):
    with pytest.raises(VmError, match=words):
        formats.payload(data)


def test_a_section_is_the_one_that_pyelftools_reads():
    expected = ELFFile(io.BytesIO(PYTHON)).get_section_by_name(".dynstr").data()
    assert formats.section(PYTHON, ".dynstr") == expected
    with pytest.raises(VmError, match=r"no section \.BTF$"):
        formats.section(PYTHON, ".BTF")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_readers(data):
    for read in (lambda: formats.section(b"\x7fELF\x02\x01" + data, ".BTF"), lambda: formats.payload(data)):
        with pytest.raises(VmError):
            read()


def test_a_program_is_static_when_no_interpreter_loads_it():
    headers = ELFFile(io.BytesIO(PYTHON))
    number = [segment["p_type"] for segment in headers.iter_segments()].index("PT_INTERP")
    at = headers["e_phoff"] + number * headers["e_phentsize"]
    assert not formats.is_static(PYTHON)
    assert formats.is_static(PYTHON[:at] + bytes(4) + PYTHON[at + 4 :])


# --- Modules ------------------------------------------------------------------------------------------------

# Of Debian's 5.10 and 6.12.
DEP_5_10 = """\
kernel/fs/9p/9p.ko: kernel/net/9p/9pnet.ko kernel/fs/fscache/fscache.ko
kernel/fs/fscache/fscache.ko:
kernel/net/9p/9pnet.ko:
kernel/drivers/char/hw_random/virtio-rng.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
"""
DEP_6_12 = """\
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
kernel/fs/netfs/netfs.ko.xz:
kernel/net/9p/9pnet.ko.xz: kernel/fs/netfs/netfs.ko.xz
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz kernel/fs/netfs/netfs.ko.xz
"""
BUILTIN_6_12 = "kernel/drivers/virtio/virtio.ko\nkernel/drivers/virtio/virtio_pci.ko\n"


def test_modules_are_loaded_after_all_that_they_need_and_once():
    order = formats.load_order(DEP_5_10, "", ["virtio_pci", "9p", "virtio_rng"])
    assert [path.rpartition("/")[2] for path in order] == [
        "virtio.ko", "virtio_ring.ko", "virtio_pci.ko", "fscache.ko", "9pnet.ko", "9p.ko", "virtio-rng.ko",
    ]  # fmt: skip


def test_what_is_built_in_is_not_loaded():
    order = formats.load_order(DEP_6_12, BUILTIN_6_12, ["virtio_pci", "9pnet_virtio", "9p"])
    assert [path.rpartition("/")[2] for path in order] == [
        "netfs.ko.xz", "9pnet.ko.xz", "9pnet_virtio.ko.xz", "9p.ko.xz",
    ]  # fmt: skip


def test_a_module_that_the_kernel_lacks_is_named():
    with pytest.raises(VmError, match="has no module overlay"):
        formats.load_order(DEP_6_12, BUILTIN_6_12, ["9p", "overlay"])


# --- Where kernels come from --------------------------------------------------------------------------------

ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] http://mirror.example/debian/ bookworm main contrib
deb-src http://sources.example/debian bookworm main
deb http://security.example/debian-security bookworm-security main
"""
DEB822 = """\
Types: deb
# http://snapshot.debian.org/archive/debian/20250520T000000Z
URIs: http://one.example/debian http://two.example/debian
Suites: bookworm bookworm-updates
Components: main
"""


def test_addresses_are_read_from_both_styles_of_sources():
    assert apt.addresses(ONE_LINE) == ["http://mirror.example/debian", "http://security.example/debian-security"]
    assert apt.addresses(DEB822) == ["http://one.example/debian", "http://two.example/debian"]


def test_kernels_come_from_the_mirrors_of_this_machine(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(ONE_LINE)
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    found = apt.mirrors(tmp_path)
    assert found.of("bookworm-backports") == "http://mirror.example/debian"
    assert found.of("bullseye-security") == "http://security.example/debian-security"


def test_where_no_source_is_debians_the_official_mirrors_serve(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb http://archive.ubuntu.com/ubuntu noble main\n")
    (tmp_path / "sources.list.d/old.sources.disabled").write_text(DEB822)
    assert apt.mirrors(tmp_path) == apt.Mirrors("http://deb.debian.org/debian", "http://deb.debian.org/debian-security")


# Names in Debian's archive in November 2026.
NAMES = """
    linux-base linux-image-amd64 linux-image-6.1-amd64
    linux-image-5.10.0-9-amd64 linux-image-5.10.0-46-amd64 linux-image-5.10.0-46-amd64-unsigned
    linux-image-5.10.0-47-cloud-amd64 linux-image-5.10.0-47-rt-amd64
    linux-image-6.1.0-0.deb11.52-amd64 linux-image-6.1.0-47-amd64 linux-image-6.1.0-50-amd64
    linux-image-6.12.9+deb12-amd64 linux-image-6.12.90+deb12-amd64 linux-image-6.12.90+deb12.1-amd64
    linux-image-6.12.90+deb12.1-cloud-amd64 linux-headers-6.12.99+deb12-amd64
    linux-image-6.18.9+deb13-amd64 linux-image-6.18.15+deb13-amd64
    linux-base-7.3.4+deb13-amd64 linux-binary-7.3.4+deb13-amd64 linux-modules-7.3.4+deb13-amd64
    linux-modules-7.2.12+deb13-amd64
"""
NEWEST = {
    "5.10": "5.10.0-46-amd64",
    "6.1": "6.1.0-50-amd64",
    "6.12": "6.12.90+deb12.1-amd64",
    "6.18": "6.18.15+deb13-amd64",
    "7.3": "7.3.4+deb13-amd64",
}


@pytest.mark.parametrize("kernel", kernels.TABLE, ids=lambda kernel: kernel.name)
def test_the_newest_plain_kernel_of_a_suite_is_chosen(kernel):
    assert apt.newest(NAMES.split(), kernel.sources[0][1]) == NEWEST[kernel.name]


def test_a_suite_without_the_kernel_has_no_newest():
    assert apt.newest(NAMES.split(), r"5\.15\..*") is None


def test_a_kernel_is_found_by_its_name_and_others_get_the_nearest():
    assert kernels.find("6.1").name == "6.1"
    with pytest.raises(VmError, match=r"no kernel '6\.21' .* perhaps 6\.1, "):
        kernels.find("6.21")


def test_the_cache_is_where_the_environment_says(tmp_path, monkeypatch):
    monkeypatch.delenv("EBPFLAB_VM_CACHE", raising=False)
    assert kernels.cache() == kernels.ROOT / "build/vm/kernels"
    monkeypatch.setenv("EBPFLAB_VM_CACHE", str(tmp_path))
    assert kernels.find("7.3").folder == tmp_path / "7.3"


def test_an_image_that_older_code_made_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("EBPFLAB_VM_CACHE", str(tmp_path))
    kernel = kernels.find("6.12")
    assert image.cached(kernel) is None
    kernel.folder.mkdir()
    about = {"version": "6.12.95+deb12-amd64", "digest": "d", "recipe": image._recipe()}
    (kernel.folder / "image.json").write_text(json.dumps(about))
    assert image.cached(kernel).version == "6.12.95+deb12-amd64"
    (kernel.folder / "image.json").write_text(json.dumps({**about, "recipe": "older"}))
    assert image.cached(kernel) is None


def test_a_tree_holds_one_kernel(tmp_path):
    (tmp_path / "lib/modules/6.1.0-50-amd64").mkdir(parents=True)
    assert image.version_in(tmp_path) == "6.1.0-50-amd64"
    (tmp_path / "lib/modules/6.1.0-51-amd64").mkdir()
    with pytest.raises(VmError, match="holds 2 kernels"):
        image.version_in(tmp_path)


# --- What is compiled for a guest ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "wanted"),
    [
        (["pytest", "tests/kernel"], True),
        (["pytest", "-q", "tests/kernel/test_verifier_corpus.py"], True),
        ([".venv/bin/python", "-u", "tests/kernel/verifier_corpus.py"], True),
        (["pytest", "-m", "hook", "tests/kernel"], False),
        (["pytest", "tests/kernel/test_session.py"], False),
        (["dmesg"], False),
    ],
)
def test_the_refused_programs_are_compiled_only_for_runs_of_their_tests(command, wanted):
    assert warm.wants_verifier(command) is wanted


# --- What this machine lacks --------------------------------------------------------------------------------


def test_packages_are_missing_whose_programs_are_not_there(monkeypatch):
    monkeypatch.setattr(host, "find", lambda program: None if program.startswith("qemu") else sys.executable)
    monkeypatch.setattr(host, "KEYRING", Path("/no/keyring"))
    # The busybox found here is Python, which needs libraries.
    assert host.missing() == ["qemu-system-x86", "busybox-static", "debian-archive-keyring"]


def test_who_cannot_install_is_told_the_command(monkeypatch):
    monkeypatch.setattr(host, "find", lambda program: f"/usr/bin/{program}")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(VmError, match=r"sudo apt-get install .* qemu-system-x86 kmod"):
        host.install(["qemu-system-x86", "kmod"])


def test_where_there_is_no_apt_the_packages_are_named(monkeypatch):
    monkeypatch.setattr(host, "find", lambda program: None)
    with pytest.raises(VmError, match="there is no apt-get here; install what Debian calls kmod"):
        host.install(["kmod"])
