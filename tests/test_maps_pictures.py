"""The pictures of a map's entries: those of any frame, and the histogram of log2 slots."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from ebpflab.maps.pictures import MapPlots

# As a map whose key has two stack ids gives it: stacks are categories, and a sample has none or one of each side.
SAMPLES = pd.DataFrame(
    {
        "pid": [17, 17, 2],
        "user": pd.Categorical(["main;work", "main;work;read", "[EFAULT]"]),
        "kernel": pd.Categorical(["[EFAULT]", "do_syscall_64;vfs_read", "kthread;worker"]),
        "count": [11, 7, 5],
    }
)


def test_entries_keyed_by_two_stacks_are_a_flame_graph_weighted_by_a_value():
    ax = MapPlots(lambda: SAMPLES, lambda *_: None).flame(["user", "kernel"], weight="count")
    names = {text.get_text() for text in ax.texts}
    width = ax.get_xlim()
    plt.close(ax.figure)
    assert width == (0, 11 + 7 + 5)
    assert {"main", "work", "read", "do_syscall_64", "vfs_read", "kthread"} <= names


def test_called_it_draws_slots_and_says_by_which_names_it_draws_entries():
    asked = []
    plots = MapPlots(lambda: SAMPLES, lambda *arguments: asked.append(arguments))
    plots(units="us", key=3)
    assert asked == [("us", 3, None)]
    assert repr(plots).startswith("<plots of a map: plot() of log2 slots, rate(), hist(), top(),")
