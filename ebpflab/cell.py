"""A cell as a frozen value: its text, and what can be read off the text without a compiler.

Nothing here knows clang, the kernel or IPython: the same text gives the same :class:`Cell` everywhere.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from .errors import CellError, Location

# Each of these takes time linear in the text, also where a comment, a string or a brace never ends.
_QUOTED = r""""(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'?"""
_COMMENT = re.compile(rf"//[^\n\\]*(?:\\(?:\r\n|.)[^\n\\]*)*|/\*.*?(?:\*/|\Z)|({_QUOTED})", re.DOTALL)
_STRING = re.compile(_QUOTED, re.DOTALL)
_DIRECTIVE = re.compile(r"^[ \t]*#(?:\\\r?\n|[^\n])*", re.MULTILINE)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
_SECTION = re.compile(r'\bSEC\(\s*"([^"]*)"\s*\)')
_SECTION_MACRO = re.compile(r"^[ \t]*#[ \t]*define\b(?:\\\r?\n|[^\n])*\b(?:SEC|section)\b", re.MULTILINE)
_DATA_SECTION = re.compile(r"\.|license$|version$|maps$|\?\.")
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(\w+)", re.MULTILINE)
_ATTRIBUTE = re.compile(
    r"__attribute__\s*\(\([^()]*(?:\([^()]*\)[^()]*)*\)\)|\b(?:__)?typeof(?:__)?\s*\([^()]*\)|\b__(?:packed|hidden|weak)\b"
)
_BREAK = re.compile(r"[{};]")
_TAG = re.compile(r"\b(struct|union|enum)(?:\s+([A-Za-z_]\w*))?(?:\s*:[\w\s]*)?\Z")
_TYPEDEF = re.compile(r"\btypedef\b")
_POINTER = re.compile(r"[^(]*\(\s*\*\s*(\w+)")
_MAP = re.compile(r'\s*([A-Za-z_]\w*)\s*SEC\(\s*"\.maps"\s*\)')
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_BUFFER_TYPES = ("BPF_MAP_TYPE_RINGBUF", "BPF_MAP_TYPE_PERF_EVENT_ARRAY")

# What only BCC's rewriter understands; one of these decides the dialect (bcc: docs/reference_guide.md).
_BCC_MARKS = re.compile(
    r"^[ \t]*#[ \t]*include[ \t]*<(?:bcc|uapi)/"
    r"|\b(BPF_(?:F_TABLE|TABLE(?:_PUBLIC|_SHARED|_PINNED)?|(?:PERCPU_)?(?:HASH|ARRAY)|HISTOGRAM|STACK_TRACE(?:_BUILDID)?"
    r"|PERF_OUTPUT|RINGBUF_OUTPUT|PERF_ARRAY|CGROUP_ARRAY|PROG_ARRAY|LPM_TRIE|QUEUE|STACK|DEVMAP|CPUMAP|XSKMAP|SOCKMAP"
    r"|SOCKHASH|(?:ARRAY|HASH)_OF_MAPS|(?:SK|INODE|TASK|CGROUP|PERCPU_CGROUP)_STORAGE|ITER)\s*\("
    r"|(?:RAW_)?TRACEPOINT_PROBE\s*\(|K(?:RET)?FUNC_PROBE\s*\(|KMOD_RET\s*\(|LSM_PROBE\s*\("
    r"|(?:kprobe|kretprobe|syscall|raw_tracepoint|kfunc|kretfunc)__\w+\s*\(|tracepoint__\w+?__\w+\s*\("
    r"|bpf_usdt_readarg(?:_p)?\s*\(|cursor_advance\s*\(|bpf_trace_printk\s*\(|PT_REGS_\w+\s*\("
    r"|\w+\.(?:perf_submit(?:_skb)?|ringbuf_(?:output|reserve|submit|discard)|lookup(?:_or_try_init|_or_init)?|(?:atomic_)?increment|get_stackid|perf_read|redirect_map)\s*\()",
    re.MULTILINE,
)
# These say it only where nothing speaks of libbpf: its programs use them, too.
_LIBBPF = re.compile(r'\b(?:SEC|__section|section)\s*\(|^[ \t]*#[ \t]*include[ \t]*[<"]bpf/', re.MULTILINE)
_BCC_HABITS = re.compile(
    r"(?:kprobe|kretprobe|syscall|raw_tracepoint|kfunc|kretfunc|tracepoint)__|bpf_trace_printk|PT_REGS_|.*<uapi/"
)


def without_comments(text: str) -> str:
    # Comments become blanks of the same shape, so that line numbers and columns stay; strings stay as they are.
    return _COMMENT.sub(lambda match: match[0] if match[1] else _blank(match), text)


def _blank(match: re.Match[str]) -> str:
    return re.sub(r"[^\n]", " ", match[0])


def _without_attributes(text: str) -> str:
    return (_ATTRIBUTE.sub(" ", text) if "__" in text or "typeof" in text else text).strip()


