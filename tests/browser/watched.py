"""A live view as the tests use it: the cell that shows it, events for it, and what a person sees of it and presses."""

from __future__ import annotations

import contextlib
import os
import threading

from tests.kernel import bpftool

HOSTILE = '<img src=x onerror="window.pwned=1">'
PROGRAM = f"at_{os.getpid()}"  # 15 characters at most, and nobody else's
# Every getppid(2) of this process and of no other; the lower bits of the counter are a column to sort by.
CELL = f"""\
%%bpf seen --watch --var only={os.getpid()}
struct event {{
	ktime_t ts;
	u64 number;
	u32 pid;
	char comm[16];
	char note[40];
}};

struct {{
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
	__type(value, struct event);
}} events SEC(".maps");

struct {{
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, u32);
	__type(value, u64);
}} counts SEC(".maps");

const volatile u32 only = 0;
const volatile char note[40] = "{HOSTILE.replace('"', chr(92) + '"')}";
u64 seen = 0;

SEC("tp/syscalls/sys_enter_getppid")
int {PROGRAM}(void *ctx)
{{
	struct event *e;
	u32 pid = bpf_get_current_pid_tgid() >> 32, bucket;
	u64 one = 1, *count;

	if (pid != only)
		return 0;
	bucket = ++seen % 5;
	count = bpf_map_lookup_elem(&counts, &bucket);
	if (count)
		*count += 1;
	else
		bpf_map_update_elem(&counts, &bucket, &one, BPF_ANY);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	if (!e)
		return 0;
	e->ts = bpf_ktime_get_ns();
	e->number = seen;
	e->pid = pid;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	bpf_probe_read_kernel_str(e->note, sizeof(e->note), (void *)note);
	bpf_ringbuf_submit(e, 0);
	return 0;
}}"""
# In the page: the views of the notebook in front, and what one of them shows.
HELPERS = """
window.ebpflabViews = () =>
    [...document.querySelectorAll(".jp-Notebook .ebpflab-view")].filter(each => each.offsetParent);
window.ebpflabView = {
    one: (selector, n = 0) => ebpflabViews()[n]?.querySelector(selector),
    all: (selector, n = 0) => [...(ebpflabViews()[n]?.querySelectorAll(selector) || [])],
    text: (selector, n = 0) => ebpflabView.one(selector, n)?.textContent,
    tile: key => ebpflabView.text(`[data-key="${key}"] dd`),
    rows: (n = 0) => ebpflabView.all("[id$=-table] tbody tr", n).map(
        row => [...row.cells].slice(0, -1).map(cell => cell.textContent)),
    column: name => ebpflabView.rows().map(
        row => row[ebpflabView.all("[id$=-table] th").findIndex(each => each.textContent === name)]),
    // A press of a person: what is covered, hidden or disabled does not get it.
    place: (selector, n = 0) => {
        const node = ebpflabView.one(selector, n);
        if (!node || node.disabled) return null;
        node.scrollIntoView({ block: "nearest" });
        const { x, y, width, height } = node.getBoundingClientRect();
        const at = [x + width / 2, y + height / 2];
        const hit = document.elementFromPoint(...at);
        return hit && (node.contains(hit) || hit.contains(node)) ? at : null;
    },
};
"""
NAMED = ("button", "tab", "combobox", "searchbox", "textbox", "region", "tabpanel", "tablist", "img", "image", "group")
# The colours of texts as drawn: canvas knows every notation, and half-transparent text is laid over its ground.
CONTRAST = """() => {
    const pen = document.createElement("canvas").getContext("2d");
    const drawn = (...colours) => {
        for (const colour of ["white", ...colours]) { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); }
        return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const light = rgb => rgb.map(c => c / 255).map(c => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const root = ebpflabViews()[0];
    const found = {};
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const node = walker.currentNode.parentElement;
        if (!node.checkVisibility() || !walker.currentNode.data.trim() || node.closest(":disabled, option")) continue;
        const grounds = [];
        for (let at = node; at && at !== root.parentElement; at = at.parentElement)
            grounds.unshift(getComputedStyle(at).backgroundColor);
        const back = drawn(...grounds);
        const front = drawn(...grounds, getComputedStyle(node).color);
        const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
        const name = node.className.baseVal ?? (node.className || `${node.parentElement.className} ${node.localName}`);
        found[name] = Math.min(found[name] ?? 99, (a + 0.05) / (b + 0.05));
    }
    return found;
}"""


def names(page):
    """Role and name of everything in the first view, as a screen reader gets it."""
    page.send("DOM.enable")
    root = page.send("Runtime.evaluate", expression="ebpflabViews()[0]")["result"]["objectId"]
    found = page.send("Accessibility.queryAXTree", objectId=root)["nodes"]
    return [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in found if not n["ignored"]]


class Watched:
    """A notebook whose cell 1 shows a live view; ``n`` counts the views from 0."""

    def __init__(self, book):
        self.book, self.page = book, book.page
        book.page.evaluate(HELPERS)

    def get(self, script, *arguments):
        return self.page.evaluate(script, *arguments)

    def until(self, script, *arguments, timeout=10.0):
        return self.page.wait_for(script, *arguments, timeout=timeout)

    def click(self, selector, n=0, times=1):
        x, y = self.until("(selector, n) => ebpflabView.place(selector, n)", selector, n)
        for number in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.page.send(
                    "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=number, buttons=1
                )

    def choose(self, selector, value):
        script = """(selector, value) => {
            const select = ebpflabView.one(selector);
            select.value = value;
            select.dispatchEvent(new Event("change"));
        }"""
        self.get(script, selector, value)

    def tab(self, name):
        self.click(f"[data-tab={name}]")
        self.until("name => ebpflabView.one(`[data-tab=${name}]`).ariaSelected === 'true'", name)

    def received(self, number, timeout=10.0):
        return self.until("text => ebpflabView.tile('received') === text", f"{number:,}", timeout=timeout)

    def state(self, wanted):
        return self.until("text => ebpflabView.text('.ebpflab-view-pill') === text", wanted)

    def run(self, cell):
        return self.book.run(cell)


def cause(number):
    for _ in range(number):
        os.getppid()


@contextlib.contextmanager
def causing(number, every):
    """Cause *number* events after each pause, from another thread, until the block ends."""
    done = threading.Event()

    def run():
        while not done.wait(every):
            cause(number)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def window(page, height):
    """A page that is so high."""
    size = {"width": 1400, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.send("Emulation.setDeviceMetricsOverride", **size)
    try:
        yield
    finally:
        page.send("Emulation.clearDeviceMetricsOverride")


def programs():
    return [each["name"] for each in bpftool.run("prog", "show") if each.get("name") == PROGRAM]
