"""The libbpf engine: open, load, attach, detach and close through libbpf's C API."""

from __future__ import annotations

import contextlib
import ctypes as ct
import mmap
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence

from .. import _libbpf
from ..errors import AttachError, SessionError
from ..inspectors import search
from ..program_types import Section, Target, parse_section, parse_target
from . import _libbpf_errors as explain
from ._event_maps import EventMaps
from ._instructions import helper_calls, loaded_instructions
from ._older_libbpf import readable
from ._program_info import loaded_info
from .attach import ATTACH, Attachment, Request
from .attach.aim import aim, aim_map
from .attach.reap import reap
from .base import Instructions, LinkInfo, MapInfo, ProgramInfo, TestResult, TestRun

# Enough for the longest log the kernel writes. The pages are only reserved: a program that loads touches none.
_LOG_SIZE = 128 << 20
_STRUCT_OPS = 26  # BPF_MAP_TYPE_STRUCT_OPS, include/uapi/linux/bpf.h
_SOCK_MAPS = (15, 18)  # BPF_MAP_TYPE_SOCKMAP, BPF_MAP_TYPE_SOCKHASH
_MMAPABLE = 1 << 10  # BPF_F_MMAPABLE
_LOG_ALL_PATHS = 2  # BPF_LOG_LEVEL2, include/linux/bpf_verifier.h: level 1 forgets the paths that were fine
_LOG_STATISTICS = 4  # BPF_LOG_STATS
_ROOM = 4096  # by which a program may make its packet longer in a test run


class LibbpfEngine:
    """Opens objects with the system's libbpf."""

    name = "libbpf"

    def open(self, data: bytes, *, name: str, targets: Mapping[str, str]) -> LibbpfHandle:
        """Parse an object file; raises LoadError with libbpf's words when it is none."""
        reap()
        return LibbpfHandle(data, name, targets)


@contextlib.contextmanager
def _listening() -> Iterator[list[str]]:
    # What libbpf prints meanwhile, for the error that may follow.
    before = _libbpf.messages.lines
    lines: list[str] = []
    _libbpf.messages.lines = lines
    _libbpf.collect_messages(_libbpf.library())
    try:
        with _libbpf.interrupts_later():
            yield lines
    finally:
        _libbpf.messages.lines = before


