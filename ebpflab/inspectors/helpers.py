"""What a BPF program may call: helpers, kfuncs, and the macros that are used like functions.

Helpers are described in the comments of the kernel's ``include/uapi/linux/bpf.h``, from which libbpf's header
``bpf/bpf_helper_defs.h`` is made; that of the libbpf installed here is read. A kfunc's types are in the kernel's BTF,
which knows no comments.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import TypeNotFoundError
from ..formatting import Code, Head, Note, Part, html, text
from ..similar import did_you_mean, nearest
from ..tables import helpers as first_kernels
from ..tables import macros
from ..toolchain import find_libbpf_headers
from . import kernel_btf
from ._kfuncs import Kfunc, kfuncs
from .btf_source import open_btf
from .layout import vmlinux

if TYPE_CHECKING:
    from pathlib import Path

    from ..btf import Btf

# A comment, and the definition of a pointer to the helper. Newer libbpf says `const`, and `__bpf_fastcall`.
_LISTS = "%bpf features --kind helper lists those of this kernel"
_DEFINITION = re.compile(
    r"(?:^/\*\n(?P<comment>(?: \*(?!/).*\n)*) \*/\n)?"
    r"^static (?:__\w+call )?(?P<returns>[^(]*?) ?\(\* ?(?:const )?(?P<name>bpf_\w+)\)"
    r"\((?P<parameters>.*)\) = \(void \*\) ?(?P<number>\d+);",
    re.MULTILINE,
)
_PARAMETER = re.compile(r"(?P<type>.*?)(?P<name>\w*)")
# The marks of reStructuredText, which the comments are written in: **bold**, *names*, ``code`` and "\\ ", which is
# nothing and keeps two of them apart.
_NAME = re.compile(r"(?<![\w*])\*(\\?[\w/][^*\n]*?)\*(?!\*)")
_NOTHING = re.compile(r"\\ |\\(?=\S)|\*\*|``")
_SENTENCE = re.compile(r".*?(?<!e\.g)(?<!i\.e)\.(?=\s|$)")


class Parameter(NamedTuple):
    """A parameter: its type as C spells it, and its name."""

    type: str
    name: str


@dataclass(frozen=True, repr=False)
class Helper:
    """Something that a program calls; made by :func:`helper`, :func:`kfunc` and :func:`macro`.

    Attributes
    ----------
    name
        What is called.
    kind
        "helper", "kfunc" or "macro".
    signature
        The declaration as C.
    returns, parameters
        The types, with the parameters' names; a macro has neither.
    number
        A helper's number in ``enum bpf_func_id``, else 0.
    first_kernel
        The first Linux that has a helper; "" where that is not known.
    """

    name: str
    kind: str
    signature: str
    returns: str = ""
    parameters: tuple[Parameter, ...] = ()
    number: int = 0
    first_kernel: str = ""
    _comment: str = ""

    @property
    def doc(self) -> str:
        """The whole description, a paragraph to a line; examples in C keep their lines."""
        return _reflowed(self._comment)

    @property
    def summary(self) -> str:
        """The first sentence of the description."""
        first = self.doc.partition("\n")[0]
        sentence = _SENTENCE.match(first)
        return sentence[0] if sentence else first

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as values that JSON has."""
        names = ("name", "kind", "signature", "returns", "number", "first_kernel", "summary", "doc")
        found = {name: getattr(self, name) for name in names}
        return found | {"parameters": [p._asdict() for p in self.parameters]}

    def __repr__(self) -> str:
        return text(self._document())

    def _repr_html_(self) -> str:
        # The description is long: it opens on a click.
        rest = html([Code(self._rest())]) if self._rest() else ""
        more = f"<details><summary>more</summary>{rest}</details>" if rest else ""
        return f"{html(self._head())}{more}"

    def _rest(self) -> str:
        return self.doc[len(self.summary) :].strip()

    def _head(self) -> list[Part]:
        since = f"Linux {self.first_kernel}" if self.first_kernel else ""
        parts: list[Part] = [Head(self.name, self.kind, "ok", since), Code(self.signature, language="c")]
        return parts + ([Note(self.summary)] if self.summary else [])

    def _document(self) -> list[Part]:
        return self._head() + ([Code(self._rest())] if self._rest() else [])


def helper(name: str) -> Helper:
    """Return what a BPF helper takes and does, and the first kernel that has it.

    Parameters
    ----------
    name
        As programs call it; ``bpf_`` may be left out.

    Raises
    ------
    TypeNotFoundError
        There is none of that name; names the nearest.
    ToolMissingError
        libbpf's headers are not installed.

    Examples
    --------
    >>> helper("bpf_ktime_get_ns").signature
    '__u64 bpf_ktime_get_ns(void)'
    """
    known = _helpers()
    found = known.get(name) or known.get(f"bpf_{name}")
    if found is not None:
        return found
    if name in first_kernels():
        hint = f"it came with Linux {first_kernels()[name]}: install the headers of a newer libbpf"
        raise TypeNotFoundError(f"libbpf's headers here are older than the helper {name}", hint=hint)
    near = nearest(name, known)
    raise TypeNotFoundError(f"no BPF helper is called {name!r}", nearest=near, hint=did_you_mean(near) or _LISTS)


def helpers() -> tuple[Helper, ...]:
    """Return all BPF helpers that libbpf's headers know, in the order of their numbers.

    Raises
    ------
    ToolMissingError
        libbpf's headers are not installed.

    Examples
    --------
    >>> helpers()[0].name
    'bpf_map_lookup_elem'
    """
    return tuple(_helpers().values())


