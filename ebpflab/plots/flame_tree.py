"""The stacks of a frame, folded into a tree: the data of flame graphs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import EbpflabError
from . import data, style

if TYPE_CHECKING:
    import pandas as pd

Space = Literal["kernel", "user", ""]
Label = tuple[str, Space]  # a function's name, and where it is
Ints = NDArray[np.int64]

LEAST = 0.001  # of the whole: a box narrower than this is not drawn
UNKNOWN = "[unknown]"
_ABSENT = "[EFAULT]"  # bpf_get_stackid() when there is no such stack, as of a kernel thread's user side
_KERNEL, _USER = re.compile(r"kern|^k_?st", re.IGNORECASE), re.compile(r"user|^u_?st", re.IGNORECASE)
# Where the stacks of the kernel begin, on x86 and arm64; for columns whose name does not tell.
_ENTRY = re.compile(r"entry_SYSCALL|do_syscall|ret_from_fork|asm_|el[01]|secondary_startup|x86_64_start|start_kernel")


class Tree(NamedTuple):
    """All functions of all stacks, row by row from the root: those that one calls stand together, in their order.

    Attributes
    ----------
    labels
        The distinct functions in alphabetical order.
    codes
        For each function of the tree the place of its label.
    first
        The functions that function i calls are those from ``first[i]`` up to ``first[i + 1]``.
    totals, owns
        The weight of all stacks through here, and the part of it that ended here.
    """

    labels: Sequence[Label]
    codes: Ints
    first: Ints
    totals: NDArray[Any]
    owns: NDArray[Any]


class Frame:
    """A function in the tree of stacks; a view of the tree's arrays, which may hold hundreds of thousands.

    Attributes
    ----------
    name
        The function, or something in brackets where it has no name.
    space
        ``"kernel"`` or ``"user"``; "" where it is neither: the root, and stacks that are unknown.
    total
        The weight of all stacks through here: events, or the unit of the weights (of time spans: nanoseconds).
    own
        The part of it that ended here.
    children
        The functions called from here, in alphabetical order.
    """

    __slots__ = ("at", "name", "own", "space", "total", "tree")

    def __init__(self, tree: Tree, at: int = 0) -> None:
        self.tree, self.at = tree, at
        self.name, self.space = tree.labels[int(tree.codes[at])]
        self.total: float = tree.totals[at].item()
        self.own: float = tree.owns[at].item()

    @property
    def children(self) -> list[Frame]:
        first, end = self.tree.first[self.at : self.at + 2].tolist()
        return [Frame(self.tree, at) for at in range(first, end)]

    def __repr__(self) -> str:
        return f"Frame(name={self.name!r}, space={self.space!r}, total={self.total!r}, own={self.own!r})"


class Box(NamedTuple):
    """A function as drawn: its row (the root's is 0), and its left and right side in the unit of the weights."""

    frame: Frame
    row: int
    left: float
    right: float


class Stacks(NamedTuple):
    """The distinct stacks of a column: which of them each event has, and where each lies in `codes`.

    Stack i is ``codes[starts[i] : starts[i] + lengths[i]]``, places in `names`, root first; the first is empty.
    """

    numbers: Ints
    texts: Sequence[str]
    names: Sequence[str]
    codes: Ints
    starts: Ints
    lengths: Ints


def fold(frame: pd.DataFrame, column: str | Sequence[str], weight: str | None = None) -> Frame:
    """Return the stacks of a frame as a tree, whose root holds everything.

    Parameters
    ----------
    frame
        Events. Their stacks are text as ebpflab makes it: functions from the root, separated by semicolons.
    column
        The column of stacks; or two, user and kernel, whose stacks are joined: the kernel's go on where the user's
        end. An event without one of them has the other only, and one without any counts as ``[unknown]``. Of calls
        between functions without a name, which nothing tells apart, one is kept.
    weight
        A column of numbers or time spans to add up. Without it each event counts 1.

    Raises
    ------
    EbpflabError
        There is no such column, or it holds no stacks or no weights.

    Examples
    --------
    >>> fold(s.events.df(), ["user", "kernel"]).children
    [Frame(name='main', space='user', total=1021, own=0)]
    """
    columns = _in_order([column] if isinstance(column, str) else list(column))
    found = [_stacks(frame, name, alone=len(columns) == 1) for name in columns]
    rows, sums = _distinct(found, _weights(frame, weight))
    spaces = [_space(name, stacks, used) for name, stacks, used in zip(columns, found, rows, strict=True)]
    labels = sorted({(name, space) for each, space in zip(found, spaces, strict=True) for name in each.names})
    labels = sorted({*labels, (UNKNOWN, ""), ("all", "")})
    codes, lengths = _joined(found, rows, spaces, labels)
    return Frame(_grown(codes, lengths, sums, labels))


def nothing() -> Frame:
    """Return the tree of no stacks."""
    none = np.zeros(1, np.int64)
    return Frame(Tree([("all", "")], none, np.ones(2, np.int64), none, none))


def walk(root: Frame) -> Iterable[Frame]:
    """Yield the functions of a tree, each before those that it calls."""
    waiting = [root]
    while waiting:
        at = waiting.pop()
        yield at
        waiting += reversed(at.children)


def boxes(root: Frame, least: float = LEAST) -> tuple[list[Box], int]:
    """Return the boxes of a tree, row by row from the root, and how many functions are too narrow to be drawn.

    Parameters
    ----------
    root
        What :func:`fold` returned.
    least
        The narrowest box, as a part of the whole. What stands on a narrower one is narrower still, and counts too.

    Examples
    --------
    >>> boxes(tree)[0][0]
    Box(frame=Frame(name='all', space='', total=1021, own=0), row=0, left=0.0, right=1021.0)
    """
    if root.total <= 0:
        return [], 0
    tree, limit = root.tree, least * root.total
    places, left = np.array([root.at]), np.zeros(1, tree.totals.dtype)
    drawn: list[Box] = []
    row = 0
    while len(places):
        ends = (left + tree.totals[places]).tolist()
        frames = [Frame(tree, at) for at in places.tolist()]
        drawn += map(Box, frames, [row] * len(frames), left.tolist(), ends)
        # All functions that these call, side by side from where the caller begins.
        calls = tree.first[places + 1] - tree.first[places]
        before = np.cumsum(calls) - calls
        below = np.arange(int(calls.sum())) + np.repeat(tree.first[places] - before, calls)
        totals = tree.totals[below]
        sums = np.concatenate([np.zeros(1, totals.dtype), np.cumsum(totals)])
        starts = sums[:-1] + np.repeat(left - sums[before], calls)
        wide = (totals >= limit) & (totals > 0)
        places, left, row = below[wide], starts[wide], row + 1
    return drawn, len(tree.codes) - len(drawn)


def heaviest(root: Frame) -> list[tuple[str, float]]:
    """Return the functions with the largest weight in themselves, largest first, wherever they were called from."""
    tree = root.tree
    sums = np.zeros(len(tree.labels), tree.owns.dtype)
    np.add.at(sums, tree.codes, tree.owns)
    order = np.argsort(-sums.astype(np.float64), kind="stable")
    return [(tree.labels[at][0], sums[at].item()) for at in order[sums[order] > 0].tolist()]


def _in_order(columns: list[str]) -> list[str]:
    # The kernel's stack stands on the user's, however they were named.
    if len(columns) == 2 and _KERNEL.search(columns[0]) and not _KERNEL.search(columns[1]):
        columns.reverse()
    return columns


def _space(column: str, stacks: Stacks, used: Ints) -> Space:
    if _KERNEL.search(column):
        return "kernel"
    if _USER.search(column):
        return "user"
    texts = (stacks.texts[at] for at in used.tolist())
    entered = [bool(_ENTRY.match(text)) for text in texts if text and text != _ABSENT]
    return "kernel" if sum(entered) * 2 > len(entered) else "user"


def _stacks(frame: pd.DataFrame, name: str, alone: bool) -> Stacks:
    # A number for each event, and the functions of each number; the first stands for none.
    import pandas as pd

    values = data.pick(frame, name)
    texts = values.cat.categories if isinstance(values.dtype, pd.CategoricalDtype) else values
    if pd.api.types.infer_dtype(texts, skipna=True) not in ("string", "empty"):
        raise EbpflabError(
            f"the column {name!r} holds no stacks",
            hint="declare the field as kernel_stack_t or user_stack_t, and fill it by bpf_get_stackid()",
            stage="plot",
        )
    numbers, distinct = pd.factorize(values)
    all_texts = ["", *distinct]
    paths = [text.split(";") if text and (alone or text != _ABSENT) else [] for text in all_texts]
    lengths = np.fromiter(map(len, paths), np.int64, len(paths))
    flat = np.empty(int(lengths.sum()), object)
    flat[:] = [part for path in paths for part in path]
    codes, names = pd.factorize(flat)
    known = [part or UNKNOWN for part in names]
    return Stacks(numbers.astype(np.int64) + 1, all_texts, known, codes, np.cumsum(lengths) - lengths, lengths)


def _weights(frame: pd.DataFrame, name: str | None) -> NDArray[Any]:
    if name is None:
        return np.ones(len(frame), np.int64)
    found = data.numbers(frame, name)
    if len(found.values) and found.values.min() < 0:
        raise EbpflabError(
            f"the column {name!r} is no weight: it goes down to {style.amount(found.values.min(), found.kind)}",
            hint="choose a column of numbers that are 0 or more",
            stage="plot",
        )
    values = data.summable(found.values)
    weights = np.zeros(len(frame), values.dtype)
    weights[found.valid] = values
    return weights


def _distinct(columns: Sequence[Stacks], weights: NDArray[Any]) -> tuple[list[Ints], NDArray[Any]]:
    # Each combination of stacks once, with the sum of its weights: a program repeats few stacks many times.
    key = np.zeros(len(weights), np.int64)
    for column in columns:
        key = key * len(column.texts) + column.numbers
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    sums = np.zeros(len(first), weights.dtype)
    np.add.at(sums, place.reshape(-1), weights)
    return [column.numbers[first] for column in columns], sums


def _joined(
    columns: Sequence[Stacks], rows: Sequence[Ints], spaces: Sequence[Space], labels: Sequence[Label]
) -> tuple[Ints, Ints]:
    # The labels of all stacks one after the other, and how many each has: the user's functions, then the kernel's.
    place = {label: at for at, label in enumerate(labels)}
    each = [column.lengths[row] for column, row in zip(columns, rows, strict=True)]
    lengths = np.sum(each, axis=0)
    codes = np.empty(int(lengths.sum()), np.int64)
    begin = np.cumsum(lengths) - lengths
    for column, row, own, space in zip(columns, rows, each, spaces, strict=True):
        mine = np.array([place[name, space] for name in column.names], np.int64)[column.codes]
        within = np.arange(int(own.sum())) - np.repeat(np.cumsum(own) - own, own)
        codes[np.repeat(begin, own) + within] = mine[np.repeat(column.starts[row], own) + within]
        begin = begin + own
    # Of calls between functions without a name one is kept.
    nameless = np.array([name.startswith("[") for name, _ in labels])
    stack = np.repeat(np.arange(len(lengths)), lengths)
    again = np.zeros(len(codes), bool)
    again[1:] = (codes[1:] == codes[:-1]) & (stack[1:] == stack[:-1]) & nameless[codes[1:]]
    codes, lengths = codes[~again], np.bincount(stack[~again], minlength=len(lengths))
    # An event without any stack has a function of its own.
    bare = np.flatnonzero(lengths == 0)
    codes = np.insert(codes, (np.cumsum(lengths) - lengths)[bare], place[UNKNOWN, ""])
    lengths[bare] = 1
    return codes, lengths


def _grown(codes: Ints, lengths: Ints, sums: NDArray[Any], labels: Sequence[Label]) -> Tree:
    # Row by row: stacks that agree so far are at the same function, and what they call next is told by its label.
    starts, at = np.cumsum(lengths) - lengths, np.zeros(len(lengths), np.int64)
    level = np.array([labels.index(("all", ""))])
    all_codes, all_calls, totals, owns = [level], [], [sums.sum(keepdims=True)], [np.zeros(1, sums.dtype)]
    depth = 0
    while len(starts):
        keys, inverse = np.unique(at * len(labels) + codes[starts + depth], return_inverse=True)
        at = inverse.reshape(-1)
        all_calls.append(np.bincount(keys // len(labels), minlength=len(level)))
        level = keys % len(labels)
        ends = lengths == depth + 1
        all_codes.append(level)
        totals.append(_added(at, sums, len(level)))
        owns.append(_added(at[ends], sums[ends], len(level)))
        starts, lengths, sums, at = starts[~ends], lengths[~ends], sums[~ends], at[~ends]
        depth += 1
    all_calls.append(np.zeros(len(level), np.int64))
    first = 1 + np.concatenate([[0], np.cumsum(np.concatenate(all_calls))])
    return Tree(labels, np.concatenate(all_codes), first, np.concatenate(totals), np.concatenate(owns))


def _added(places: Ints, values: NDArray[Any], count: int) -> NDArray[Any]:
    sums = np.zeros(count, values.dtype)
    np.add.at(sums, places, values)
    return sums
