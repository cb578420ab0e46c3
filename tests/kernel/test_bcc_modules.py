"""Types that only a kernel module has: from made-up BTF that goes on where the running kernel's ends, and real ones."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

import pytest

import ebpflab
from ebpflab import cache
from ebpflab.bcc import building, declarations, library, modules, process, rewriter, tree
from ebpflab.btf import Btf, Kind
from ebpflab.cell import Cell
from ebpflab.errors import CompileError, ToolMissingError

KERNEL = Path("/sys/kernel/btf/vmlinux")
STRUCT, ENUM, TYPEDEF, PTR, ARRAY, INT = 4, 6, 8, 2, 3, 1
PROGRAM = """
BPF_HASH(seen, u32);
TRACEPOINT_PROBE(syscalls, sys_enter_getppid) {
    if (bpf_get_current_pid_tgid() >> 32 != ME) return 0;
    struct lab_inode inode = {.kind = LAB_SECOND};
    inode.owner = (struct task_struct *)bpf_get_current_task();
    struct lab_inode *at = &inode;
    u32 size = sizeof(lab_number_t) * 1000 + sizeof(struct lab_inode);
    u32 process = at->owner->tgid, kind = inode.kind, where = __builtin_offsetof(struct lab_inode, owner);
    seen.increment(size); seen.increment(process); seen.increment(kind); seen.increment(where);
    return 0;
}
"""


class Split:
    """Types of a module, numbered on from those of a kernel."""

    def __init__(self, base):
        self._base, self._strings, self._types, self._count = base, b"", b"", len(base)

    def add(self, name, kind, third, members=(), *, words=()):
        """One type; members are (name, word, ...)."""
        body = [w for first, *rest in members for w in (self._name(first), *rest)]
        self._types += struct.pack("=III", self._name(name), kind << 24 | len(members), third)
        self._types += struct.pack(f"={len(body) + len(words)}I", *body, *words)
        self._count += 1
        return self._count

    def bytes(self):
        header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self._types), len(self._types), len(self._strings))
        return header + self._types + self._strings

    def _name(self, text):
        if not text:
            return 0
        self._strings += text.encode() + b"\0"
        return len(self._base._strings) + len(self._strings) - len(text) - 1


@pytest.fixture(scope="module")
def kernel():
    return Btf.parse(KERNEL.read_bytes())


@pytest.fixture
def module(kernel, tmp_path, monkeypatch):
    """A folder as /sys/kernel/btf with two made-up modules, of which one has the types of the program."""
    task, number = kernel.find("task_struct", Kind.STRUCT), kernel.find("unsigned int", Kind.INT)
    head = kernel.find("list_head", Kind.STRUCT)
    own = Split(kernel)
    pointer = own.add("", PTR, task.id)
    kind = own.add("lab_kind", ENUM, 4, [("LAB_FIRST", 7), ("LAB_SECOND", 1009)])
    seven = own.add("", ARRAY, 0, words=(number.id, number.id, 7))
    members = [("list", head.id, 0), ("kind", kind, 128), ("numbers", seven, 160), ("owner", pointer, 384)]
    own.add("lab_inode", STRUCT, 56, members)
    own.add("lab_number_t", TYPEDEF, seven)
    other = Split(kernel)
    other.add("lab_other", STRUCT, 4, [("number", number.id, 0)])
    folder = tmp_path / "btf"
    folder.mkdir()
    (folder / "vmlinux").symlink_to(KERNEL)
    (folder / "lab").write_bytes(own.bytes())
    (folder / "another").write_bytes(other.bytes())
    monkeypatch.setattr(modules, "FOLDER", folder)
    return folder


@pytest.fixture(autouse=True)
def bcc():
    try:
        library.find_libbcc()
    except ToolMissingError as error:
        pytest.skip(str(error))
    yield
    process.close()


def mine(text):
    return text.replace("ME", str(os.getpid()))


def test_types_of_a_module_are_found_by_the_tags_that_the_kernel_lacks(load, module):
    session = load(mine(PROGRAM))
    assert session.stages["detail"][1] == f"BCC {library.version()}, subset headers with types of lab"
    os.getppid()
    session.detach()
    assert dict(session.maps["seen"]) == {28 * 1000 + 56: 1, os.getpid(): 1, 1009: 1, 48: 1}
    assert load(mine(PROGRAM), attach=False).stages["detail"][1].endswith("cached")


def test_what_was_compiled_for_another_version_of_the_module_is_not_taken(load, module):
    load(mine(PROGRAM), attach=False)
    cell = Cell(mine(PROGRAM))
    stored = cache.directory("objects") / f"bcc-{building._key(cell, {}, None, False)}"
    assert building._read(stored, cell).cached
    data = (module / "lab").read_bytes()
    (module / "lab").write_bytes(data.replace(struct.pack("=I", 1009), struct.pack("=I", 1013)))
    with pytest.raises(FileNotFoundError):
        building._read(stored, cell)


def test_only_the_module_that_is_meant_is_taken(module):
    assert modules.module_for({"struct lab_inode"}, set()) == "lab"
    assert modules.module_for({"struct lab_other"}, set()) == "another"
    assert modules.module_for({"struct lab_inode", "enum lab_kind", "struct lab_other"}, set()) == "lab"
    assert modules.module_for({"struct lab_inode"}, {"another"}) == "another"
    assert modules.module_for(set(), {"lab"}) == "lab"
    assert modules.module_for({"struct nothing"}, {"not_loaded"}) == modules.module_for(set(), set()) == ""


def test_a_probe_of_a_module_s_function_brings_its_types(module, tmp_path):
    text = "KFUNC(lab) { return sizeof(lab_number_t); }\n".replace("KFUNC(lab)", "int kfunc__lab__write(void *ctx)")
    made = tree.write(tmp_path / "tree", Cell(text))
    assert made.module == "lab"
    assert re.search(r"typedef unsigned int lab_number_t\[7\];", made.before)
    assert tree.write(tmp_path / "plain", Cell(text.replace("kfunc__lab__", "kfunc__"))).module == ""


def test_the_layout_of_a_module_s_types_is_confirmed_by_the_compiler(module):
    text = (
        declarations.database("lab")
        .execute("SELECT text FROM block WHERE text LIKE 'struct lab_inode %'")
        .fetchone()[0]
    )
    assert "struct task_struct *owner;" in text
    declarations._confirm(
        tree._HEAD.format(version="6, 1, 0")
        + "".join(row[0] for row in declarations.database("lab").execute("SELECT text FROM block ORDER BY id"))
        + '_Static_assert(__builtin_offsetof(struct lab_inode, owner) == 48, "owner");\n#endif\n'
    )


def test_a_tag_that_no_module_has_is_still_an_error(module):
    with pytest.raises(CompileError, match="struct lab_nothing"):
        ebpflab.load(mine(PROGRAM).replace("lab_inode", "lab_nothing"), attach=False)


def real():
    """A loaded module with BTF, a struct of its own, and a member of it with its offset in bytes."""
    names = [path.name for path in sorted(modules.FOLDER.iterdir()) if path.name != "vmlinux"]
    base = Btf.parse(KERNEL.read_bytes()) if names else None
    for name in names:
        types = Btf.parse((modules.FOLDER / name).read_bytes(), base)
        for number in range(len(base) + 1, len(types) + 1):
            t = types[number]
            plain = [m for m in t.members if m.name and not m.bits] if t.kind is Kind.STRUCT else []
            if t.name and plain and base.find(t.name, Kind.STRUCT) is None:
                return t.name, plain[-1].name, plain[-1].bit_offset // 8
    return None


def test_types_of_a_module_of_this_machine_are_where_the_module_has_them(load):
    """Where modules have BTF: ``modprobe xfs`` or ``modprobe nf_conntrack`` before, in a virtual machine."""
    found = real()
    if found is None:
        pytest.skip("not in this kernel: modules with BTF (/sys/kernel/btf has vmlinux alone)")
    tag, member, offset = found
    statement = f"struct {tag} *it = 0; u32 at = (u32)(u64)&it->{member}; seen.increment(at);"
    text = f"BPF_HASH(seen, u32);\nRAW_TRACEPOINT_PROBE(sys_enter) {{ {statement} return 0; }}\n"
    made = rewriter.rewrite(f"int f(void *ctx) {{ return __builtin_offsetof(struct {tag}, {member}) == {offset}; }}")
    assert made.tree.module
    session = load(
        text.replace("{ struct", "{ if (bpf_get_current_pid_tgid() >> 32 != ME) return 0; struct").replace(
            "ME", str(os.getpid())
        )
    )
    os.getppid()
    session.detach()
    assert list(session.maps["seen"]) == [offset]
