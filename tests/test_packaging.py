from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from this tree."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def carried(wheel: Path) -> set[str]:
    """Names of the files in the wheel."""
    return set(zipfile.ZipFile(wheel).namelist())


def sources(folder: str, pattern: str) -> set[str]:
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob(pattern) if path.is_file()}
    found = {name for name in found if "__pycache__" not in name and ".ipynb_checkpoints" not in name}
    assert found, f"there is no {pattern} in {folder}"
    return found


@pytest.mark.parametrize(
    ("folder", "pattern"),
    [
        ("ebpflab", "*.py"),
        ("ebpflab", "py.typed"),
        ("ebpflab/compile/include", "*.h"),
        ("ebpflab/bcc/headers", "*.h"),
        ("ebpflab/tables", "*.txt"),
        ("ebpflab/_native", "*.c"),
    ],
)
def test_the_wheel_carries_the_package_with_its_c_sources(carried: set[str], folder: str, pattern: str) -> None:
    assert sources(folder, pattern) - carried == set()


@pytest.mark.parametrize(("folder", "pattern"), [("bpf_src", "*.bpf.c"), ("notebooks", "*.ipynb")])
def test_the_wheel_carries_tools_and_notebooks_inside_the_package(carried: set[str], folder: str, pattern: str) -> None:
    assert {f"ebpflab/{name}" for name in sources(folder, pattern)} - carried == set()


def test_the_wheel_carries_nothing_else(carried: set[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in carried} == {"ebpflab"}
    assert not any("__pycache__" in name or name.endswith(".o") for name in carried)


def test_an_installed_wheel_puts_its_parts_where_jupyter_looks(wheel: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", fresh], check=True, timeout=60)
    pip = [sys.executable, "-m", "pip", "--python", fresh / "bin" / "python", "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, "-q", wheel], check=True, timeout=120)
    share = fresh / "share" / "jupyter"
    templates = share / "nbconvert" / "templates"
    assert (templates / "conf.json").read_bytes() == (ROOT / "ebpflab/jupyter/nbconvert.json").read_bytes()
    # JupyterLab itself says whether it can use the extension: this environment's, with the fresh one's extensions.
    command = [sys.executable, "-m", "jupyterlab.labextensions", "list"]
    found = {**os.environ, "JUPYTER_PATH": str(share), "NO_COLOR": "1"}
    listed = subprocess.run(command, env=found, capture_output=True, text=True, timeout=60, check=True)
    text = re.sub(r"\x1b\[[0-9;]*m", "", listed.stdout + listed.stderr)
    ours = text.partition(f"{share}/labextensions")[2].partition("/labextensions")[0]
    assert re.search(rf"^ +ebpflab v{re.escape(wheel.name.split('-')[1])} enabled OK", ours, re.MULTILINE), text


def test_no_module_lies_where_an_editable_install_cannot_take_it() -> None:
    # hatchling: "Dev mode installations are unsupported when any path rewrite ... changes a prefix".
    assert [path for folder in ("notebooks", "bpf_src") for path in (ROOT / folder).rglob("*.py")] == []
