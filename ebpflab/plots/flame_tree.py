"""The stacks of a frame, folded into a tree: the data of flame graphs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ..errors import EbpflabError
from . import data, style

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

Space = Literal["kernel", "user", ""]
Path = tuple[tuple[str, Space], ...]  # functions from the root

LEAST = 0.001  # of the whole: a box narrower than this is not drawn
UNKNOWN = "[unknown]"
_ABSENT = "[EFAULT]"  # bpf_get_stackid() when there is no such stack, as of a kernel thread's user side
_KERNEL, _USER = re.compile(r"kern|^k_?st", re.IGNORECASE), re.compile(r"user|^u_?st", re.IGNORECASE)
# Where the stacks of the kernel begin, on x86 and arm64; for columns whose name does not tell.
_ENTRY = re.compile(r"entry_SYSCALL|do_syscall|ret_from_fork|asm_|el[01]|secondary_startup|x86_64_start|start_kernel")


@dataclass(slots=True)
class Frame:
    """A function in the tree of stacks.

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

    name: str
    space: Space = ""
    total: float = 0
    own: float = 0
    children: list[Frame] = field(default_factory=list, repr=False)


class Box(NamedTuple):
    """A function as drawn: its row (the root's is 0), and its left and right side in the unit of the weights."""

    frame: Frame
    row: int
    left: float
    right: float


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
    distinct, sums = _distinct([_stacks(frame, name) for name in columns], _weights(frame, weight))
    spaces = [_space(name, (row[at] for row in distinct)) for at, name in enumerate(columns)]
    paths = sorted((_path(stacks, spaces), total) for stacks, total in zip(distinct, sums, strict=True))
    root = Frame("all")
    branch: list[Frame] = [root]
    previous: Path = ()
    for path, total in paths:  # in the order of the tree, so that a function is on the branch or new
        shared = _shared(previous, path)
        del branch[shared + 1 :]
        for name, space in path[shared:]:
            branch.append(Frame(name, space))
            branch[-2].children.append(branch[-1])
        for each in branch:
            each.total += total
        branch[-1].own += total
        previous = path
    return root


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
    drawn: list[Box] = []
    omitted, limit = 0, least * root.total
    level = [Box(root, 0, 0.0, root.total)] if root.total > 0 else []
    while level:
        drawn += level
        parents, level = level, []
        for parent in parents:
            left = parent.left
            for child in parent.frame.children:
                if child.total >= limit and child.total > 0:
                    level.append(Box(child, parent.row + 1, left, left + child.total))
                else:
                    omitted += sum(1 for _ in walk(child))
                left += child.total
    return drawn, omitted


def _in_order(columns: list[str]) -> list[str]:
    # The kernel's stack stands on the user's, however they were named.
    if len(columns) == 2 and _KERNEL.search(columns[0]) and not _KERNEL.search(columns[1]):
        columns.reverse()
    return columns


def _space(column: str, stacks: Iterable[str]) -> Space:
    if _KERNEL.search(column):
        return "kernel"
    if _USER.search(column):
        return "user"
    entered = [bool(_ENTRY.match(stack)) for stack in stacks if stack and stack != _ABSENT]
    return "kernel" if sum(entered) * 2 > len(entered) else "user"


def _path(stacks: Sequence[str], spaces: Sequence[Space]) -> Path:
    alone = len(stacks) == 1
    path: list[tuple[str, Space]] = []
    for stack, space in zip(stacks, spaces, strict=True):
        if stack and (alone or stack != _ABSENT):
            path += [(name or UNKNOWN, space) for name in stack.split(";")]
    if ";[" in "".join(stacks):
        path = [key for key, below in zip(path, [None, *path], strict=False) if key != below or key[0][0] != "["]
    return tuple(path) or ((UNKNOWN, ""),)


def _shared(one: Path, other: Path) -> int:
    # How many functions from the root two stacks have in common.
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))


def _stacks(frame: pd.DataFrame, name: str) -> tuple[NDArray[np.int64], list[str]]:
    # A number for each event, and the stack of each number; the first stands for none.
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
    return np.asarray(numbers, np.int64) + 1, ["", *distinct]


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
    weights = np.zeros(len(frame), found.values.dtype)
    weights[found.valid] = found.values
    return weights


def _distinct(
    columns: Sequence[tuple[NDArray[np.int64], list[str]]], weights: NDArray[Any]
) -> tuple[list[tuple[str, ...]], list[float]]:
    # Each combination of stacks once, with the sum of its weights: a program repeats few stacks many times.
    key = np.zeros(len(weights), np.int64)
    for numbers, texts in columns:
        key = key * len(texts) + numbers
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    sums = np.zeros(len(first), weights.dtype)
    np.add.at(sums, place.reshape(-1), weights)
    texts_of = [[texts[i] for i in numbers[first].tolist()] for numbers, texts in columns]
    return list(zip(*texts_of, strict=True)), sums.tolist()
