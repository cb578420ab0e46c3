"""The front door: what ``import ebpflab`` offers is what it says it offers, with words and an example for each."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ebpflab

ROOT = Path(__file__).parents[1]
NAMES = [name for name in ebpflab.__all__ if not name.startswith("__")]
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(ebpflab, name))]
CLASSES = [name for name in NAMES if inspect.isclass(getattr(ebpflab, name))]


def sections(docstring):
    """The headings of a numpy docstring."""
    return re.findall(r"^(\w[\w ]*)\n-{3,}$", inspect.cleandoc(docstring), re.MULTILINE)


def members(cls):
    own = [
        (name, value) for c in cls.__mro__[:-1] if c.__module__.startswith("ebpflab") for name, value in vars(c).items()
    ]
    return [
        (name, value)
        for name, value in own
        if not name.startswith("_") and (callable(value) or isinstance(value, property))
    ]


def test_all_names_are_exactly_those_that_are_exported_lazily():
    assert set(ebpflab._HOMES) | {"__version__"} == set(ebpflab.__all__)
    assert len(set(ebpflab.__all__)) == len(ebpflab.__all__)


def test_all_is_sorted_so_that_a_name_is_found():
    assert list(ebpflab.__all__) == sorted(ebpflab.__all__, key=lambda name: (not name[0].isupper(), name))


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_comes_from_where_it_is_said_to_live(name):
    found = getattr(ebpflab, name)
    assert found.__name__ == name
    assert found.__module__.startswith(f"ebpflab{ebpflab._HOMES[name]}")


def test_type_checkers_see_the_same_names():
    source = (ROOT / "ebpflab" / "__init__.py").read_text()
    block = source.partition("if TYPE_CHECKING:\n")[2].partition("\n\n")[0]
    imported = [
        n.strip().split(" as ")[-1] for line in re.findall(r"import (.+)", block) for n in line.strip("()").split(",")
    ]
    assert sorted(imported) == sorted(ebpflab._HOMES)


def test_dir_lists_the_public_names():
    assert set(ebpflab.__all__) <= set(dir(ebpflab))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ebpflab.nonsense


def test_import_star_brings_all_of_them():
    space: dict[str, object] = {}
    exec("from ebpflab import *", space)
    assert set(ebpflab.__all__) <= set(space)


def test_looking_a_name_up_needs_no_other_import():
    script = f"import ebpflab; print(*(getattr(ebpflab, n).__name__ for n in {NAMES!r}))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.split() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_says_in_one_line_what_it_is(name):
    first = inspect.getdoc(getattr(ebpflab, name)).split("\n")[0]
    assert re.match(r"[A-Z]", first)
    assert first.endswith((".", ";", ":", ","))
    assert len(first) > 20


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_public_function_has_an_example_that_calls_it(name):
    doc = inspect.getdoc(getattr(ebpflab, name))
    assert "Examples" in sections(doc)
    example = doc.partition("Examples\n--------\n")[2]
    assert re.search(rf">>> .*\b{name}\(", example)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_of_a_public_function_is_described(name):
    function = getattr(ebpflab, name)
    described = re.findall(r"^(\w[\w, ]*)(?: :.*)?\n    ", inspect.getdoc(function), re.MULTILINE)
    names = {n.strip() for line in described for n in line.split(",")}
    assert set(inspect.signature(function).parameters) <= names


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_of_a_public_function_has_a_type(name):
    signature = inspect.signature(getattr(ebpflab, name))
    untyped = [p.name for p in signature.parameters.values() if p.annotation is p.empty]
    assert (untyped, signature.return_annotation is signature.empty) == ([], False)


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_method_says_what_it_does(name):
    silent = [member for member, value in members(getattr(ebpflab, name)) if not inspect.getdoc(value)]
    assert silent == []


def test_the_version_is_that_of_the_package():
    written = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert ebpflab.__version__ == written[1]


def test_load_has_the_signature_of_the_design():
    parameters = inspect.signature(ebpflab.load).parameters
    assert next(iter(parameters)) == "source"
    wanted = {
        "name": None,
        "engine": "auto",
        "attach": True,
        "targets": None,
        "vars": None,
        "keep": None,
        "unsafe": False,
    }
    assert {n: parameters[n].default for n in wanted} == wanted
    assert all(parameters[n].kind is inspect.Parameter.KEYWORD_ONLY for n in wanted)