# A function's name, also of one whose parameters a macro declares; and what says that it is more than a program.
_FUNCTION = re.compile(r"\b(?:BPF_PROG2?|BPF_K(?:RET)?PROBE|BPF_U(?:RET)?PROBE|BPF_KSYSCALL)\s*\(\s*(\w+)|(\w+)\s*\(")
_SETTLED = re.compile(r"\b(?:SEC|__section|static|inline|__hidden|__weak|section)\b")


@dataclass
class _Block:
    # A pair of braces: the text before them, the text in them that is not in braces further inside, and what
    # follows up to the semicolon. A typedef without braces is a block, too, all head.
    head: str
    local: bool  # inside a function
    braces: bool = True
    pieces: list[str] = field(default_factory=list)
    tail: str = ""
    tail_at: int = 0

    @property
    def inner(self) -> str:
        return " ".join(self.pieces)

    @cached_property
    def tag(self) -> tuple[str, str]:
        # ("struct", "event"), ("enum", "") for one without a name, ("", "") for a function or an initialiser.
        match = _TAG.search(self.head) if self.braces else None
        return (match[1], match[2] or "") if match else ("", "")

    @cached_property
    def typedefs(self) -> list[str]:
        # The names that a typedef introduces.
        typedef = _TYPEDEF.search(self.head)
        if not typedef:
            return []
        declared = self.tail if self.braces else self.head[typedef.end() :]
        if pointer := _POINTER.match(declared):  # to a function or an array
            return [pointer[1]]
        plain = re.sub(r"\[[^][]*\]", " ", declared).partition("(")[0]
        return [words[-1] for part in plain.split(",") if (words := _IDENTIFIER.findall(part))]


def _blocks(text: str) -> list[_Block]:
    # One pass over braces and semicolons, in the order in which the blocks begin.
    blocks: list[_Block] = []
    stack: list[_Block] = []
    closed: _Block | None = None
    start = 0
    for stop in _BREAK.finditer(text):
        piece, mark = text[start : stop.start()], stop[0]
        local = bool(stack) and (stack[-1].local or stack[-1].head.endswith(")"))
        if stack:
            stack[-1].pieces.append(piece)
        if mark == "}":
            closed = stack.pop() if stack else None
        elif mark == "{":
            stack.append(_Block(_without_attributes(piece), local))
            blocks.append(stack[-1])
        elif closed is not None:
            closed.tail, closed.tail_at = _without_attributes(piece), start
        elif "typedef" in piece:
            blocks.append(_Block(_without_attributes(piece), local, braces=False))
        if mark != "}":
            closed = None
        start = stop.end()
    return blocks


@dataclass(frozen=True)
class Ring:
    """A ring or perf buffer as the cell defines it; ``typed`` when its definition names a record type."""

    name: str
    typed: bool


