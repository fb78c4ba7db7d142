"""The variables of the crashing thread's frames: found, read, and written within bounds."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...errors import FormatError
from ..dwarf.attributes import AT_abstract_origin, AT_const_value, AT_location, AT_type
from ..dwarf.functions import Level
from ..dwarf.gaps import OPTIMIZED_OUT, Gap
from ..dwarf.location_lists import expression_at
from ..dwarf.locations import Part, locate
from ..dwarf.names import language_of
from ..dwarf.records import Types
from ..dwarf.scopes import Declared, TAG_variable, declared_in
from ..dwarf.types import TAG_formal_parameter, Type
from ..dwarf.units import Entry
from .frame import Frame
from .printer import Printer, Process, is_secret
from .storage import Known, Source

_TAG_dwarf_procedure = 0x36
BROKEN = "debug information is broken, or a file of it is missing"
ERRORS = (struct.error, RecursionError, OverflowError, ValueError)


@dataclass(frozen=True, slots=True)
class Shown:
    """A variable for the report. `gap` says why there is no value ("" there is one)."""

    name: str
    type: str
    value: str
    kind: str  # "parameter", "local" or "static"
    gap: str = ""


@dataclass(slots=True)
class FrameReader:
    """Reads the variables of one frame's functions."""

    types: Types
    process: Process
    frame: Frame

    def declared(self, level: Level) -> list[Declared]:
        """The variables of one of the functions at the frame. FormatError where they cannot be
        read."""
        return declared_in(level.entry, self.frame.place.address)

    def shown(self, one: Declared, follow: bool) -> Shown:
        """A variable with its value."""
        kind = "parameter" if one.parameter else "local"
        try:
            type_ = self.type_of(one)
        except FormatError:
            return Shown(one.name, "?", f"<{BROKEN}>", kind, BROKEN)
        try:
            parts = self.parts(one)
            if not one.parameter and self._is_static(one):
                kind = "static"
            source = self.source(one, type_, parts)
            printer = Printer(self.types, self.process, self.frame, follow, resolve=self._resolve)
            value = printer.value(type_, source, 0, 0, is_secret(one))
            return Shown(one.name, type_.name, value, kind)
        except Gap as gap:
            why = gap.why
        except (FormatError, *ERRORS) as error:
            if isinstance(error, FormatError) and self.frame.function.unit.file.work.exhausted:
                raise
            why = BROKEN
        return Shown(one.name, type_.name, f"<{why}>", kind, why)

    def type_of(self, one: Declared) -> Type:
        """A variable's type."""
        holder = one.holder(AT_type)
        self.types.language = language_of(self.frame.function.unit)
        return self.types.of(holder if holder is not None else one.entries[0])

    def parts(self, one: Declared) -> list[Part]:
        """Where a variable is at the frame's pc; Gap where it is nowhere."""
        holder = one.holder(AT_location)
        if holder is None:
            return []
        expression = expression_at(holder, AT_location, self.frame.place.address)
        if not expression:
            raise Gap(OPTIMIZED_OUT)
        return locate(expression, holder.unit, self.frame)

    def source(self, one: Declared, kind: Type, parts: list[Part]) -> Source:
        """The bytes of a variable."""
        if parts:
            return self.frame.sources.of(parts, kind.size or 0)
        holder = one.holder(AT_const_value)
        if holder is None:
            raise Gap(OPTIMIZED_OUT)
        data = holder.block(AT_const_value)
        if data is None:
            form = holder.values[AT_const_value][0]
            if form in (0x08, 0x0E, 0x1A, 0x1F, 0x1D) or 0x25 <= form <= 0x28:
                data = holder.text(AT_const_value) + b"\0"
            else:
                value, size = holder.number(AT_const_value) or 0, kind.size or 8
                data = (value & (1 << 8 * size) - 1).to_bytes(size, self.frame.arch.byte_order)
        return Known(data)

    def _is_static(self, one: Declared) -> bool:
        """Whether a local lives as long as the program."""
        holder = one.holder(AT_location)
        expression = holder.block(AT_location) if holder is not None else None
        return bool(expression) and expression is not None and expression[0] in (0x03, 0xA1, 0xFB)

    def _resolve(self, offset: int, entry: Entry | None) -> tuple[Type, Source] | None:
        """What a variable that something refers to holds: by its entry, or by the offset of it in
        the file of the entry."""
        try:
            if offset and entry is not None:
                pointer, entry = entry, entry.unit.file.unit_at(offset).entry(offset)
                if entry is not None and entry.tag == _TAG_dwarf_procedure:  # (a string of gcc's)
                    one = Declared((entry,), "", False, 0)
                    kind = self.types.of(pointer)
                    return kind, self.source(one, kind, self.parts(one))
            if entry is None or entry.tag not in (TAG_formal_parameter, TAG_variable):
                return None
            origin = entry.reference(AT_abstract_origin)
            one = Declared((entry, origin) if origin is not None else (entry,), "", False, 0)
            kind = self.type_of(one)
            return kind, self.source(one, kind, self.parts(one))
        except (Gap, FormatError, *ERRORS):
            return None