def kfunc(name: str) -> Helper:
    """Return the declaration of a kfunc: a function of the running kernel, or of a module, for programs to call.

    Raises
    ------
    TypeNotFoundError
        There is none of that name; names the nearest.
    KernelSupportError
        The kernel carries no BTF.

    Examples
    --------
    >>> kfunc("bpf_rcu_read_lock").signature
    'void bpf_rcu_read_lock(void)'
    """
    known = _kfuncs_by_name(_modules())
    found = known.get(name)
    if found is None:
        near = nearest(name, known)
        hint = did_you_mean(near) or (None if known else "this kernel has none, or does not say which they are")
        raise TypeNotFoundError(f"no kfunc of this kernel is called {name!r}", nearest=near, hint=hint)
    btf = open_btf(found.module).btf if found.module else vmlinux()
    owner = f"the module {found.module}" if found.module else "the kernel"
    return _of_kfunc(btf, found, f"A function of {owner} that programs declare as extern with __ksym.")


def kfunc_names() -> tuple[str, ...]:
    """Return the names of all kfuncs of the running kernel and its modules, sorted.

    Examples
    --------
    >>> "bpf_rcu_read_lock" in kfunc_names()
    True
    """
    return tuple(sorted(_kfuncs_by_name(_modules())))


def macro(name: str) -> Helper:
    """Return a macro of libbpf's headers, or of our prelude, that is used like a function.

    Raises
    ------
    TypeNotFoundError
        There is none of that name; names the nearest.

    Examples
    --------
    >>> macro("BPF_CORE_READ").signature
    'BPF_CORE_READ(src, a, b, ...)'
    """
    found = macros().get(name)
    if found is None:
        near = nearest(name, macros())
        raise TypeNotFoundError(f"no macro is called {name!r}", nearest=near, hint=did_you_mean(near))
    since = f" It takes libbpf {found.since}." if found.since else ""
    return Helper(name, "macro", found.signature, _comment=found.summary + since)


def reference(word: str) -> Helper | None:
    """Return the helper, macro or kfunc of that name; None if it is nothing of these.

    Examples
    --------
    >>> reference("BPF_CORE_READ").kind, reference("main")
    ('macro', None)
    """
    if word in _helpers():
        return helper(word)
    if word in macros():
        return macro(word)
    return kfunc(word) if word in _kfuncs_by_name(_modules()) else None


def _helpers() -> dict[str, Helper]:
    path = find_libbpf_headers() / "bpf" / "bpf_helper_defs.h"
    return _of_header(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=2)
def _of_header(path: Path, _changed: int) -> dict[str, Helper]:
    return {found.name: found for found in parse(path.read_text(encoding="utf-8"))}


def parse(header: str) -> list[Helper]:
    """Return the helpers that the text of a ``bpf_helper_defs.h`` defines."""
    return [_of_definition(found) for found in _DEFINITION.finditer(header)]


def _of_definition(found: re.Match[str]) -> Helper:
    name, returns = found["name"], found["returns"]
    listed = found["parameters"].split(", ")
    parameters = tuple(_parameter(one) for one in listed if one not in ("", "void"))
    signature = f"{_spaced(returns)}{name}({found['parameters']})"
    number = int(found["number"])
    since = first_kernels().get(name, "")
    return Helper(name, "helper", signature, returns, parameters, number, since, found["comment"] or "")


def _parameter(declared: str) -> Parameter:
    found = _PARAMETER.fullmatch(declared)
    return Parameter(declared, "") if found is None else Parameter(found["type"].strip(), found["name"])


def _spaced(c_type: str) -> str:
    return c_type if c_type.endswith("*") else f"{c_type} "


@functools.lru_cache(maxsize=1)
def _kfuncs_by_name(_modules: tuple[str, ...]) -> dict[str, Kfunc]:
    return {found.name: found for found in kfuncs(vmlinux())}


def _modules() -> tuple[str, ...]:
    # Kfuncs come and go with the modules that have them.
    vmlinux()  # says so where there is no BTF
    return tuple(sorted(path.name for path in kernel_btf.DIRECTORY.iterdir()))


def _of_kfunc(btf: Btf, found: Kfunc, summary: str) -> Helper:
    proto = btf[btf[found.btf_id].type_id]
    returns = btf.c_type(proto.type_id)
    parameters = tuple(Parameter(btf.c_type(p.type_id) if p.type_id else "...", p.name) for p in proto.params)
    declared = (btf.c_type(p.type_id, p.name) if p.type_id else "..." for p in proto.params)
    signature = f"{_spaced(returns)}{found.name}({', '.join(declared) or 'void'})"
    return Helper(found.name, "kfunc", signature, returns, parameters, _comment=summary)


def _reflowed(comment: str) -> str:
    # A paragraph becomes a line; what is indented under one, a list or an example in C, keeps its lines.
    lines = [re.sub(r"^ \*[ ]?\t?", "", line) for line in comment.splitlines()] if comment[:2] == " *" else [comment]
    out: list[str] = []
    joins = literal = False
    for line in lines[1:] if re.fullmatch(r"\s*bpf_\w+\s*", lines[0]) else lines:
        indented = line.startswith(("\t", "  "))
        literal = literal and (indented or not line)
        if joins and line and not indented and not line.startswith("* "):
            out[-1] = _plain(f"{out[-1]} {line}")
        elif not line.endswith("::"):
            out.append(line.replace("\t", "    ").rstrip() if literal else _plain(line.replace("\t", "    ")))
        elif line != "::":
            out.append(_plain(line[:-1]))
        literal = literal or line.endswith("::")
        joins = bool(line) and not indented and line != "Returns"
    return re.sub(r"\n{2,}", "\n\n", "\n".join(out)).strip()


def _plain(line: str) -> str:
    # Without marks, but for a backslash at the end: what it joins comes with the next line.
    return _NOTHING.sub("", _NAME.sub(r"\1", line)).rstrip()
