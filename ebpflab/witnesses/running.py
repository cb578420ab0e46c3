# One witness at work: started, asked what it counted and what that cost, ended. A session or a trace behind one face.

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import EbpflabError, PrivilegeError, ToolMissingError
from ..loading import load
from ..tracer.trace import Trace, bpftrace

if TYPE_CHECKING:
    from ..session import Session
    from .texts import Text


class Running:
    # `error` is why it could not be started; times are milliseconds since `began`, which is time.perf_counter().
    def __init__(self, text: Text) -> None:
        self.text = text
        self.error: EbpflabError | None = None
        self.started_ms = self.ready_ms = 0.0
        self._holder: Session | Trace | None = None
        self._before = (0, 0)

    def start(self, began: float) -> None:
        self.started_ms = (time.perf_counter() - began) * 1000
        try:
            self._holder = self._started(self.text)
        except EbpflabError as error:
            self.error = error
        self.ready_ms = (time.perf_counter() - began) * 1000

    @property
    def note(self) -> str:
        # What is to be said of it: why it did not start, or what it did instead.
        return "; ".join(filter(None, (self.error.what, self.error.hint))) if self.error else self.text.note

    @property
    def works(self) -> bool:
        return self._holder is not None

    def mark(self) -> None:
        # From here on its runs are counted; the kernel's statistics may have been on before, for somebody else.
        if self.works:
            self._before = self._total()

    def runs(self) -> tuple[int, int]:
        # How often its programs ran since then, and for how many nanoseconds, by the kernel's statistics.
        runs, ns = self._total()
        return runs - self._before[0], ns - self._before[1]

    def counts(self) -> dict[int, int] | None:
        # By slice; 0 where there are none. None if that cannot be known any more.
        if isinstance(self._holder, Trace):
            return self._printed(self._holder)
        assert self._holder is not None
        if self._holder.engine == "libbpf":
            held = self._holder.vars["counted"]
            return dict(enumerate(map(int, held))) if hasattr(held, "__len__") else {0: int(held)}
        return {int(key): int(count) for key, count in self._holder.maps["counted"].items()}

    def _printed(self, trace: Trace) -> dict[int, int] | None:
        # bpftrace prints what it counted when it ends, if nobody ends it otherwise.
        trace.close()
        said = "; ".join(trace.warnings)
        if trace._process is None or trace._process.status != 0:
            self.error = EbpflabError("bpftrace ended without saying what it counted", hint=said or None)
            return None
        rows = trace.maps["counted"].df().to_numpy().tolist()
        self.text = replace(self.text, note="; ".join(filter(None, (self.text.note, said))))
        return {int(row[0]) if len(row) > 1 else 0: int(row[-1]) for row in rows}

    def close(self) -> None:
        if self._holder is not None:
            self._holder.close()

    def _started(self, text: Text) -> Session | Trace:
        name = f"check_{text.witness}"
        try:
            if text.witness == "bpftrace":
                return bpftrace(text.source, name=name)
            return load(text.source, name=name, engine=text.witness, targets=text.targets)
        except (ToolMissingError, PrivilegeError):
            raise
        except EbpflabError:
            if text.otherwise is None:
                raise
            self.text = text.otherwise
            return self._started(text.otherwise)

    def _total(self) -> tuple[int, int]:
        assert self._holder is not None
        programs = self._holder.programs
        return int(programs["run_cnt"].sum()), int(programs["run_ns"].sum())
