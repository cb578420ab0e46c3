"""C in `%%bpf` cells of JupyterLab: what a user sees, and what a key does."""

from __future__ import annotations

PROGRAM = """\
%%bpf opens --for 10s
// every openat, by whom
#include <errno.h>

struct event {
\tktime_t time;
\tu32 pid;
\tchar comm[16];
};

struct {
\t__uint(type, BPF_MAP_TYPE_RINGBUF);
\t__uint(max_entries, 1 << 20);
\t__type(value, struct event);
} events SEC(".maps");

SEC("tp/syscalls/sys_enter_openat")
int on_open(struct tracepoint__syscalls__sys_enter_openat *ctx)
{
\tstruct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

\tif (!e)
\t\treturn 0;  /* full: ebpflab counts that */
\te->time = bpf_ktime_get_ns();
\te->pid = bpf_get_current_pid_tgid() >> 32;
\tbpf_get_current_comm(e->comm, sizeof(e->comm));
\tbpf_ringbuf_submit(e, 0);
\treturn 0;
}"""
PYTHON = 'import os\n\nfor struct in range(23):\n    print("int", struct)  # not C'
DRAWN = {  # the names are those of JupyterLab's themes
    "meta": ["%%bpf opens --for 10s", "#include"],
    "comment": ["// every openat, by whom", "/* full: ebpflab counts that */"],
    "keyword": ["struct", "return", "if", "sizeof"],
    "builtin": ["int", "char", "u32", "ktime_t", "event", "bpf_ringbuf_reserve", "bpf_ktime_get_ns"],
    "variable-2": ["SEC", "__uint", "BPF_MAP_TYPE_RINGBUF"],
    "def": ["on_open"],
    "string": ['"tp/syscalls/sys_enter_openat"', '".maps"', "<errno.h>"],
    "number": ["32", "16"],
}


def test_a_saved_cell_is_c_as_soon_as_the_notebook_is_open(notebook, opened_lab):
    book = notebook(PROGRAM, PYTHON)
    assert (book.language(0), book.language(1)) == ("bpf", "python")
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        opened_lab.theme(theme)
        book.screenshot(f"bpf-cell-{theme.split()[-1].lower()}")
        assert {word: book.colour(0, word) for words in DRAWN.values() for word in words} == {
            word: book.themed(name) for name, words in DRAWN.items() for word in words
        }
        assert book.colour(1, "import") == book.themed("keyword")
        assert book.colour(1, "# not C") == book.themed("comment")
    opened_lab.theme("JupyterLab Light")


def test_a_cell_becomes_c_when_its_first_line_says_so_and_python_again_when_it_no_longer_does(notebook):
    book = notebook("", "")
    book.type(0, "%%bp")
    assert book.language(0) == "python"
    book.page.type("f")
    assert book.language(0) == "bpf"
    book.page.type(" seen\n\nint\n")
    assert book.colour(0, "%%bpf seen") == book.themed("meta")
    assert book.colour(0, "int") == book.themed("builtin")
    book.edit(0, at="%%bpf")
    book.page.type("trace")  # another magic, another language
    assert book.language(0) == "python"
    for _ in "trace":
        book.page.press("Backspace")
    assert book.language(0) == "bpf"
    book.page.press("Home")
    book.page.type("# ")
    assert book.language(0) == "python"
    assert book.colour(0, "# %%bpf seen") == book.themed("comment")
    assert book.colour(0, "int") == book.themed("builtin")  # a function of Python
    assert book.language(1) == "python"


def test_only_what_the_first_line_says_counts(notebook):
    cells = ["\n\n%%bpf late\nint", "%%bpf", "%%bpf?", "%%bpftrace x", "x = 1\n%%bpf y", "%%time\nint"]
    book = notebook(*cells)
    assert [book.language(n) for n in range(len(cells))] == ["bpf", "bpf", "python", "python", "python", "python"]


TYPED = """\
%%bpf f

struct event {
u32 pid;
};

SEC("tp/x")
int f(void *ctx)
{
for (int i = 0; i < 23; i++) {
if (i == 7)
continue;
else if (i > 7)
break;
switch (i) {
case 1:
return 1;
default:
g(i,
(u64)i);
}
}
return 0 +
1;
}"""
LAID_OUT = """\
%%bpf f

struct event {
\tu32 pid;
};

SEC("tp/x")
int f(void *ctx)
{
\tfor (int i = 0; i < 23; i++) {
\t\tif (i == 7)
\t\t\tcontinue;
\t\telse if (i > 7)
\t\t\tbreak;
\t\tswitch (i) {
\t\tcase 1:
\t\t\treturn 1;
\t\tdefault:
\t\t\tg(i,
\t\t\t  (u64)i);
\t\t}
\t}
\treturn 0 +
\t\t1;
}"""


