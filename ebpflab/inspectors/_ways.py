# The ways to load a program of each type, and which calls the verifier allows in it.
#
# None of the verifier's words are written down here, for kernels differ in them. Each way is asked first about
# a call that no program may make; what the verifier answers to that is how it refuses calls on this kernel.

from __future__ import annotations

import errno
import functools
import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .. import _probes
from ..btf import Kind
from . import kernel_btf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..btf import Btf, Type
    from ._kfuncs import Kfunc

# Calls that are always refused: helper 0, and a function of the kernel that is not for BPF.
_NO_HELPER, _NO_HELPER_NAME = 0, r"\w*unspec#0"
_NO_KFUNC = "vfs_read"
STRUCT_OPS = "bpf_struct_ops_"  # + NAME: the value of a map that implements struct NAME

# How the verifier names the instruction that it is at. Whoever fails before is no witness to the call.
_AT_THE_CALL = re.compile(r"^0: \(85\) call ", re.MULTILINE)


class _Recipe(NamedTuple):
    attach_type: str = ""
    target: str = ""  # name in the kernel's BTF
    kind: Kind = Kind.FUNC
    sleepable: bool = False


_PLAIN, _SLEEPABLE = _Recipe(), _Recipe(sleepable=True)
# What a program of a type has to be loaded for, where that is not nothing. The functions called test exist
# in every kernel, for BPF's own tests.
_RECIPES = {
    "kprobe": (_PLAIN, _SLEEPABLE, _Recipe("BPF_TRACE_KPROBE_MULTI"), _Recipe("BPF_TRACE_KPROBE_SESSION")),
    "cgroup_sock_addr": (
        _Recipe("BPF_CGROUP_INET4_CONNECT"),
        _Recipe("BPF_CGROUP_INET4_BIND"),
        _Recipe("BPF_CGROUP_UDP4_SENDMSG"),
        _Recipe("BPF_CGROUP_UNIX_CONNECT"),
    ),
    "lirc_mode2": (_Recipe("BPF_LIRC_MODE2"),),
    "sk_reuseport": (_PLAIN, _Recipe("BPF_SK_REUSEPORT_SELECT_OR_MIGRATE")),
    "cgroup_sockopt": (_Recipe("BPF_CGROUP_GETSOCKOPT"), _Recipe("BPF_CGROUP_SETSOCKOPT")),
    "tracing": (
        _Recipe("BPF_TRACE_RAW_TP", "btf_trace_sched_switch", Kind.TYPEDEF),
        _Recipe("BPF_TRACE_ITER", "bpf_iter_task"),
        _Recipe("BPF_TRACE_ITER", "bpf_iter_task", sleepable=True),
        _Recipe("BPF_TRACE_FENTRY", "bpf_fentry_test1"),
        _Recipe("BPF_TRACE_FEXIT", "bpf_fentry_test1"),
        _Recipe("BPF_TRACE_FSESSION", "bpf_fentry_test1"),
        _Recipe("BPF_MODIFY_RETURN", "bpf_modify_return_test"),
        _Recipe("BPF_MODIFY_RETURN", "bpf_modify_return_test", sleepable=True),
    ),
    "lsm": (
        _Recipe("BPF_LSM_MAC", "bpf_lsm_file_open"),
        _Recipe("BPF_LSM_MAC", "bpf_lsm_file_open", sleepable=True),
        _Recipe("BPF_LSM_CGROUP", "bpf_lsm_socket_bind"),
    ),
    "sk_lookup": (_Recipe("BPF_SK_LOOKUP"),),
    "syscall": (_SLEEPABLE,),
    "netfilter": (_Recipe("BPF_NETFILTER"),),
}


# Whether a call is allowed, or the kernel's answer where that does not tell.
Reply: TypeAlias = "bool | _probes.Answer"