@dataclass(frozen=True)
class Cell:
    """C source with what its text alone tells.

    Parameters
    ----------
    source
        The C text, exactly as written.
    path
        The file it was read from, if it was.
    cflags
        Options for the compiler, as :func:`ebpflab.cflags.parse` gives them.

    Examples
    --------
    >>> Cell('SEC("raw_tp/sys_enter") int h(void *ctx) { return 0; }').sections
    (('raw_tp/sys_enter', 1),)
    """

    source: str
    path: Path | None = field(default=None, compare=False)
    cflags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.code.strip():
            raise CellError(
                "the cell is empty",
                hint='write a program, such as SEC("tp/syscalls/sys_enter_openat") int h(void *ctx) {...}',
            )
        if "\0" in self.source:
            where = self.line_of(self.source.index("\0"))
            raise CellError("the cell holds a NUL character", where=where, hint="C text has none: delete it")
        try:
            self.source.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            line = self._line_at(error.start)
            raise CellError("the cell holds half of a character (a lone surrogate)", where=Location(line)) from error

    @cached_property
    def code(self) -> str:
        """The source with comments blanked out; offsets and lines are those of the source."""
        return without_comments(self.source)

    @cached_property
    def words(self) -> frozenset[str]:
        """Every identifier in the code."""
        return frozenset(_IDENTIFIER.findall(self.code))

    @cached_property
    def includes(self) -> tuple[str, ...]:
        """The headers that the cell includes, as written."""
        return tuple(match[2] for match in _INCLUDE.finditer(self.code))

    @cached_property
    def sections(self) -> tuple[tuple[str, int], ...]:
        """The program sections with their lines, without ``.maps``, ``license`` and other data."""
        found = (m for m in _SECTION.finditer(self.code) if not _DATA_SECTION.match(m[1]))
        return tuple((m[1], self._line_at(m.start())) for m in found)

    @cached_property
    def licensed(self) -> bool:
        """Whether the cell brings its own licence section."""
        return any(m[1] == "license" for m in _SECTION.finditer(self.code))

    @cached_property
    def bcc_mark(self) -> Location | None:
        """The first place where only BCC's dialect reads like this, or None."""
        # A macro that the cell defines is its own, and kprobe__x is a common name for a function with a section.
        libbpf = bool(_LIBBPF.search(self.code))
        own = set(_DEFINE.findall(self.code))
        for match in _BCC_MARKS.finditer(_STRING.sub(_blank, self.code)):
            name = match[0].rstrip("( \t\r\n")
            if name not in own and not (libbpf and _BCC_HABITS.match(name)):
                return self.line_of(match.start())
        return None

    @property
    def dialect(self) -> str:
        """``"bcc"`` when a BCC macro is used, else ``"libbpf"``."""
        return "bcc" if self.bcc_mark else "libbpf"

    @property
    def headers(self) -> str:
        """``"uapi"`` when the cell includes kernel or libc headers of its own, else ``"vmlinux"``.

        UAPI headers and ``vmlinux.h`` define the same types and cannot be mixed, so a program that brings
        ``<linux/bpf.h>`` is compiled as its author did: without ``vmlinux.h``. The compiler's own headers,
        such as ``<stddef.h>``, go with either.
        """
        own = [name for name in self.includes if not name.startswith("bpf/")]
        if any(Path(name).name == "vmlinux.h" for name in own):
            return "vmlinux"
        kernel = re.compile(
            r"^(linux|asm|asm-generic|uapi|net|netinet|sys|arpa)/|^(std(?!bool|def|arg)\w+|string|errno|limits|inttypes)\.h$"
        )
        return "uapi" if any(kernel.match(name) for name in own) else "vmlinux"

    @cached_property
    def struct_names(self) -> tuple[str, ...]:
        """The named structs that the cell defines at file level, in order."""
        tags = (block.tag for block in self._blocks if not block.local)
        return tuple(name for kind, name in tags if kind == "struct" and name)

    @cached_property
    def typedef_names(self) -> tuple[str, ...]:
        """The typedefs that the cell defines at file level, in order."""
        return tuple(name for block in self._blocks if not block.local for name in block.typedefs)

    @cached_property
    def defined(self) -> frozenset[str]:
        """Every type tag, typedef and enumerator that the cell defines itself."""
        names = {name for block in self._blocks for name in (block.tag[1], *block.typedefs) if name}
        items = (item for block in self._blocks if block.tag[0] == "enum" for item in block.inner.split(","))
        return frozenset(names | {match[0] for item in items if (match := _IDENTIFIER.search(item))})

    @cached_property
    def rings(self) -> tuple[Ring, ...]:
        """The ring and perf buffers that the cell defines in ``.maps``."""
        rings = []
        for block in self._blocks:
            # The section's name is a string, and strings are blank in a block.
            name = _MAP.match(self.code, block.tail_at) if block.tail else None
            if name and any(kind in block.inner for kind in _BUFFER_TYPES):
                rings.append(Ring(name[1], bool(re.search(r"__type\s*\(\s*value\b", block.inner))))
        return tuple(rings)

    @cached_property
    def idle(self) -> tuple[Location, ...]:
        """Functions that are in no section and that nothing calls: nobody will ever run them."""
        if _SECTION_MACRO.search(self.code):  # what stands before a function may then be a section
            return ()
        found = []
        for block in self._blocks:
            name = _FUNCTION.search(block.head) if not block.local and block.head.endswith(")") else None
            if name is None or _SETTLED.search(block.head):
                continue
            uses = list(re.finditer(rf"\b{name[1] or name[2]}\b", self.code))
            if len(uses) == 1:
                found.append(self.line_of(uses[0].start(), len(uses[0][0])))
        return tuple(found)

    def line_of(self, offset: int, length: int = 1) -> Location:
        """The location of a character offset of the source."""
        line = self._line_at(offset)
        start = self.source.rfind("\n", 0, offset) + 1
        return self.location(line, offset - start + 1, length)

    def location(self, line: int, column: int | None = None, length: int = 1) -> Location:
        """The location of a 1-based line and column, with the text of that line."""
        lines = self.source.split("\n")
        text = lines[line - 1].rstrip("\r") if 0 < line <= len(lines) else ""
        return Location(line, column, text, length)

    @cached_property
    def _blocks(self) -> list[_Block]:
        return _blocks(_DIRECTIVE.sub(_blank, _STRING.sub(_blank, self.code)))

    @cached_property
    def _line_ends(self) -> list[int]:
        return [match.start() for match in re.finditer("\n", self.source)]

    def _line_at(self, offset: int) -> int:
        return bisect.bisect_left(self._line_ends, offset) + 1


def read(source: str | Path) -> Cell:
    """Make a cell from C text, or from the path of a C file.

    Raises
    ------
    CellError
        When the text is empty or the file cannot be read.
    """
    if isinstance(source, Path):
        try:
            return Cell(source.read_text(encoding="utf-8", errors="surrogateescape"), source)
        except OSError as error:
            raise CellError(
                f"cannot read {source}: {error.strerror}", hint="check the path and its permissions"
            ) from error
    return Cell(source)
