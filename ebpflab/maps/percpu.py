"""Maps with a value for each CPU."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from . import table
from ._values import misfit, sequence_of
from .bpfmap import BpfMap

if TYPE_CHECKING:
    import pandas as pd


class PerCpuMap(BpfMap):
    """A map whose entries have a value for each possible CPU: ``m[k]`` is a list, ``m.sum(k)`` their sum.

    Assigning takes a list of as many values. Programs on other CPUs change their values meanwhile.

    Examples
    --------
    >>> s.maps["hits"][0], s.maps["hits"].sum(0)
    ([5, 2], 7)
    """

    def sum(self, key: Any) -> Any:
        """Return the sum over all CPUs; of a struct or an array, the sum of each number in it.

        What is no number (text, bool, enum) is the first CPU's that is not zero.
        """
        return table.total(self[key])

    def df(self, *, per_cpu: bool = False) -> pd.DataFrame:
        """Return all entries as a DataFrame, numbers summed over CPUs; otherwise see :meth:`BpfMap.df`.

        Parameters
        ----------
        per_cpu
            A row for each CPU, with a column ``cpu``, instead of sums.
        """
        entries = self._entries()
        return self._labelled(table.frame(self._facts, entries, per_cpu=per_cpu, lookup=self._maps.lookup), entries)

    def _decode_value(self, raw: bytes) -> list[Any]:
        assert self._facts.value is not None
        step = self._facts.stride // self._facts.cpus
        return [self._facts.value.node.read(raw, cpu * step) for cpu in range(self._facts.cpus)]

    def _encode_value(self, value: Any, held: contextlib.ExitStack) -> bytes:  # noqa: ARG002
        facts = self._facts
        assert facts.value is not None
        each = None if isinstance(value, tuple) else sequence_of(value)  # a tuple is one array or struct
        if each is None or len(each) != facts.cpus:
            hint = f"give a list of {facts.cpus} values, one for each CPU: [v] * {facts.cpus} for the same"
            raise misfit(f"{self.name} value", value, f"is not a value for each of {facts.cpus} CPUs", hint)
        step = facts.stride // facts.cpus
        encoded = (facts.value.encode(v, f"{self.name} value[{cpu}]") for cpu, v in enumerate(each))
        return b"".join(data.ljust(step, b"\0") for data in encoded)
