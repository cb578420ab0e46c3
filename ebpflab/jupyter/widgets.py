"""Two widgets of ipywidgets' own controls: a search for hooks, and the tree of a type.

Each has a text and an HTML twin of what it shows; see :mod:`ebpflab.jupyter.panel`.
"""

from __future__ import annotations

import itertools
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ebpflab

from .. import error_page, formatting
from ..errors import EbpflabError
from ..inspectors import search
from ..inspectors.templating import template
from ..inspectors.types import members
from ..program_types import parse_section
from .panel import BLANK, STYLE, Panel, counted, ui

if TYPE_CHECKING:
    from ..inspectors.templating import Template
    from ..inspectors.types import TypeInfo
    from ..inspectors.types.members import Member

_SHOWN = 50
_CHUNK = 40  # members that are shown at once, since each is a control of the browser
_TALLEST = 16  # lines of a cell that are shown at once
_numbers = itertools.count()


class HookSearch(Panel):
    """A search for hooks as one types; made by :func:`hook_search`.

    Attributes
    ----------
    pattern, kind, rows, show
        The controls: what is looked for, of which kind, the first 50 rows, and the button for a cell.
    cell
        A cell for the chosen hook, to be changed and copied; hidden until it is asked for.
    insert
        The button that puts the cell into the notebook; only our extension of JupyterLab shows it, and does that.
    status
        How many there are, as HTML.
    frame
        Everything that was found.
    """

    def __init__(self, pattern: str, kind: str | None) -> None:
        kinds = [("all kinds", ""), *((each, each) for each in search.kinds())]
        wide = {"layout": ui.Layout(width="auto"), "style": {"description_width": "4em"}}
        self.pattern = ui.Text(pattern, description="Find", placeholder="a part of a name, a glob*, or /regex/", **wide)
        self.kind = ui.Dropdown(options=kinds, value=kind or "", description="Kind", style=wide["style"])
        self.rows = ui.Select(options=[], rows=12, description="Hooks", **wide)
        self.status, self.detail, self.hint = ui.HTML(), ui.HTML(), ui.HTML()
        self.show = ui.Button(description="Show its cell", icon="code", disabled=True, tooltip="a cell for this hook")
        self.cell = ui.Textarea(description="Cell", layout=ui.Layout(width="auto", height="auto"), style=wide["style"])
        self.insert = ui.Button(description="Put it below", icon="plus", tooltip="put it into the notebook as a cell")
        row = {"flex_flow": "row wrap", "align_items": "center"}
        buttons = ui.HBox([self.show, self.insert, self.hint], layout=row)
        made = ui.VBox([buttons, self.cell])
        self.frame: Any = None
        self.milliseconds = 0.0
        self._error: EbpflabError | None = None
        self._about: list[Any] = []
        self._kind = self.kind.value
        self._style = STYLE
        self._class = f"ebpflab-hooks-{next(_numbers)}"
        for control, name in ((self.rows, "list"), (self.cell, "cell"), (self.insert, "insert"), (made, "made")):
            control.add_class(f"ebpflab-{name}")
        self.rows.add_class(self._class)
        head = ui.HBox([self.pattern, self.kind], layout=row)
        self.box = ui.VBox([head, self.status, self.rows, made, self.detail])
        self.search()
        self._listen()

    def _listen(self) -> None:
        for control in (self.pattern, self.kind):
            control.observe(lambda _: self.search(), "value")
        self.rows.observe(lambda _: self._choose(), "index")
        self.show.on_click(lambda _: self._show())

    @property
    def section(self) -> str | None:
        """The section of the row that is chosen, as for ``SEC()``; None if none is."""
        return None if self.rows.index is None else str(self.frame["section"].iloc[self.rows.index])

    def search(self) -> None:
        """Look again, and show the first rows; what is wrong with a pattern is said above them."""
        start = time.perf_counter()
        self._error = None
        try:
            frame = ebpflab.hooks(self.pattern.value, self.kind.value or None)
        except EbpflabError as error:
            self._error = error
            # Half a pattern is no reason to take away what the whole one before it has found; another kind is.
            if self.kind.value != self._kind:
                self._list(self.frame.head(0))
            self.status.value = error_page.error_html(error) + self._style
            return
        self.milliseconds = (time.perf_counter() - start) * 1000
        self._list(frame)
        self.status.value = formatting.html([self._head()]) + self._style

    def _list(self, frame: Any) -> None:
        self.frame, self._kind = frame, self.kind.value
        shown = frame.head(_SHOWN)
        with self.rows.hold_trait_notifications():
            # A new list chooses its first row; nothing is chosen before somebody does.
            self.rows.options = list(zip(_lines(shown), range(len(shown)), strict=True))
            self.rows.index = None
        self._style = STYLE + self._dimmed(shown["available"].tolist())
        self._choose()

    def _choose(self) -> None:
        section = self.section
        self.show.disabled = True
        self._offer("", "")
        if section is None:
            self._tell(*([formatting.Note("choose a hook to see its context")] if len(self.frame) else []))
            return
        row = self.frame.iloc[self.rows.index]
        refused = [] if row["available"] else [formatting.Note(row["why"], "warning", "cannot be used now")]
        if row["name"] == "*":
            self._tell(*refused)
            return
        try:
            self._tell(*refused, ebpflab.context(section))
        except EbpflabError as error:
            self._tell(*refused, error)
        self.show.disabled = False  # last: a click may be answered by another thread, a subshell of the kernel

    def _tell(self, *about: Any) -> None:
        # What is said of a hook, with or without its cell.
        self._about = list(about)
        self._say(*about)

    def _show(self) -> None:
        if self.show.disabled:
            return
        row = self.frame.iloc[self.rows.index]
        try:
            made, hook = _cell_of(row["section"], row["name"])
        except EbpflabError as error:
            self._offer("", "")
            self._say(error, *self._about)
            return
        again = f", or run: %bpf template {shlex.quote(hook)}" if hook else ""
        self._offer(made.cell, f"copy it into a new cell{again}")
        self._say(*(formatting.Note(note, label="note") for note in made.notes), *self._about)

    def _offer(self, cell: str, hint: str) -> None:
        self.cell.value = cell.rstrip("\n")
        self.cell.rows = min(cell.count("\n") + 1, _TALLEST)
        self.hint.value = formatting.html([formatting.Note(hint)]) if hint else ""
        for control in (self.cell, self.insert):
            control.layout.display = None if cell else "none"

    def _dimmed(self, available: list[bool]) -> str:
        # An option has no class of its own, but a place.
        places = [f".{self._class} option:nth-child({n})" for n, free in enumerate(available, 1) if not free]
        return f"<style>{', '.join(places)} {{ color: var(--jp-ui-font-color3, #999) }}</style>" if places else ""

    def _head(self) -> formatting.Head:
        count = len(self.frame)
        shown = f", the first {_SHOWN} shown" if count > _SHOWN else ""
        return formatting.Head(counted(count, "hook"), detail=f"{formatting.milliseconds(self.milliseconds)}{shown}")

    def _document(self) -> list[formatting.Part]:
        if self._error is not None and not len(self.frame):
            return error_page.document(self._error)
        error = error_page.document(self._error) if self._error is not None else []
        table = [formatting.frame_table(self.frame, rows=_SHOWN)] if len(self.frame) else []
        cell = [formatting.Code(self.cell.value, "cell", "c")] if self.cell.value else []
        return [*error, self._head(), *table, *cell]


