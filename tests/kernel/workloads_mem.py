"""Workloads of the tools that look at memory and at programs' functions, and the processes that their tests share."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import pty
import shutil
import subprocess
import tempfile
from pathlib import Path

CALLS = 503
PAGES = 1009
LINES = 211
IMPORTS = 101
PYTHON = "/usr/bin/python3"

# What it is told, a letter each; a new line asks for an answer. Everything else that it does asks for no memory.
CHILD = """
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static void *kept[64];

void known_leak(void) { for (int i = 0; i < 23; i++) kept[i] = malloc(101); }
void known_calloc(void) { for (int i = 0; i < 13; i++) kept[i] = calloc(7, 11); }
void known_aligned(void) { for (int i = 0; i < 5; i++) kept[i] = aligned_alloc(64, 192); }
void known_memalign(void) { for (int i = 0; i < 3; i++) if (posix_memalign(&kept[i], 128, 59)) _exit(1); }
void known_anew(void) { for (int i = 0; i < 17; i++) kept[i] = realloc(NULL, 67); }

void known_growth(void)
{
    for (int i = 0; i < 7; i++)
        kept[i] = realloc(malloc(31), 200003);
}

void known_failure(void)
{
    volatile size_t too_much = (size_t)1 << 62;
    for (int i = 0; i < 2; i++) {
        kept[i] = malloc(37);
        if (realloc(kept[i], too_much))
            _exit(1);
    }
}

void known_return(void)
{
    void *volatile piece;
    for (int i = 0; i < 19; i++) {
        piece = malloc(43);
        free(piece);
    }
    free(realloc(malloc(47), 53));
    piece = malloc(61);
    piece = realloc(piece, 0);
}

void known_sizes(void)
{
    void *volatile piece;
    for (int i = 0; i < 11; i++) { piece = malloc(1); free(piece); }
    for (int i = 0; i < 29; i++) { piece = malloc(1023); free(piece); }
    for (int i = 0; i < 31; i++) { piece = malloc(1024); free(piece); }
    for (int i = 0; i < 3; i++) { piece = malloc(1 << 20); free(piece); }
}

static char *fresh(int pages)
{
    size_t size = pages * getpagesize();
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(memory, size, MADV_NOHUGEPAGE);
    return memory;
}

void known_touch(void)
{
    char *memory = fresh(101);
    for (int i = 0; i < 101; i++)
        ((volatile char *)memory)[i * getpagesize()] = 1;
}

void known_read(int zero)
{
    ssize_t size = 53 * getpagesize();
    if (read(zero, fresh(53), size) != size)
        _exit(1);
}

static void faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    if (write(1, &usage.ru_minflt, sizeof(long)) != sizeof(long))
        _exit(1);
}