class Way:
    # One way to load a program of a type.

    def __init__(self, program: _probes.Program, no_kfunc: int) -> None:
        self.program = program
        self._no_kfunc = no_kfunc

    @functools.cached_property
    def answer(self) -> _probes.Answer:
        # What the kernel says to a program that does nothing.
        return _probes.load(self.program)

    @property
    def withheld(self) -> bool:
        # Whether the kernel would not even look at the program, so that nothing is known about its calls.
        return self.answer.errno not in (0, errno.EINVAL) and not self.answer.log

    def allows_helper(self, number: int) -> Reply:
        # Whether the program may call a helper.
        return self._allows(self._helper_refusal, _probes.call_helper(number))

    def allows_kfunc(self, function: Kfunc, module: int = -1) -> Reply:
        # Whether it may call a kernel function; *module* is the BTF descriptor of the module that has it.
        code = _probes.call_kernel(function.btf_id, module=bool(function.module))
        return self._allows(self._kfunc_refusal, code, module)

    def _allows(self, refusal: re.Pattern[str] | _probes.Answer, code: bytes, module: int = -1) -> Reply:
        if self.answer.errno:
            return self.answer
        if isinstance(refusal, _probes.Answer):
            return refusal
        answer = _probes.load(self.program, code, module)
        if answer.errno and not _AT_THE_CALL.search(answer.log):
            return answer
        return refusal.search(answer.log) is None

    @functools.cached_property
    def _helper_refusal(self) -> re.Pattern[str] | _probes.Answer:
        return _refusal(_probes.load(self.program, _probes.call_helper(_NO_HELPER)), _NO_HELPER_NAME)

    @functools.cached_property
    def _kfunc_refusal(self) -> re.Pattern[str] | _probes.Answer:
        return _refusal(_probes.load(self.program, _probes.call_kernel(self._no_kfunc)), _NO_KFUNC)


def _refusal(answer: _probes.Answer, name: str) -> re.Pattern[str] | _probes.Answer:
    # The line of the log that is about the call, with any name in the place of this one; the answer itself if
    # there is no such line. One that starts with a number and a colon is the instruction.
    found = re.search(rf"^(?!\d+: )(.*?)\b{name}\b(.*)$", answer.log, re.MULTILINE)
    if found is None:
        return answer
    return re.compile(rf"^{re.escape(found[1])}\S+{re.escape(found[2])}$", re.MULTILINE)


class Ways:
    # Every way to load a program on the running kernel, whose BTF is *btf*.

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.types = enumerators(btf, "bpf_prog_type", "BPF_PROG_TYPE_")
        self.attach_types = enumerators(btf, "bpf_attach_type", "")
        self._found: dict[str, list[Way]] = {}

    def of(self, type_name: str) -> list[Way]:
        # The ways to load a program of a type; those that this kernel has no names for are left out.
        if type_name not in self._found:
            self._found[type_name] = [Way(program, self._no_kfunc) for program in self._programs(type_name)]
        return self._found[type_name]

    def callers(self, type_name: str) -> list[Way]:
        # The ways in which a program of a type can really be loaded, or might be, were we allowed to.
        found = self.of(type_name) if type_name in self.types else []
        return [way for way in found if way.withheld or not way.answer.errno]

    @functools.cached_property
    def _no_kfunc(self) -> int:
        found = self.btf.find(_NO_KFUNC, Kind.FUNC)
        return found.id if found else 0

    def _programs(self, type_name: str) -> Iterator[_probes.Program]:
        number = self.types[type_name]
        if type_name == "struct_ops":
            yield from self._struct_ops(number)
            return
        for recipe in _RECIPES.get(type_name, (_PLAIN,)):
            target = self.btf.find(recipe.target, recipe.kind) if recipe.target else None
            named = not recipe.attach_type or recipe.attach_type in self.attach_types
            if named and (target or not recipe.target):
                attach_type = self.attach_types.get(recipe.attach_type, 0)
                flags = _probes.SLEEPABLE if recipe.sleepable else 0
                yield _probes.Program(number, attach_type, target.id if target else 0, flags)

    def _struct_ops(self, number: int) -> Iterator[_probes.Program]:
        # What a struct_ops program may call depends on the member that it implements.
        for implemented in struct_ops(self.btf):
            for index, member in enumerate(implemented.members):
                pointer = self.btf.strip(member.type_id)
                if pointer.kind is Kind.PTR and self.btf.strip(pointer.type_id).kind is Kind.FUNC_PROTO:
                    yield _probes.Program(number, index, implemented.id)


def struct_ops(btf: Btf) -> list[Type]:
    # The structs of functions that BPF can implement in this kernel, modules aside.
    names = sorted(kernel_btf.names(STRUCT_OPS.encode() + rb"(\w+)"))
    found = (btf.find(name, Kind.STRUCT) for name in names if btf.find(STRUCT_OPS + name, Kind.STRUCT))
    return [t for t in found if t is not None]


def enumerators(btf: Btf, name: str, prefix: str) -> dict[str, int]:
    # The names and numbers of an enum of bpf(2)'s, without prefix; the end marks are left out.
    found = btf.find(name, Kind.ENUM, Kind.ENUM64)
    listed = found.values if found else ()
    names = [(v.name.removeprefix(prefix), v.value) for v in listed if not v.name.startswith("__")]
    return {(n.lower() if prefix else n): number for n, number in names if not n.endswith("_DEPRECATED")}
