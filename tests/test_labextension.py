"""What Jupyter reads of ours without running it: the extension of JupyterLab, and the settings of nbconvert."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from nbconvert.filters.highlight import Highlight2HTML

ROOT = Path(__file__).resolve().parents[1]
EXTENSION = ROOT / "ebpflab" / "labextension"
SCRIPTS = sorted((EXTENSION / "static").glob("*.js"))
CONTAINER = EXTENSION / "static" / "extension.js"
PACKAGE = json.loads((EXTENSION / "package.json").read_text())


def test_the_extension_has_the_version_of_the_package() -> None:
    found = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    assert PACKAGE["version"] == found[1]


def test_a_browser_never_runs_an_old_script() -> None:
    # Jupyter lets browsers keep files of extensions for a year: the address has to change when a script does. The
    # container hands what follows the "?" of its own address on to the other scripts.
    digest = hashlib.sha256(b"".join(script.read_bytes() for script in SCRIPTS)).hexdigest()[:8]
    assert PACKAGE["jupyterlab"]["_build"]["load"] == f"static/{CONTAINER.name}?v={digest}"
    assert "new URL(name + new URL(src).search, src)" in CONTAINER.read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_scripts_are_javascript(script: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node on PATH")
    done = subprocess.run([node, "--check", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_script_is_the_container_that_the_package_names() -> None:
    text = CONTAINER.read_text()
    assert f"window._JUPYTERLAB.{PACKAGE['name']} = {{" in text
    assert f'"{PACKAGE["jupyterlab"]["_build"]["extension"]}": ' in text


def test_the_container_loads_all_other_scripts_and_each_makes_a_plugin() -> None:
    (listed,) = re.findall(r"const PLUGINS = (\[.*\]);", CONTAINER.read_text())
    assert json.loads(listed) == [script.name for script in SCRIPTS if script != CONTAINER]
    for script in SCRIPTS:
        assert ("export async function plugin(shared)" in script.read_text()) == (script != CONTAINER)


def test_nbconvert_colours_a_cell_by_our_lexer_and_shows_it_plain_where_that_is_not() -> None:
    # The file may be read by an nbconvert of another environment, where no module of ours can be imported.
    settings = json.loads((ROOT / "ebpflab" / "jupyter" / "nbconvert.json").read_text())
    (preprocessor,) = settings["preprocessors"].values()
    assert preprocessor.pop("type").startswith("nbconvert.preprocessors.")
    assert preprocessor == {"enabled": True, "languages": {"%%bpf": "bpf"}}
    highlight = Highlight2HTML()
    assert '<span class="cp">%%bpf x' in highlight("%%bpf x\nint a;", language="bpf")
    with pytest.warns(UserWarning, match="Treating as plain text"):
        assert "%%bpf x\nint a;" in highlight("%%bpf x\nint a;", language="no such lexer")
