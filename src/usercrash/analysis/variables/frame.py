"""One frame as location expressions ask for it: registers that are surely its own, its frame base,
its CFA, the values that parameters had when it was called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...elf.arch import Arch
from ...errors import FormatError
from ..dwarf.attributes import (
    AT_abstract_origin,
    AT_call_origin,
    AT_call_return_pc,
    AT_call_target,
    AT_call_value,
    AT_frame_base,
    AT_GNU_call_site_target,
    AT_GNU_call_site_value,
    AT_location,
    AT_low_pc,
)
from ..dwarf.functions import Level, TAG_call_site, TAG_GNU_call_site, call_entries, is_tail_call
from ..dwarf.gaps import OPTIMIZED_OUT, Gap
from ..dwarf.location_lists import expression_at
from ..dwarf.locations import number_of, register_named
from ..dwarf.names import name_of
from ..dwarf.typed_values import Typed
from ..dwarf.units import Entry, Unit
from .storage import ReadMemory, Sources
from .vectors import vector

_CALL_PARAMETERS = frozenset((0x49, 0x410A))  # DW_TAG_call_site_parameter, GNU's
_MAX_JUMPS = 32
_MAX_ENTRIES = 8  # entry values of entry values


@dataclass(frozen=True, slots=True)
class Place:
    """A frame as the unwinder gives it. `registers` by DWARF number, None for what is not surely
    this frame's; `address` and `return_pc` are those of the file (`bias` less than the process's);
    `cfa` 0: not known. `direct`: the caller is known to have called this function (no function is
    missing between); `floats` its NT_FPREGSET, where nothing was called from it."""

    registers: list[int | None]
    address: int
    return_pc: int
    bias: int
    cfa: int
    direct: bool
    floats: bytes = b""


class Frame:
    """A frame of the stack with the functions at its address, innermost first."""

    def __init__(
        self,
        place: Place,
        levels: Sequence[Level],
        arch: Arch,
        memory: ReadMemory,
        caller: Callable[[], Frame | None],
    ) -> None:
        self.place = place
        self.levels = levels
        self.arch = arch
        self.caller = caller
        self.registers = place.registers
        self.bias = place.bias
        self.read = memory
        self._base: int | None = None
        self._basing = False
        self._busy = 0
        self.sources = Sources(memory, self.register_bytes, arch.long, arch.byte_order, arch.slots)

    @property
    def function(self) -> Entry:
        """The real function."""
        return self.levels[-1].entry

    def register_bytes(self, number: int) -> bytes | None:
        """The bytes of a register, None where it is not known."""
        if number >= self.arch.slots:
            return self.vector(number)
        value = self.registers[number] if number < len(self.registers) else None
        return None if value is None else value.to_bytes(self.arch.word, self.arch.byte_order)

    # --- what expressions ask for ---

    def vector(self, number: int) -> bytes | None:
        """The bytes of a register of floating point or vectors, None where it is not known."""
        return vector(self.arch, self.place.floats, number)

    def frame_address(self) -> int:
        """The CFA."""
        if not self.place.cfa:
            raise Gap("not known: the frame has no CFA")
        return self.place.cfa

    def frame_base(self) -> int:
        """DW_AT_frame_base of the real function."""
        if self._busy and self.arch.name.startswith("s390"):
            raise Gap(OPTIMIZED_OUT)  # (gcc 12's values of calls are 32 bytes away from the truth)
        if self._base is None:
            if self._basing:
                raise FormatError("a frame base made of itself")
            expression = expression_at(self.function, AT_frame_base, self.place.address)
            if not expression:
                raise Gap(OPTIMIZED_OUT)
            self._basing = True
            try:
                self._base = number_of(expression, self.function.unit, self)
            finally:
                self._basing = False
        return self._base

    def entry_value(self, expression: bytes, unit: Unit) -> int:
        """What a register (or the memory that it leads to) held when the function was entered, from
        what the compiler notes of the call."""
        caller = self.caller() if self.place.direct else None
        if caller is None or self._busy > _MAX_ENTRIES:
            raise Gap(OPTIMIZED_OUT)
        for site in call_entries(caller.function):
            if _returns_to(site, caller.place.return_pc):
                if not self._is_called_by(site, caller):
                    break
                return self._parameter(site, expression, unit, caller)
        raise Gap(OPTIMIZED_OUT)

    def _parameter(self, site: Entry, expression: bytes, unit: Unit, caller: Frame) -> int:
        wanted = register_named(expression, unit)
        for child in site.unit.children(site):
            if child.tag not in _CALL_PARAMETERS:
                continue
            place = child.block(AT_location) or b""
            named = register_named(place, site.unit)
            if place == expression or (wanted and named and wanted[0] == named[0]):
                value = child.block(AT_call_value) or child.block(AT_GNU_call_site_value)
                if value:
                    self._busy += 1
                    caller._busy += 1
                    try:
                        found = number_of(value, site.unit, caller)
                        return Typed.of(found, *wanted[1]) if wanted and wanted[1] else found
                    finally:
                        self._busy -= 1
                        caller._busy -= 1
        raise Gap(OPTIMIZED_OUT)

    def _is_called_by(self, site: Entry, caller: Frame) -> bool:
        """Whether a call site names this function (what was called may have jumped here), and it
        cannot have been entered again by a jump."""
        if _may_jump_to(self.function):
            return False
        start = self.levels[-1].start
        target = site.block(AT_call_target) or site.block(AT_GNU_call_site_target)
        if target:
            try:
                return number_of(target, site.unit, caller) == start + self.bias
            except Gap:
                return False
        origin = site.reference(AT_call_origin) or site.reference(AT_abstract_origin)
        if origin is None:
            return False
        if origin.unit.file is self.function.unit.file and origin.offset == self.function.offset:
            return True
        if origin.address(AT_low_pc) is not None:
            return origin.address(AT_low_pc) == start
        name = name_of(origin)[0]
        return bool(name) and name == name_of(self.function)[0]


def _may_jump_to(function: Entry) -> bool:
    """Whether a function's last calls, which are jumps, may lead to itself again."""
    todo, seen = [function], {function.offset}
    while todo:
        for site in call_entries(todo.pop()):
            if not is_tail_call(site):
                continue
            target = site.reference(AT_call_origin) or site.reference(AT_abstract_origin)
            if target is None or target.unit.file is not function.unit.file:
                return True
            if target.offset == function.offset or len(seen) > _MAX_JUMPS:
                return True
            if target.offset not in seen:
                seen.add(target.offset)
                todo.append(target)
    return False


def _returns_to(site: Entry, address: int) -> bool:
    if site.tag == TAG_GNU_call_site:
        return site.address(AT_low_pc) == address
    return site.tag == TAG_call_site and site.address(AT_call_return_pc) == address
