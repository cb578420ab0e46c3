"""BCC's library: found where it is, read without being loaded, and told from what PyPI calls bcc."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ebpflab import health, toolchain
from ebpflab.bcc import library
from ebpflab.errors import ToolMissingError


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the library."""
    toolchain._looked_up.cache_clear()
    monkeypatch.setattr(toolchain, "library_folders", lambda: iter(()))
    monkeypatch.delenv("EBPFLAB_LIBBCC", raising=False)
    monkeypatch.delitem(sys.modules, "bcc", raising=False)


@pytest.mark.usefixtures("nowhere")
def test_a_missing_library_comes_with_the_command_that_installs_it() -> None:
    with pytest.raises(ToolMissingError) as caught:
        library.find_libbcc()
    assert caught.value.what == "libbcc was not found; it is needed for %%bpf cells in BCC's C"
    assert caught.value.hint == toolchain.install_hint(["libbcc"])


def test_a_folder_in_the_place_of_the_library_is_a_missing_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBPFLAB_LIBBCC", str(tmp_path))
    with pytest.raises(ToolMissingError, match="which is a folder") as caught:
        library.find_libbcc()
    assert caught.value.what == f"EBPFLAB_LIBBCC names {tmp_path}, which is a folder"
    assert "unset it" in str(caught.value.hint)


@pytest.mark.usefixtures("nowhere")
def test_the_bcc_of_pypi_is_named_as_another_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As pip installs it: the package, and beside it what tells its version.
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").write_text("")
    (tmp_path / "bcc-0.1.10.dist-info").mkdir()
    (tmp_path / "bcc-0.1.10.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: bcc\nVersion: 0.1.10\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = f"the package bcc 0.1.10 in {tmp_path / 'bcc'} is another project of that name, from PyPI"
    with pytest.raises(ToolMissingError) as caught:
        library.find_libbcc()
    assert said in str(caught.value)
    gone = next(row for row in health.doctor().rows if row.name == "libbcc")
    assert (gone.state, gone.needed, gone.fix) == ("missing", False, toolchain.install_hint(["libbcc"]))
    assert said in gone.detail
    assert "bcc" not in sys.modules


def test_the_real_package_is_not_called_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bcc").mkdir()
    for name in ("__init__.py", "libbcc.py"):
        (tmp_path / "bcc" / name).write_text("")
    monkeypatch.delitem(sys.modules, "bcc", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert library.wrong_package() == ""


def test_a_library_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "libbcc.so.0.99.1"
    own.write_bytes(b"")
    monkeypatch.setenv("EBPFLAB_LIBBCC", str(own))
    assert (library.find_libbcc(), library.version()) == (own, "0.99.1")
    monkeypatch.setenv("EBPFLAB_LIBBCC", str(tmp_path / "gone"))
    with pytest.raises(ToolMissingError, match=r"EBPFLAB_LIBBCC names .*gone, and there is no such file"):
        library.find_libbcc()


def test_a_header_is_read_from_between_the_strings_of_the_library(tmp_path: Path) -> None:
    made = tmp_path / "libbcc.so.0"
    made.write_bytes(b"\x7fELF\0other\0\n#ifndef __BPF_HELPERS_H\n#define __BPF_HELPERS_H\n#endif\n\0/virtual/x\0")
    assert library.header("helpers.h", made) == "\n#ifndef __BPF_HELPERS_H\n#define __BPF_HELPERS_H\n#endif\n"
    with pytest.raises(ToolMissingError, match=r"carries no proto\.h"):
        library.header("proto.h", made)
