"""`%%bpf` cells in what nbconvert makes of a notebook: on the command line, and by JupyterLab's menu."""

from __future__ import annotations

import subprocess
import sys
import urllib.parse

import pytest
from bs4 import BeautifulSoup

BPF = "%%bpf opens --for 10s\nstruct event { u32 pid; };\n\nint on_open(void *ctx)\n{\n\treturn 0;\n}"
CELLS = [BPF, "import os"]
KEYWORDS = {"struct": "k", "int": "kt", "void": "kt", "return": "k"}  # pygments' short names of C's tokens


def check(page):
    soup = BeautifulSoup(page, "html.parser")
    bpf, python = soup.select(".highlight pre")
    assert bpf.text.rstrip("\n") == CELLS[0]
    assert {span.text: span["class"][0] for span in bpf.select("span[class]") if span.text in KEYWORDS} == KEYWORDS
    assert [span.text for span in python.select("span.kn")] == ["import"]
    assert python.text.rstrip("\n") == CELLS[1]


@pytest.fixture(scope="module")
def saved(server):
    return server.write("exported.ipynb", CELLS)


def test_the_command_line_exports_c_with_the_classic_template_too(saved, server):
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--template", "classic", "--stdout", str(saved)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=server.environment)
    check(done.stdout)


def test_the_menu_of_jupyterlab_exports_c(saved, server):
    check(server.get(f"nbconvert/html/{urllib.parse.quote(saved.name)}?download=false"))


def test_languages_of_other_magics_stay_as_they_were(server):
    path = server.write("others.ipynb", ["%%bash\nif true; then echo 1; fi", "%%bpftrace x\nint y"])
    page = BeautifulSoup(server.get(f"nbconvert/html/{path.name}?download=false"), "html.parser")
    bash, bpftrace = page.select(".highlight pre")
    assert "if" in [span.text for span in bash.select("span.k")]
    assert "int" not in [span.text for span in bpftrace.select("span")]
