"""Which perf event arrays are counters that programs read, and not buffers that they write to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .btf import Btf
from .btf_program import map_definitions

if TYPE_CHECKING:
    from .engines.base import Handle

_PERF_EVENT_ARRAY = 4  # BPF_MAP_TYPE_PERF_EVENT_ARRAY, include/uapi/linux/bpf.h
_READ = {22, 55}  # bpf_perf_event_read, bpf_perf_event_read_value
_WRITE = {25, 111, 121}  # bpf_perf_event_output, bpf_skb_output, bpf_xdp_output
_VALUE = "bpf_perf_event_value"


def counter_arrays(handle: Handle) -> frozenset[str]:
    """Return the perf event arrays of an object that hold counters.

    They are those whose definition says ``__type(value, struct bpf_perf_event_value)``, and, where the programs of the
    object read such arrays and write to none, all of them.

    Parameters
    ----------
    handle
        The opened object.

    Examples
    --------
    >>> counter_arrays(handle)
    frozenset({'cycles'})
    """
    arrays = {info.name for info in handle.maps() if info.type == _PERF_EVENT_ARRAY}
    if not arrays:
        return frozenset()
    called = frozenset[int]().union(*(handle.calls(program.name) for program in handle.programs()))
    if called & _READ and not called & _WRITE:
        return frozenset(arrays)
    btf = Btf.parse(handle.btf)
    known = map_definitions(btf)
    types = {name: known[name].value_type_id for name in arrays if name in known}
    return frozenset(name for name, value in types.items() if value and btf.strip(value).name == _VALUE)
