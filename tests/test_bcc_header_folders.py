"""Folders of real kernel headers: every layout that distributions use is found, and a wrong one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ebpflab.bcc import kernel_headers, messages
from ebpflab.bcc.kernel_headers import find
from ebpflab.errors import CellError

OTHER = "6.1.0-99-amd64"


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def written(folder: Path) -> Path:
    put(folder / "include/linux/kconfig.h")
    return folder


def made(folder: Path, release: str = OTHER) -> Path:
    put(folder / "include/generated/autoconf.h")
    put(folder / "include/generated/utsrelease.h", f'#define UTS_RELEASE "{release}"\n')
    return folder


def debian(root: Path, flavour: str = "amd64", release: str = OTHER) -> tuple[Path, Path]:
    """The two folders of Debian's packages, whose Makefile names the place where they are installed."""
    common = written(root / "usr/src/linux-headers-6.1.0-99-common")
    build = made(root / f"usr/src/linux-headers-6.1.0-99-{flavour}", release)
    put(build / "Makefile", "include /usr/src/linux-headers-6.1.0-99-common/Makefile\n")
    return common, build


def test_one_folder_with_everything_is_its_own_source(tmp_path: Path) -> None:
    found = find(made(written(tmp_path)))
    assert (found.source, found.build, found.release) == (tmp_path, tmp_path, OTHER)
    assert len(found.folders) == 6 + len({"arch/x86/include/generated", "include/generated/uapi"}) - 1
    assert found.foreign


def test_both_folders_of_debian_s_packages_lead_to_the_same_headers(tmp_path: Path) -> None:
    common, build = debian(tmp_path)
    for given in (common, build):
        found = find(given)
        assert (found.source, found.build, found.release) == (common, build, OTHER)
        assert [f for f in found.folders if f.name == "include"][-2:] == [common / "include", build / "include"]


@pytest.mark.parametrize("way", ["link to Debian's folder", "a link source inside", "links beside each other"])
def test_the_links_of_a_kernel_s_modules_lead_there_too(tmp_path: Path, way: str) -> None:
    modules = tmp_path / "lib/modules/6.1.0-99-amd64"
    modules.mkdir(parents=True)
    if way == "link to Debian's folder":
        source, build = debian(tmp_path)
    else:
        source, build = written(tmp_path / "sources"), made(tmp_path / "out")
        (build / "source" if way == "a link source inside" else modules / "source").symlink_to(source)
    (modules / "build").symlink_to(build)
    found = find(modules / "build")
    assert (found.source.resolve(), found.build.resolve(), found.release) == (source, build, OTHER)


def test_of_several_kernels_that_share_headers_the_running_one_s_are_meant(tmp_path: Path) -> None:
    common, first = debian(tmp_path)
    _, second = debian(tmp_path, "rt-amd64")
    with pytest.raises(CellError, match="shared by the headers of 2 kernels") as caught:
        find(common)
    assert str(first) in str(caught.value.hint)
    assert str(second) in str(caught.value.hint)
    _, running = debian(tmp_path, "cloud-amd64", os.uname().release)
    assert find(common).build == running
    assert not find(common).foreign


def test_a_wrong_folder_is_told_with_what_a_right_one_holds(tmp_path: Path) -> None:
    for folder, what in (
        (tmp_path, "holds no kernel headers: it has no include/linux/kconfig.h"),
        (tmp_path / "gone", "is not a folder"),
        (made(tmp_path / "half"), "the headers that belong to it are missing"),
    ):
        with pytest.raises(CellError, match=what) as caught:
            find(folder)
        assert "include/linux and include/generated" in str(caught.value.hint)
        assert f"/lib/modules/{os.uname().release}/build" in str(caught.value.hint)


def test_the_warning_names_both_kernels_and_what_can_go_wrong() -> None:
    text = messages.foreign(OTHER).message
    assert OTHER in text
    assert os.uname().release in text
    assert "read at wrong offsets, which gives wrong values and no error" in text
    assert "an unnamed kernel" in messages.foreign("").message


def test_headers_that_are_replaced_are_other_headers(tmp_path: Path) -> None:
    before = find(made(written(tmp_path))).identity
    put(tmp_path / "include/generated/autoconf.h", "#define CONFIG_X 1\n")
    assert find(tmp_path).identity != before
    assert kernel_headers.find(tmp_path) == find(tmp_path)