def test_what_is_typed_is_laid_out_as_the_kernel_does(notebook):
    book = notebook("")
    book.type(0, TYPED)
    book.screenshot("bpf-cell-typed")
    assert book.text(0) == LAID_OUT


def test_what_is_left_open_in_one_block_does_not_move_the_next(notebook):
    book = notebook("%%bpf f\nint f(void *ctx)\n{\n\tif (ctx {\n\t\tg(1));\n\t}\n\treturn h((1;\n}")
    book.type(0, "\n\nint g(void *ctx)\n{\nreturn 23;")
    assert book.text(0).endswith("}\n\nint g(void *ctx)\n{\n\treturn 23;")


PREPROCESSED = """\
%%bpf f

#define TWICE(x) do { \\
g(x); g(x); \\
} while (0)
#define OPEN {
#define NAMED(name) \\
\\
int name =
static struct event *
last(void)
{
#ifdef X
if (a(0)) {
#elif defined(Y)
if (b(0)) {
#else
if (c(0)) {
#endif
return &events[0];
}
# if 1
if (seen)
# endif
return 0;
}
u32 seen;"""
PREPROCESSED_LAID_OUT = """\
%%bpf f

#define TWICE(x) do { \\
g(x); g(x); \\
} while (0)
#define OPEN {
#define NAMED(name) \\
\\
int name =
static struct event *
last(void)
{
#ifdef X
\tif (a(0)) {
#elif defined(Y)
\tif (b(0)) {
#else
\tif (c(0)) {
#endif
\t\treturn &events[0];
\t}
# if 1
\tif (seen)
# endif
\t\treturn 0;
}
u32 seen;"""


def test_what_the_preprocessor_reads_does_not_move_the_code_around_it(notebook):
    book = notebook("")
    book.type(0, PREPROCESSED)
    assert book.text(0) == PREPROCESSED_LAID_OUT
    assert book.colour(0, "#define") == book.themed("meta")
    assert book.colour(0, "NAMED") == book.themed("variable-2")
    assert book.colour(0, "while") == book.themed("keyword")


def test_a_cell_that_is_indented_with_spaces_goes_on_with_spaces(notebook):
    book = notebook("%%bpf f\nint f(void *ctx)\n{\n    if (ctx) {\n    }\n}")
    book.edit(0, at="if (ctx) {")
    book.page.type("\nreturn 1;")
    assert book.text(0) == "%%bpf f\nint f(void *ctx)\n{\n    if (ctx) {\n        return 1;\n    }\n}"


def test_comments_are_toggled_and_blocks_folded_as_in_c(notebook, opened_lab):
    book = notebook("%%bpf f\nint f(void *ctx)\n{\n\treturn 23;\n}", "x = 1")
    for cell in (0, 1):
        book.edit(cell, at="return 23;" if cell == 0 else None)
        opened_lab.run("codemirror:toggle-comment")
    assert book.text(0) == "%%bpf f\nint f(void *ctx)\n{\n\t// return 23;\n}"
    assert book.text(1) == "# x = 1"
    book.edit(0, at="{")
    opened_lab.run("codemirror:fold-current")
    assert book.page.evaluate("ebpflabTest.view(0).contentDOM.innerText").split("\n")[2:] == ["{…}"]


def test_a_file_that_starts_like_a_cell_stays_what_its_name_says(opened_lab, server):
    (server.notebooks / "notes.py").write_text("%%bpf f\nint")
    language = """async () => {
        const widget = await jupyterapp.commands.execute("docmanager:open", { path: "notes.py" });
        await widget.context.ready;
        const found = () => widget.content.editor.editor.contentDOM.dataset.language;
        while (!found()) await new Promise(resume => setTimeout(resume, 50));
        const answer = found();
        widget.dispose();
        return answer;
    }"""
    assert opened_lab.page.evaluate(f"({language})()") == "python"


def test_the_prompt_of_a_console_is_a_cell_too(opened_lab):
    language = """async () => {
        const panel = await jupyterapp.commands.execute("console:create", { kernelPreference: { name: "python3" } });
        await panel.sessionContext.ready;
        const prompt = panel.console.promptCell;
        const languages = ["%%bpf f\\\\nint", "import os"].map(source => {
            prompt.model.sharedModel.setSource(source);
            return prompt.editor.editor.contentDOM.dataset.language;
        });
        await panel.sessionContext.shutdown();
        panel.dispose();
        return languages;
    }"""
    assert opened_lab.page.evaluate(f"({language})()") == ["bpf", "python"]
