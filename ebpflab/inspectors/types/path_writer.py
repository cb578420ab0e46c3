"""The C that reads a path: short, with errors checked, or in plain C; each with its members asked for first.

The macros are those of libbpf's ``bpf/bpf_core_read.h``; an *accessor* is what stands between two of their commas.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ...btf import Kind
from ...errors import KernelSupportError, TypeNotFoundError
from .path_walk import RECORDS, in_user_memory, is_string, unqualified
from .paths import MOST_PER_CPU, STRING

if TYPE_CHECKING:
    from .path_walk import Hop
    from .paths import TypePath

_NOTHING = "-2 /* ENOENT */"  # the name is a macro, which only cells have without an #include
_MOST_ACCESSORS = 9  # of BPF_CORE_READ
_AGGREGATES = (*RECORDS, Kind.ARRAY)
_STATEMENT = re.compile(r"if |\w+ = |(?!typeof)\w+\(")  # anything else that is written here is a declaration
# What the macros call their own variables: inside of them, ours of that name would be meant no longer.
_MACROS_OWN = {"val", "p", "__t", "__r"}


def statements(path: TypePath, base: str, into: str, *, errors: bool, guarded: bool, direct: bool) -> str:
    """Return what :meth:`TypePath.c` does, with both variables named."""
    writer = _Writer(path, base, into)
    if direct:
        writer.read_directly(tested=errors)
    elif errors:
        writer.read_checked(guarded=guarded)
    else:
        writer.read()
    return writer.text(_questions(path) if guarded else [])


def scratch(path: TypePath) -> str:
    """Return the definition of the map that a large value is read into."""
    kind = "PERCPU_ARRAY" if path.size <= MOST_PER_CPU else "ARRAY"
    value = _declaration(path, len(path.hops) - 1, "").strip()
    return (
        f"struct {{\n\t__uint(type, BPF_MAP_TYPE_{kind});\n\t__uint(max_entries, 1);\n\t__type(key, __u32);\n"
        f'\t__type(value, {value});\n}} {_scratch_name(path)} SEC(".maps");'
    )


def _scratch_name(path: TypePath) -> str:
    return f"{_member_name(path.hops[-1], path)}_scratch"


def _member_name(hop: Hop, path: TypePath) -> str:
    # The last member of a hop; of one that is an index alone, that of the hop before it.
    found = re.findall(r"[A-Za-z_]\w*", hop.accessor)
    return found[-1] if found else _member_name(path.hops[path.hops.index(hop) - 1], path)


def _behind(source: str, hop: Hop) -> str:
    return f"{source}{hop.accessor}" if hop.indexed else f"{source}->{hop.accessor}"


def _never_evaluated(path: TypePath, hops: int) -> str:
    # What the first hops lead to, for typeof: the way to name a type that has no name.
    text = f"(({path.source.btf.c_type(path.type_id)} *)0)"
    for hop in path.hops[:hops]:
        text = _behind(text, hop)
    return text


def _declaration(path: TypePath, number: int, name: str) -> str:
    # A variable for what a hop reads. Qualifiers go, since it will be written to; what has no name gets typeof.
    btf = path.source.btf
    type_id = unqualified(btf, path.hops[number].type_id)
    core = btf.strip(type_id)
    if core.kind is Kind.PTR and btf.strip(core.type_id).kind is Kind.FUNC_PROTO:
        return f"void *{name}"
    spelled = btf.c_type(type_id, name)
    return f"typeof({_never_evaluated(path, number + 1)}) {name}" if "{...}" in spelled else spelled


def _questions(path: TypePath) -> list[str]:
    # Whether the kernel has the members: one question for each hop, since each starts in a type of its own.
    asked = []
    for number, hop in enumerate(path.hops):
        owner = path.source.btf.c_type(hop.owner)
        if "{...}" in owner:
            owner = f"typeof(*{_never_evaluated(path, number)})"
        member = hop.accessor.partition("].")[2] if hop.indexed else hop.accessor
        if member:
            asked.append(f"bpf_core_field_exists({owner}, {member})")
    return list(dict.fromkeys(asked))


def _spaced(lines: list[str]) -> str:
    # With a blank line behind the first declarations, as the kernel's style has it.
    declared = next((i for i, line in enumerate(lines) if _STATEMENT.match(line)), len(lines))
    return "\n".join([*lines[:declared], *([""] if 0 < declared < len(lines) else []), *lines[declared:]])


class _Writer:
    # Collects what stands outside of the question whether there are such members, and what inside; the value comes
    # either from an expression, or from a statement that fills the variable.

    def __init__(self, path: TypePath, base: str, into: str) -> None:
        self._path, self._base, self._into = path, base, into
        self._btf = path.source.btf
        self._names = {base, into} | _MACROS_OWN
        self._outer: list[str] = []
        self._inner: list[str] = []
        self._expression = ""
        self._last = path.hops[-1]
        self._kind = self._btf.strip(self._last.type_id).kind
        self._string = not self._last.bits and is_string(self._btf, self._last.type_id)
        if not (path.size or self._string):
            hint = f"name an element of it: {path.text}[0]" if self._kind is Kind.ARRAY else "name one of its members"
            raise TypeNotFoundError(f"{path.text} is {path.type}, which has no bytes to read", hint=hint)
        if self._last.bits and self._last.user:
            hint = "read the struct that it is in, and take the bits from the copy"
            raise KernelSupportError(f"no macro reads bitfields like {path.text} from a process", hint=hint)
        self._declare()

    def text(self, questions: list[str]) -> str:
        """The statements; with questions, in an `if` that asks them."""
        value = self._expression
        if not questions:
            last = f"{self._declared} = {value};"
            return _spaced([*self._inner, last] if value else [*self._outer, *self._inner])
        inner = _spaced([*self._inner, f"{self._into} = {value};"] if value else self._inner)
        body = inner.replace("\n", "\n\t").replace("\n\t\n", "\n\n")
        condition = " &&\n    ".join(questions)
        alone = "\n" not in body
        asked = f"if ({condition})\n\t{body}" if alone else f"if ({condition}) {{\n\t{body}\n}}"
        return "\n".join([*self._outer, "", asked])

    # --- the ways to read ---

    def read(self) -> None:
        """As few reads as it takes, unchecked."""
        source = self._base
        *first, last = self._runs()
        for run in first:
            source = self._through(source, run)
        pointer = self._kind is Kind.PTR
        if self._last.bits:
            self._expression = self._bitfield("BPF_CORE_READ_BITFIELD_PROBED", source, self._last)
        elif self._string and pointer:
            place = self._through(source, last) if self._last.indexed else self._value_of(source, last)
            self._inner.append(f"{self._string_read(place)};")
        elif self._string or self._kind in _AGGREGATES or self._last.indexed:
            self._inner.append(self._if_there(f"{self._fill(source, last)};"))
        else:
            self._expression = self._value_of(source, last)

    def read_checked(self, *, guarded: bool) -> None:
        """A read for each pointer, and its result."""
        error, hops, source = self._fresh("err"), self._path.hops, ""
        pointers = hops if self._string and self._kind is Kind.PTR else hops[:-1]
        names = [self._fresh(_member_name(hop, self._path)) for hop in pointers]
        self._inner += [f"{_declaration(self._path, i, name)} = NULL;" for i, name in enumerate(names)]
        checks: list[tuple[str, str]] = []  # what must not be NULL, and a read
        for hop, name in zip(pointers, names, strict=True):
            checks.append((source, self._call(f"&{name}", source or self._base, [hop])))
            source = name
        if len(pointers) == len(hops):
            checks.append((source, self._string_read(source)))
        elif not self._last.bits:
            tests = filter(None, (source, self._into * self._path.large))
            checks.append((" && ".join(tests), self._fill(source or self._base, [self._last], single=True)))
        values = [f"{test} ? {call} : {_NOTHING}" if test else call for test, call in checks] or ["0"]
        self._outer += [f"long {error} = {_NOTHING};"] if guarded else []
        self._inner.append(f"{'' if guarded else 'long '}{error} = {values[0]};")
        self._inner += [f"if (!{error})\n\t{error} = {value};" for value in values[1:]]
        if self._string:
            self._inner.append(f"if ({error} > 0) /* the length of the string */\n\t{error} = 0;")
        if self._last.bits:
            self._inner += [f"if (!{error} && !{source})\n\t{error} = {_NOTHING};"] if source else []
            where = self._bitfield("BPF_CORE_READ_BITFIELD_PROBED", source or self._base, self._last)
            self._inner.append(f"if (!{error})\n\t{self._into} = {where};" if source else f"{self._into} = {where};")

    def read_directly(self, *, tested: bool) -> None:
        """In plain C, which the verifier follows; *tested* for the pointers that it takes for possibly NULL."""
        source = self._base
        for number, hop in enumerate(self._path.hops):
            if number:
                self._refuse_what_the_verifier_does(number, hop)
        for number, hop in enumerate(self._path.hops[:-1]):
            place = _behind(source, hop)
            if tested:
                name = self._fresh(_member_name(hop, self._path))
                value = place if source == self._base else f"{source} ? {place} : NULL"
                self._inner.append(f"{_declaration(self._path, number, name)} = {value};")
                place = name
            source = place
        test = source if tested and source != self._base else ""
        place = _behind(source, self._last)
        if self._last.bits:
            place = self._bitfield("BPF_CORE_READ_BITFIELD", source, self._last)
        if self._string or self._kind in _AGGREGATES:
            size = f"sizeof({'*' * self._path.large}{self._into})"
            call = self._string_read(place, self._kind is Kind.PTR)
            if not self._string or self._path.large:
                read = "bpf_core_read_str" if self._string else "bpf_core_read"
                call = f"{read}({'' if self._path.large else '&'}{self._into}, {size}, &{place})"
            test = " && ".join(filter(None, (test, self._into * self._path.large)))
            self._inner.append(f"if ({test})\n\t{call};" if test else f"{call};")
        else:
            self._expression = f"{test} ? {place} : 0" if test else place

    # --- their parts ---

    def _declare(self) -> None:
        # The variable for the value, and what it is before anything is read.
        last, into = len(self._path.hops) - 1, self._into
        if self._path.large:
            zero = self._fresh("zero")
            found = f"bpf_map_lookup_elem(&{_scratch_name(self._path)}, &{zero})"
            self._outer += [f"__u32 {zero} = 0;", f"{_declaration(self._path, last, f'*{into}')} = {found};"]
            self._declared = ""
            return
        core = self._btf.strip(self._last.type_id)
        unknown = self._string and (self._kind is Kind.PTR or not core.length)
        self._declared = f"char {into}[{STRING}]" if unknown else _declaration(self._path, last, into)
        filled = self._string or self._kind in _AGGREGATES
        self._outer.append(f"{self._declared} = {'{}' if filled else '0'};")

    def _runs(self) -> list[list[Hop]]:
        # Hops that one macro reads: it has room for nine, follows plain arrows only, in one memory.
        runs: list[list[Hop]] = [[]]
        for hop in self._path.hops:
            run = runs[-1]
            apart = run and (hop.indexed or run[-1].indexed or hop.user != run[-1].user)
            if apart or len(run) == _MOST_ACCESSORS or (run and hop is self._last and hop.bits):
                runs.append([])
            runs[-1].append(hop)
        return runs

    def _through(self, source: str, run: list[Hop]) -> str:
        # Reads the pointer at the end of a run into a variable of its own.
        name = self._fresh(_member_name(run[-1], self._path))
        declared = _declaration(self._path, self._path.hops.index(run[-1]), name)
        if run[-1].indexed:
            self._inner += [f"{declared} = NULL;", f"{self._call(f'&{name}', source, run)};"]
        else:
            self._inner.append(f"{declared} = {self._value_of(source, run)};")
        return name

    def _value_of(self, source: str, run: list[Hop]) -> str:
        user = "_USER" if run[-1].user else ""
        return f"BPF_CORE_READ{user}({', '.join([source, *(hop.accessor for hop in run)])})"

    def _call(self, into: str, source: str, run: list[Hop], string: bool = False) -> str:
        # A single read into a variable, given as the address of it.
        size = f"sizeof({into[1:] if into.startswith('&') else f'*{into}'})"
        read = f"bpf_core_read{'_user' if run[-1].user else ''}{'_str' if string else ''}"
        return f"{read}({into}, {size}, &{_behind(source, run[-1])})"

    def _fill(self, source: str, run: list[Hop], *, single: bool = False) -> str:
        # Reads the value itself, which is no pointer to a string.
        into = self._into if self._path.large else f"&{self._into}"
        if single or run[-1].indexed:
            return self._call(into, source, run, self._string)
        read = f"BPF_CORE_READ{'_USER' if run[-1].user else ''}{'_STR' if self._string else ''}_INTO"
        return f"{read}({', '.join([into, source, *(hop.accessor for hop in run)])})"

    def _string_read(self, place: str, behind: bool = True) -> str:
        # Copies the string that `place` points to.
        user = behind and in_user_memory(self._btf, self._last)
        return f"bpf_probe_read_{'user' if user else 'kernel'}_str({self._into}, sizeof({self._into}), {place})"

    def _if_there(self, statement: str) -> str:
        return f"if ({self._into})\n\t{statement}" if self._path.large else statement

    def _bitfield(self, macro: str, source: str, hop: Hop) -> str:
        # The macro takes a pointer to the struct, and adds to it what it finds to be the field's offset.
        owner, member = self._btf.c_type(hop.owner), hop.accessor
        if hop.indexed:
            index, _, member = hop.accessor[1:].partition("].")
            name = self._fresh("element")
            self._inner.append(f"{owner} *{name} = (void *){source} + {index} * bpf_core_type_size({owner});")
            source = name
        elif re.split(r"\W", source)[0] in _MACROS_OWN:
            name = self._fresh("holder")
            self._inner.append(f"{owner} *{name} = {source};")
            source = name
        return f"{macro}({source}, {member})"

    def _refuse_what_the_verifier_does(self, number: int, hop: Hop) -> None:
        before = self._path.hops[number - 1]
        spelled = self._btf.c_type(before.type_id)
        record = self._btf.strip(hop.owner).kind in RECORDS
        if hop.indexed or hop.user or not record:
            what = f"the verifier does not follow {before.accessor} ({spelled}) in {self._path.text}"
            hint = "leave direct out: the CO-RE macros read anything"
            raise KernelSupportError(what, hint=hint, stage="inspect")

    def _fresh(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name
