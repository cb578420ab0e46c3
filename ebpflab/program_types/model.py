"""What a row of the table of program types is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# How a program gets to its hook:
#   link      a bpf_link, which goes with its file descriptor
#   tc        a tcx link, or a clsact filter where the kernel has no tcx; the latter is journalled
#   socket    setsockopt(2) on a socket
#   sockmap   to a map of sockets, which goes with the map
#   route     a route whose encapsulation is the program; journalled
#   map       through a map of type struct_ops
#   device    to an open device, which keeps the program; journalled
#   run       run on request with test_run, never attached
How = Literal["link", "tc", "socket", "sockmap", "route", "map", "device", "run"]


class Verdict(NamedTuple):
    """A value that a program may return: its number, its name in C ("" if it has none), what the kernel does then."""

    value: int
    name: str
    meaning: str


class Option(NamedTuple):
    """What may follow a target, as in ``cpu-clock,freq=99``: its name, an example value, what it means."""

    name: str
    example: str
    meaning: str


@dataclass(frozen=True)
class ProgramType:
    """What this package knows about one kind of program.

    Attributes
    ----------
    kind
        The name that ``hooks(kind=...)``, ``context(kind)`` and sessions use.
    sections
        Section names in libbpf's spelling; a plus at the end allows a target.
    context
        The C type that the program's context pointer points to, or the rule for it.
    type
        The kernel's BPF_PROG_TYPE_* number (``include/uapi/linux/bpf.h``).
    target
        What a target looks like, in capitals; "" if the kind has none.
    hook
        What follows the section's slash, where that is not the target: the program is checked for this hook,
        and attached to something else.
    example
        A target that is likely to exist.
    options
        What may follow the target, after commas.
    default
        The target that is meant when none is given; "" if one has to be.
    attach
        How it is attached (see ``How``); "run" is never attached. None: this package cannot.
    unattached
        Sections of this kind whose programs are not attached, with the reason.
    typed
        Whether the hook is part of what the verifier checks, so that it is fixed when the program is loaded.
    verdicts
        Values that the program may return, if they have names or a fixed meaning.
    returns
        What the kernel does with the return value, in a sentence.
    test_run
        What BPF_PROG_TEST_RUN hands to the program: "data" (a packet), "ctx", or None: there is no such run.
    capabilities, features
        What loading and attaching takes, as names of capabilities(7) and of ``ebpflab.features()``.
    config
        The kernel's build options that bring it, to say why a kernel lacks it; whether it does is probed.
    first_kernel
        The Linux version that brought it, for documentation: whether a kernel has it is probed.
    """

    kind: str
    sections: tuple[str, ...]
    context: str
    type: int = 0
    target: str = ""
    hook: str = ""
    example: str = ""
    options: tuple[Option, ...] = ()
    default: str = ""
    attach: How | None = "link"
    unattached: Mapping[str, str] = field(default_factory=dict)
    typed: bool = False
    verdicts: tuple[Verdict, ...] = ()
    returns: str = ""
    test_run: Literal["data", "ctx"] | None = None
    capabilities: tuple[str, ...] = ("CAP_BPF", "CAP_PERFMON")
    features: tuple[str, ...] = ()
    config: tuple[str, ...] = ()
    first_kernel: str = ""

    @property
    def supported(self) -> bool:
        """Whether this package can make the program run: attach it, or run it where it is never attached."""
        return self.attach is not None

    @property
    def reason(self) -> str:
        """Why a program of this kind cannot be attached, or "" if it can."""
        if self.attach == "run":
            return f"a {self.kind} program is run on request and never attached"
        return "" if self.attach else f"ebpflab loads {self.kind} programs but cannot attach this kind"

    def verdict(self, value: int) -> str:
        """Return the name of a return value, or "" if it has none.

        Examples
        --------
        >>> BY_KIND["xdp"].verdict(2)
        'XDP_PASS'
        """
        # The kernel hands the value back unsigned.
        values = (value, value - (1 << 32) if value >= 1 << 31 else value)
        return next((v.name or v.meaning for v in self.verdicts if v.value in values), "")


@dataclass(frozen=True)
class Section:
    """A section name taken apart; ``type`` is the row of the table that it belongs to.

    ``autoload`` is False for a section that starts with a question mark: libbpf leaves it out unless asked.
    """

    type: ProgramType
    prefix: str
    target: str = ""
    sleepable: bool = False
    autoload: bool = True

    @property
    def kind(self) -> str:
        """The kind of program."""
        return self.type.kind

    @property
    def place(self) -> str:
        """Where the section says to attach, or where its kind is attached by default, or ""."""
        return (not self.type.hook and self.target) or self.type.default

    @property
    def attachable(self) -> bool:
        """Whether this package attaches the program."""
        return not self.reason

    @property
    def reason(self) -> str:
        """Why it does not, or ""."""
        return self.type.unattached.get(self.prefix, self.type.reason)