def hook_search(pattern: str = "", kind: str | None = None) -> HookSearch:
    """Return a widget that searches the hooks of this machine at every key.

    Parameters
    ----------
    pattern, kind
        What to begin with; see :func:`ebpflab.hooks`.

    Raises
    ------
    CellError, HookNotFoundError
        See :func:`ebpflab.hooks`.

    Examples
    --------
    >>> hook_search("openat", "tracepoint").frame["name"].tolist()[0]
    'syscalls:sys_enter_openat'
    """
    ebpflab.hooks(pattern, kind)  # a mistake in the call is an error of the caller's, not a note in the widget
    return HookSearch(pattern, kind)


def _cell_of(written: str, name: str) -> tuple[Template, str]:
    # A cell for the hook of a row, and what %bpf template takes for the same; several hooks may share a section.
    section = parse_section(written)
    takes_target = f"{section.prefix}+" in section.type.sections
    if section.target or not takes_target:
        hook = written if section.target else f"{written}:{name}"
        return template(hook), hook
    # What follows these sections is no name of the list: a member of struct_ops, a hook of lsm_cgroup.
    made = template(written)
    if made.targets:
        return replace(made, targets=dict.fromkeys(made.targets, name)), ""
    return (made, written) if name in made.source else (template(f"{written}/{name}"), "")