int main(void)
{
    int zero = open("/dev/zero", O_RDONLY);
    for (char what; read(0, &what, 1) == 1;)
        switch (what) {
        case 'l': known_leak(); break;
        case 'c': known_calloc(); break;
        case 'a': known_aligned(); break;
        case 'p': known_memalign(); break;
        case 'n': known_anew(); break;
        case 'g': known_growth(); break;
        case 'x': known_failure(); break;
        case 'r': known_return(); break;
        case 's': known_sizes(); break;
        case 't': known_touch(); break;
        case 'k': known_read(zero); break;
        case 'f': for (int i = 0; i < 23; i++) free(kept[i]); break;
        case '\\n': faults(); break;
        }
    return 0;
}
"""


def compiled(folder):
    """Compile the child; None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        return None
    (folder / "memchild.c").write_text(CHILD)
    flags = ["-O0", "-fno-builtin", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run([compiler, *flags, "memchild.c", "-o", "memchild"], check=True, timeout=120, cwd=folder)
    return folder / "memchild"


class Child:
    """A process that asks for memory as it is told, and waits."""

    def __init__(self, path):
        self._process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.pid = self._process.pid
        self.do("")

    def do(self, what):
        """Have it do that; returns how many page faults it has had by its own account (getrusage(2))."""
        os.write(self._process.stdin.fileno(), f"{what}\n".encode())
        return int.from_bytes(self._process.stdout.read(8), "little")

    def end(self):
        """Kill it."""
        self._process.kill()
        self._process.communicate()


class Shell:
    """A bash at a terminal, as somebody would sit at it."""

    def __init__(self, command=("/bin/bash", "--noprofile", "--norc", "-i")):
        self._terminal, theirs = pty.openpty()
        environment = {**os.environ, "PS1": "ready> ", "HISTFILE": "", "TERM": "dumb"}
        ends = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self._process = subprocess.Popen(command, **ends, env=environment, start_new_session=True)
        os.close(theirs)
        self.pid = self._process.pid
        self._prompted()

    def type(self, line):
        """Type a line, and wait until it was done."""
        os.write(self._terminal, f"{line}\n".encode())
        self._prompted()

    def end(self):
        """Type what ends the input, and wait."""
        os.write(self._terminal, b"\x04")
        self._process.wait(timeout=20)
        os.close(self._terminal)

    def _prompted(self):
        shown = b""
        while not shown.endswith(b"ready> "):
            shown += os.read(self._terminal, 4096)


class Python:
    """A Python, not of this project, that runs lines of code."""

    def __init__(self, folder="/"):
        lines = "import sys\nfor line in sys.stdin:\n exec(line)\n print('done', flush=True)"
        ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen([PYTHON, "-I", "-c", lines], **ends, cwd=folder)
        self.pid = self._process.pid
        self.run("pass")

    def run(self, line):
        """Have it run a line, and wait."""
        print(line, file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "done\n"

    def end(self):
        """Let it end."""
        self._process.communicate(timeout=20)


def own(section, pid):
    """A target for one process: others do not enter the kernel for it."""
    return f"{section},pid={pid}"


def python_probes(pid):
    """The targets of pyimports for one process, as kernels before 5.15 need it."""
    probe = f"{PYTHON}:python:import__find__load"
    return {"on_start": own(f"{probe}__start", pid), "on_done": own(f"{probe}__done", pid)}


@contextlib.contextmanager
def pieces():
    """Ask libc for memory, and give it back."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, (ctypes.c_void_p,)

    def make():
        for size in range(CALLS):
            libc.free(libc.malloc(size))

    yield {"vars": {"pid": os.getpid()}}, make


@contextlib.contextmanager
def pages():
    """Touch fresh memory."""

    def make():
        with mmap.mmap(-1, PAGES * mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            for place in range(0, len(memory), mmap.PAGESIZE):
                memory[place] = 1

    yield {"vars": {"pid": os.getpid()}}, make


@contextlib.contextmanager
def files():
    """Have the kernel make files that are none."""

    def make():
        for _ in range(CALLS):
            os.close(os.eventfd(0))

    yield {"vars": {"pid": os.getpid()}}, make


@contextlib.contextmanager
def lines():
    """Type into a shell."""
    shell = Shell()

    def make():
        for _ in range(LINES):
            shell.type(":")

    try:
        yield {"vars": {"pid": shell.pid}}, make
    finally:
        shell.end()


@contextlib.contextmanager
def imports():
    """Have a Python import modules, again and again."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "labmodule.py").touch()
        python = Python(folder)
        python.run("sys.path.insert(0, '.')")

        def make():
            python.run(f"for _ in range({IMPORTS}): sys.modules.pop('labmodule', None); import labmodule")

        try:
            yield {"vars": {"pid": python.pid}, "targets": python_probes(python.pid)}, make
        finally:
            python.end()


WORKLOADS = {
    **dict.fromkeys(("mallocs", "memleak"), pieces),
    "pagefaults": pages,
    "kmemtop": files,
    "bashreadline": lines,
    "pyimports": imports,
}
