"""A front end that takes down what a live view sends, and says what a page would say."""

from __future__ import annotations

import time


class Page:
    """The comms and displays of one test, as a front end sees them."""

    def __init__(self):
        self.sent, self.displays, self.comms = [], [], {}

    def publish(self, comm_id, kind, data, buffers):
        now, data = time.monotonic(), data or {}
        self.sent.append((now, comm_id, kind, data.get("content", data), buffers or []))

    def display(self, bundle, *, raw, display_id):
        assert raw
        self.displays.append((time.monotonic(), display_id, bundle))

    def tell(self, widget, /, **content):
        self.comms[widget.model_id].handle_msg(
            {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}
        )

    def hello(self, view, page="page", lab=True):
        self.tell(view, do="hello", view=page, dark=False, width=700.4, scale=1, lab=lab)

    def of(self, kind, since=0.0):
        return [content for at, _, _, content, _ in list(self.sent) if content.get("kind") == kind and at >= since]

    def parts(self, name):
        """The buffers of all parts of this name."""
        frames = [(content, buffers) for *_, content, buffers in list(self.sent) if content.get("kind") == "frame"]
        found = [pair for content, buffers in frames for pair in zip(content["parts"], buffers, strict=True)]
        return [buffer for part, buffer in found if part["name"] == name]

    def seconds(self):
        """When a message went to the front end, widgets and displays together."""
        return sorted(
            [at for at, *_, content, _ in self.sent if "kind" in content] + [at for at, *_ in self.displays]
        )  # fmt: skip
