# What a refusal for lack of privilege comes from, after looking: its cause, what it is not, and what to do.

from __future__ import annotations

import errno
import os
import sys
from dataclasses import dataclass, replace

from .. import _probes
from . import kernel

# A word of the cause, and what to do. `{caps}` are the missing capabilities as setcap(8) names them.
_ADVICE = (
    ("container, which has to be started with them", "start the container with {flags}"),
    ("the process lacks", "start Jupyter as root, or allow this Python to: sudo setcap {caps}+ep {python}"),
    ("user namespace", "start it outside of the user namespace: as root on the host, or in a rootful container"),
    ("RLIMIT_MEMLOCK", "raise the limit before starting Jupyter: ulimit -l unlimited"),
    ("lockdown", "boot without lockdown=confidentiality; packets and cgroups can be watched all the same"),
    ("tracefs", "start Jupyter as root, or let its group read it: mount -o remount,gid=GROUP,mode=750 {tracefs}"),
    ("seccomp", "allow bpf and perf_event_open in the filter; docker run --security-opt seccomp=unconfined does"),
    ("trampolines", 'hooks(kind="tp_btf") lists hooks that do without'),
    ("SELinux", "allow what ausearch -m avc shows, with audit2allow(1)"),
)


@dataclass(frozen=True)
class Privilege:
    # Why the kernel said EPERM or EACCES: `cause`, `hint` with what to do behind it, `ruled_out` as a sentence or "".
    cause: str
    hint: str
    ruled_out: str


def refused(number: int) -> bool:
    # Whether somebody was refused, and not something: filters of system calls may also answer that there is no such.
    return number in (errno.EPERM, errno.EACCES) or (number == errno.ENOSYS and bool(_filtered()))


def _filtered() -> tuple[str, ...]:
    return _probes.filtered() if kernel.facts().seccomp == 2 else ()


def explain(number: int, action: str) -> Privilege:
    # `action` is "load" or "attach", with the kind of program behind a colon, as kernel.privilege_cause() takes it.
    now = kernel.facts()
    answers = _filtered()
    if now.seccomp == 2 and not answers:
        now = replace(now, seccomp=0)  # there is a filter, and it lets these calls pass
    cause = kernel.privilege_cause(number, action, now)
    if answers and (number == errno.ENOSYS or cause.startswith("a seccomp filter")):
        cause = f"a seccomp filter refuses {' and '.join(answers)} to this process"
    return Privilege(cause, f"{cause}; {_advice(cause, now)}", _ruled_out(cause, now, number))


def _advice(cause: str, now: kernel.Facts) -> str:
    advice = next((advice for word, advice in _ADVICE if word in cause), "%bpf doctor shows what this process may do")
    missing = [name for name in kernel.CAPABILITIES if f"{name} " in f"{cause} ".replace(",", " ")]
    return advice.format(
        caps=",".join(name.lower() for name in missing),
        flags=" ".join(f"--cap-add {name.removeprefix('CAP_')}" for name in missing),
        python=os.path.realpath(sys.executable),
        tracefs=now.tracefs,
    )


def _ruled_out(cause: str, now: kernel.Facts, number: int) -> str:
    # Only where the cause is not certain: what was looked at and is not in the way.
    if cause.startswith(
        ("the process lacks", "the capabilities hold", "RLIMIT", "tracefs", "a seccomp filter refuses")
    ):
        return ""
    innocent = {
        "missing capabilities": True,
        "a user namespace": now.user_namespace is False,
        "lockdown": now.lockdown in ("none", "integrity"),
        "a seccomp filter": now.seccomp == 0,
        "the limit of locked memory": number != errno.EPERM or now.version >= (5, 11) or now.memlock == -1,
        "SELinux": now.lsms is not None and "selinux" not in now.lsms,
    }
    named = [name for name, out in innocent.items() if out and name.split()[-1] not in cause]
    return f"ruled out: {', '.join(named)}" if named else ""