class LibbpfHandle:
    """One bpf_object with the links made from it; not for use by two threads at once, except :meth:`programs`."""

    def __init__(self, data: bytes, name: str, targets: Mapping[str, str]) -> None:
        self._lib = _libbpf.library()
        self._links: dict[int, Attachment] = {}
        self._numbers = 0
        self._lock = threading.RLock()
        known = readable(self._lib, data)
        self._file, self._sections = data, known.sections
        self._data = ct.create_string_buffer(known.data, len(data))  # libbpf reads from it until the object is closed
        self._name = name
        self._options = _libbpf.OpenOpts(sz=ct.sizeof(_libbpf.OpenOpts), object_name=name.encode())
        with _listening() as lines:
            self._object: int | None = self._lib.bpf_object__open_mem(self._data, len(data), ct.byref(self._options))
        if not self._object:
            raise explain.open_failed(ct.get_errno(), lines)
        self._all = dict(self._walk(self._lib.bpf_object__next_program, self._lib.bpf_program__name))
        self._programs = {name: pointer for name, pointer in self._all.items() if self._is_loaded(pointer)}
        self._maps = {
            self._map_name(name, pointer): pointer
            for name, pointer in self._walk(self._lib.bpf_object__next_map, self._lib.bpf_map__name)
        }
        self._event_maps = EventMaps(self._lib, self._maps)
        self.btf = self._read_btf()
        self._targets = dict(targets)
        self._loaded = False

    def programs(self) -> Sequence[ProgramInfo]:
        """Every program; the counters are the kernel's, as of now."""
        with self._lock:
            self._open()
            return [self._program_info(name, pointer) for name, pointer in self._programs.items()]

    def optional(self) -> Sequence[ProgramInfo]:
        """The programs in sections that start with a question mark, but those that were chosen."""
        left = {name: pointer for name, pointer in self._all.items() if name not in self._programs}
        infos = [ProgramInfo(n, self._section_of(p), self._lib.bpf_program__insn_cnt(p)) for n, p in left.items()]
        return [info for info in infos if info.section != ".text"]

    def choose(self, programs: Sequence[str]) -> None:
        """Take in optional programs, before load."""
        for name in programs:
            self._lib.bpf_program__set_autoload(self._all[name], True)
        self._programs = {name: pointer for name, pointer in self._all.items() if self._is_loaded(pointer)}

    def maps(self) -> Sequence[MapInfo]:
        """Every map, the sections of global variables included."""
        lib = self._lib
        self._open()
        return [
            MapInfo(
                name,
                type=lib.bpf_map__type(p),
                key_size=lib.bpf_map__key_size(p),
                value_size=lib.bpf_map__value_size(p),
                max_entries=lib.bpf_map__max_entries(p),
                flags=lib.bpf_map__map_flags(p),
                internal=lib.bpf_map__is_internal(p),
                fd=lib.bpf_map__fd(p) if self._loaded else None,
                **self._event_maps.facts(name),
            )
            for name, p in self._maps.items()
        ]

    def initial(self, map_name: str) -> memoryview:
        """The bytes that a section of global variables starts with; writing them is possible until load."""
        size = ct.c_size_t()
        address = self._lib.bpf_map__initial_value(self._maps[map_name], ct.byref(size))
        return memoryview((ct.c_char * size.value).from_address(address)).cast("B") if address else memoryview(b"")

    def resize(self, map_name: str, size: int) -> None:
        """Give an event buffer another size before load, in bytes; of one with a ring for each CPU, of each ring.

        It becomes a power of two and a multiple of the page size, at least what was asked for.

        Raises
        ------
        CellError
            When the map is no event buffer, or none can have that size.
        """
        self._open()
        self._event_maps.resize(map_name, size)

    def calls(self, program: str) -> frozenset[int]:
        """The helper numbers in a program's instructions."""
        return helper_calls(self._lib, self._programs[program])

    def instructions(self, program: str) -> Instructions:
        """A program's instructions as the kernel keeps them, with the names of what they refer to."""
        with self._lock:
            self._open()
            return loaded_instructions(self._lib, self._object, self._programs[program], self._maps)

    def load(self) -> None:
        """Create the maps and load the programs.

        Raises
        ------
        VerifierError
            With the whole log, when the verifier refuses a program.
        PrivilegeError
            When the kernel says EPERM; names what is missing.
        AttachError
            When a hook that the verifier has to know is not named, or does not exist.
        LoadError
            For anything else.
        """
        with self._lock:
            maps = self.maps()
            # Quietly first: libbpf asks for the log only after a refusal, and loading stops there, so one is enough.
            status, lines, logs = self._load_object(level=0, names=list(self._programs)[:1])
        if status:
            sizes = {name: self._lib.bpf_program__insn_cnt(pointer) for name, pointer in self._programs.items()}
            raise explain.load_failed(-status, lines, "".join(logs.values()), self._aims(), maps, sizes)
        self._event_maps.fill()
        self._loaded = True

    def verifier_log(self, *, statistics: bool = False) -> Mapping[str, str]:
        """What the verifier says of every program; it is asked again, in an object of its own that is then closed.

        A log that does not fit its buffer is cut, and says so at its end.
        """
        again = LibbpfHandle(self._file, self._name, self._targets)
        again.choose([name for name in self._programs if name not in again._programs])
        again._event_maps.sizes.update(self._event_maps.sizes)
        try:
            for info in self.maps():
                if info.internal:  # constants that were set before load decide what the verifier sees
                    again.initial(info.name)[:] = self.initial(info.name)
            level = _LOG_STATISTICS if statistics else _LOG_ALL_PATHS
            status, lines, logs = again._load_object(level=level, names=list(self._programs))
        finally:
            again.close()
        if status:
            last = next(name for name in reversed(logs) if logs[name] or name == next(iter(logs)))
            logs[last] += f"\n{explain.load_failed(-status, lines, '').what}"
        return logs

    def attach(self, program: str, target: str | None) -> LinkInfo:
        """Attach one program; the target defaults to the one that its section names.

        Raises
        ------
        HookNotFoundError
            When the target does not exist; names the nearest that do.
        AttachError
            When the kernel refuses.
        PrivilegeError
            When it refuses for lack of privilege.
        """
        with self._lock:
            self._open()
            parsed = self._parsed(program)
            row = parsed.type
            if row.attach == "map" and program in self._programs:
                structs = [info.name for info in self.maps() if info.type == _STRUCT_OPS]
                raise AttachError(f"{program} is attached with its struct", hint=f"attach {' or '.join(structs)}")
            if not parsed.attachable:
                runs = None if parsed.prefix in row.unattached else f"run it with test_run('{program}')"
                raise AttachError(f"{program}: {parsed.reason}", hint=runs)
            where = parse_target(row, target or self._target(program))
            self._check_target(program, parsed, where)
            request = self._request(program, parsed, where)
            with _listening() as lines:
                ct.set_errno(0)
                try:
                    attachment = ATTACH[row.kind](request)
                except OSError as error:
                    raise explain.attach_failed(program, parsed, where, error.errno or 0, lines, request) from None
                self._numbers += 1
                self._links[self._numbers] = attachment
            shown = attachment.place or str(where) or program
            return LinkInfo(self._numbers, program, row.kind, shown, attachment.fd)

    def detach(self, link: LinkInfo) -> None:
        """Detach one link; harmless when it is gone already."""
        with self._lock:
            attachment = self._links.pop(link.number, None)
            if attachment:
                attachment.close()

    def iterate(self, link: LinkInfo) -> int:
        """A file descriptor whose reads run the iterator once over everything."""
        fd: int = self._lib.bpf_iter_create(link.fd)
        if fd < 0:
            raise AttachError(f"{link.program}: cannot open the iterator: {os.strerror(-fd)}", errno=-fd)
        return fd

    def test_run(self, program: str, run: TestRun) -> TestResult:
        """Run a program in the kernel with the given packet or context.

        Needs Linux 4.12 or later; which program types can be run so depends on the kernel.
        """
        self._open()
        options = _libbpf.TestRunOpts(sz=ct.sizeof(_libbpf.TestRunOpts), repeat=run.repeat if run.repeat > 1 else 0)
        # The kernel refuses buffers that a type has no use for.
        packet = context = None
        if run.data is not None:
            data = ct.create_string_buffer(run.data, len(run.data))
            packet = ct.create_string_buffer(len(run.data) + _ROOM)
            options.data_in, options.data_size_in = ct.addressof(data), len(run.data)
            options.data_out, options.data_size_out = ct.addressof(packet), len(packet)
        if run.ctx is not None:
            context = given = ct.create_string_buffer(run.ctx, len(run.ctx))
            options.ctx_in, options.ctx_size_in = ct.addressof(given), len(run.ctx)
            if run.back == "out":
                context = ct.create_string_buffer(len(run.ctx))
                options.ctx_out, options.ctx_size_out = ct.addressof(context), len(run.ctx)
        status = self._lib.bpf_prog_test_run_opts(self._lib.bpf_program__fd(self._programs[program]), ct.byref(options))
        if status:
            raise explain.test_run_failed(program, self._section(program), -status)
        data_out = packet.raw[: options.data_size_out] if packet is not None else b""
        ctx_out = context.raw if context is not None and run.back else b""
        return TestResult(options.retval, data_out, ctx_out, options.duration)

    def close(self) -> None:
        """Detach everything and free the object; its maps stay only as long as somebody holds their descriptors."""
        with self._lock:
            with contextlib.ExitStack() as stack:
                stack.callback(self._free)
                stack.callback(self._event_maps.close)
                for attachment in self._links.values():  # the last one attached is the first to go
                    stack.callback(attachment.close)
            self._links.clear()

    def _free(self) -> None:
        if self._object:
            self._lib.bpf_object__close(self._object)
            self._object = None

    def _open(self) -> None:
        if not self._object:
            raise SessionError("this object is closed", hint="load the cell again")

    def _walk(self, following: Callable[..., int], name: Callable[..., bytes]) -> Iterator[tuple[str, int]]:
        pointer = following(self._object, None)
        while pointer:
            yield name(pointer).decode(), pointer
            pointer = following(self._object, pointer)

    def _is_loaded(self, pointer: int) -> bool:
        # A section that starts with a question mark is left out, and .text holds functions that programs call.
        section: bytes = self._lib.bpf_program__section_name(pointer)
        return section != b".text" and bool(self._lib.bpf_program__autoload(pointer))

    def _map_name(self, name: str, pointer: int) -> str:
        # libbpf calls the section .rodata of the object "opens" "opens.rodata"; here it is the section's name.
        internal = self._lib.bpf_map__is_internal(pointer)
        return name[name.index(".") :] if internal and "." in name else name

    def _read_btf(self) -> bytes:
        btf, size = self._lib.bpf_object__btf(self._object), ct.c_uint32()
        data = self._lib.btf__raw_data(btf, ct.byref(size)) if btf else None
        return ct.string_at(data, size.value) if data else b""

    def _section(self, program: str) -> str:
        if program in self._programs:
            return self._section_of(self._programs[program])
        return "struct_ops"  # such programs are attached by the map that holds them, under its name

    def _section_of(self, pointer: int) -> str:
        section = str(self._lib.bpf_program__section_name(pointer).decode())
        return self._sections.get(section, section)

    def _program_info(self, name: str, pointer: int) -> ProgramInfo:
        section, insns = self._section(name), self._lib.bpf_program__insn_cnt(pointer)
        return loaded_info(self._lib, name, section, pointer) if self._loaded else ProgramInfo(name, section, insns)

    def _load_object(self, level: int, names: Sequence[str]) -> tuple[int, list[str], dict[str, str]]:
        # Load, with a log buffer for each program of `names`; all programs share the first one's while the log is off.
        size = _LOG_SIZE if level == 0 else _LOG_SIZE // 8
        with (
            contextlib.ExitStack() as held,
            mmap.mmap(-1, size * len(names), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as pages,
        ):
            for name, pointer in self._programs.items():
                self._aim(name, pointer, held)
            self._prepare_maps()
            view = (ct.c_char * len(pages)).from_buffer(pages)
            for name, pointer in self._programs.items():
                slot = ct.addressof(view) + size * (names.index(name) if level else 0)
                self._lib.bpf_program__set_log_buf(pointer, slot, size)
                self._lib.bpf_program__set_log_level(pointer, level)
            try:
                with _listening() as lines:
                    status: int = self._lib.bpf_object__load(self._object)
            finally:
                del view  # the mapping cannot be closed while ctypes looks into it
                for pointer in self._programs.values():
                    self._lib.bpf_program__set_log_buf(pointer, None, 0)
            if not (status or level):
                return status, lines, {}
            starts = {name: number * size for number, name in enumerate(names)}
            logs = {n: pages[at : pages.find(b"\0", at)].decode("utf-8", "replace") for n, at in starts.items()}
        return status, lines, logs

    def _prepare_maps(self) -> None:
        self._event_maps.prepare()
        for pointer in self._maps.values():
            aim_map(self._lib, pointer)
            # libbpf makes a section mappable only if one of its variables is not static.
            if self._lib.bpf_map__is_internal(pointer):
                flags = self._lib.bpf_map__map_flags(pointer)
                self._lib.bpf_map__set_map_flags(pointer, flags | _MMAPABLE)

    def _aim(self, name: str, pointer: int, held: contextlib.ExitStack) -> None:
        # A BTF-typed hook is part of the program: another target has to be set before the verifier runs.
        parsed = self._parsed(name)
        where = parse_target(parsed.type, self._target(name))
        if parsed.type.typed:
            self._check_target(name, parsed, where)
        with _listening() as lines:
            try:
                aim(self._lib, pointer, parsed, where.place, held)
            except OSError as error:
                raise explain.attach_failed(name, parsed, where, error.errno or 0, lines) from None

    def _aims(self) -> dict[str, tuple[Section, Target]]:
        parsed = {name: self._parsed(name) for name in self._programs}
        return {name: (each, parse_target(each.type, self._target(name))) for name, each in parsed.items()}

    def _target(self, name: str) -> str:
        parsed = self._parsed(name)
        place = self._targets.get(name) or self._targets.get(self._section(name)) or parsed.place
        maps = self._sock_maps() if parsed.type.attach == "sockmap" else ()
        return place or (maps[0] if len(maps) == 1 else "")

    def _parsed(self, name: str) -> Section:
        return parse_section(self._section(name))

    def _check_target(self, name: str, parsed: Section, target: Target) -> None:
        row = parsed.type
        if not target.place and row.target:
            raise AttachError(
                f'{name}: SEC("{parsed.prefix}") does not say where to attach',
                hint=search.suggest_target(parsed, name),
            )
        fixed = parse_target(row, self._target(name)).place
        if row.typed and target.place != fixed:
            raise AttachError(
                f"{name} is verified for {fixed} and cannot move to {target.place}",
                hint=f"load the cell again with --attach {name}={target.place} (targets= in Python)",
            )

    def _request(self, name: str, parsed: Section, target: Target) -> Request:
        if parsed.type.attach == "map":
            pointer, fd = self._maps[name], self._lib.bpf_map__fd(self._maps[name])
        else:
            pointer = self._programs[name]
            fd = self._lib.bpf_program__fd(pointer)
        return Request(self._lib, pointer, fd, name, parsed, target, self._map_fd, self._sock_maps())

    def _sock_maps(self) -> tuple[str, ...]:
        return tuple(name for name, pointer in self._maps.items() if self._lib.bpf_map__type(pointer) in _SOCK_MAPS)

    def _map_fd(self, name: str) -> int | None:
        pointer = self._maps.get(name)
        return None if pointer is None else int(self._lib.bpf_map__fd(pointer))