def _lines(frame: Any) -> list[str]:
    # Columns of a list: every line is one text, of letters of one width.
    cells = list(zip(frame["kind"], frame["name"], frame["section"], frame["why"], strict=True))
    kinds, names = (max((len(row[i]) for row in cells), default=0) for i in (0, 1))
    lines = (
        f"{kind.ljust(kinds)}  {name.ljust(min(names, 48))}  {f'not now: {why}' if why else section}"
        for kind, name, section, why in cells
    )
    return [line.replace(" ", BLANK) for line in lines]


@dataclass
class _Row:
    # A member in the tree; rows is None until it was opened for the first time, member None for "more".
    member: Member | None
    level: int
    button: Any
    rows: list[_Row] | None = None
    open: bool = False


class TypeTree(Panel):
    """The members of a type as a tree that opens where one looks; made by :func:`type_tree`.

    Attributes
    ----------
    find, depth, found
        The controls of the search: a name, how many pointers to follow, and the paths that were found.
    tree
        The rows: a button for each member, which shows how to read it and opens what it holds or points to.
    status
        How the search went, as HTML.
    path
        The member that is chosen, or "".
    """

    def __init__(self, info: TypeInfo) -> None:
        self.info = info
        self.path = ""
        style = {"description_width": "5em"}
        self.find = ui.Text(
            "", description="Find", placeholder="a member, such as exe_file", continuous_update=False, style=style
        )
        self.depth = ui.BoundedIntText(2, min=0, max=6, description="Pointers", style=style, layout={"width": "10em"})
        self.found = ui.Select(options=[], rows=8, description="Paths", style=style, layout={"width": "auto"})
        self.status, self.detail = ui.HTML(), ui.HTML()
        self.tree = ui.VBox(layout=ui.Layout(max_height="32em", overflow="auto"))
        self._layouts: dict[int, Any] = {}
        self._plain = ui.ButtonStyle(button_color="transparent")
        for each, name in ((self.found, "ebpflab-list"), (self.tree, "ebpflab-tree")):
            each.add_class(name)
        self._rows = self._level(info.expand(), 0, [])
        self._refresh()
        self._show_found([])
        title = ui.HTML(STYLE + formatting.html([self._head()]))
        self.box = ui.VBox([title, ui.HBox([self.find, self.depth]), self.status, self.found, self.tree, self.detail])
        self.find.observe(lambda _: self.search(), "value")
        self.depth.observe(lambda _: self.search(), "value")
        self.found.observe(lambda _: self._select(self.found.value) if self.found.index is not None else None, "index")

    def search(self) -> None:
        """List the paths to members of the name that is looked for."""
        pattern = self.find.value.strip()
        self._show_found([])
        if not pattern:
            return
        start = time.perf_counter()
        try:
            frame = self.info.find(pattern, self.depth.value)
        except EbpflabError as error:
            self.status.value = error_page.error_html(error)
            return
        taken = formatting.milliseconds((time.perf_counter() - start) * 1000)
        self._show_found(list(zip(frame["path"], frame["type"], frame["dereferences"], strict=True)))
        note = frame.attrs.get("note", "")
        head = formatting.Head(counted(len(frame), "path"), detail=taken)
        self.status.value = formatting.html([head, *([formatting.Note(note)] if note else [])])

    def _show_found(self, found: Sequence[tuple[str, str, int]]) -> None:
        self.status.value = ""
        width = max((len(path) for path, *_ in found), default=0)
        lines = [f"{path.ljust(width)}  {c_type}  {'→' * followed}".rstrip() for path, c_type, followed in found]
        with self.found.hold_trait_notifications():
            self.found.options = [
                (line.replace(" ", BLANK), path) for line, (path, *_) in zip(lines, found, strict=True)
            ]
            self.found.index = None
        self.found.rows = min(max(len(found), 2), 8)  # a browser makes a list of one row a menu
        self.found.layout.display = None if found else "none"

    def _level(self, found: Sequence[Member], level: int, rows: list[_Row]) -> list[_Row]:
        # Adds rows to those of a level, the first ones of what was found.
        rows += [self._row(member, level) for member in found[:_CHUNK]]
        if left := found[_CHUNK:]:
            row = _Row(None, level, self._button(f"… {len(left)} more", level, "show more members"))
            row.button.on_click(lambda _: self._extend(left, level, rows))
            rows.append(row)
        return rows

    def _row(self, member: Member, level: int) -> _Row:
        row = _Row(member, level, self._button("", level, member.path))
        self._label(row)
        row.button.on_click(lambda _: self._toggle(row))
        return row

    def _button(self, label: str, level: int, tooltip: str) -> Any:
        if level not in self._layouts:
            space = f"0 0 0 {1 + 2 * level}ch"
            self._layouts[level] = ui.Layout(width="auto", flex="0 0 auto", margin="0", padding=space)
        return ui.Button(description=label, tooltip=tooltip, layout=self._layouts[level], style=self._plain)

    def _label(self, row: _Row) -> None:
        member = row.member
        if member is None:
            return
        leads = members.target(self.info.source.btf, member.type_id)
        mark = "▾" if row.open else "▸" if leads else BLANK
        arrow = " →" if leads and leads.dereferences else ""
        name = f"{member.name}:{member.bits}" if member.bits else member.name
        size = "" if member.bits or member.size is None else f", {counted(member.size, 'byte')}"
        row.button.description = f"{mark} {name}  {member.c_type}{arrow}  at {member.offset}{size}"

    def _toggle(self, row: _Row) -> None:
        if row.member is None:
            return
        if row.rows is None:
            row.rows = self._level(self.info.expand(row.member.path), row.level + 1, [])
        if row.rows:
            row.open = not row.open
            self._label(row)
            self._refresh()
        self._select(row.member.path)

    def _extend(self, left: Sequence[Member], level: int, rows: list[_Row]) -> None:
        rows.pop()  # the row that said how many are left
        self._level(left, level, rows)
        self._refresh()

    def _refresh(self) -> None:
        self.tree.children = tuple(row.button for row in _visible(self._rows))

    def _select(self, path: str) -> None:
        self.path = path
        try:
            self._say(self.info.path(path))
        except EbpflabError as error:
            self._say(error)

    def _head(self) -> formatting.Head:
        size = f"{counted(self.info.size, 'byte')}, " if self.info.size is not None else ""
        return formatting.Head(self.info.c_type, detail=f"{size}of {self.info.source.name}")

    def _document(self) -> list[formatting.Part]:
        lines = [f"{'  ' * row.level}{row.button.description.replace(BLANK, ' ')}" for row in _visible(self._rows)]
        found = [label.replace(BLANK, " ") for label, _ in self.found.options]
        parts: list[formatting.Part] = [self._head()]
        if found:
            parts.append(formatting.Code("\n".join(found), f"paths to {self.find.value}"))
        return [*parts, formatting.Code("\n".join(lines))] if lines else parts


def type_tree(info: TypeInfo) -> TypeTree:
    """Return a widget with the members of a type: what they hold and point to, and how a program reads them.

    Parameters
    ----------
    info
        What :func:`ebpflab.type` returns.

    Examples
    --------
    >>> type_tree(ebpflab.type("task_struct")).tree.children[0].description
    '▸ thread_info  struct thread_info  at 0, 24 bytes'
    """
    return TypeTree(info)


def _visible(rows: Sequence[_Row]) -> Iterator[_Row]:
    for row in rows:
        yield row
        if row.open and row.rows:
            yield from _visible(row.rows)
