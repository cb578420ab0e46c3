# What has to be settled before the verifier runs: the program's type where libbpf does not know the section, and
# the hook of programs that are checked against its types.

from __future__ import annotations

import ctypes as ct

from ...program_types import ATTACH_TYPES, Section


def aim(lib: ct.CDLL, pointer: int, section: Section, hook: str) -> int:
    # Returns 0 or a negative error number. `hook` is where the program shall go, whatever its section says.
    if section.prefix in ATTACH_TYPES and not lib.bpf_program__type(pointer):
        lib.bpf_program__set_type(pointer, section.type.type)
        lib.bpf_program__set_expected_attach_type(pointer, ATTACH_TYPES[section.prefix])
    if section.type.typed and hook and hook != section.target:
        return int(lib.bpf_program__set_attach_target(pointer, 0, hook.encode()))
    return 0
