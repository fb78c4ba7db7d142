"""Parameters and local variables for the report: of the crashing thread's innermost frames."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import msgspec

from ... import report
from ...elf.arch import Arch
from ...errors import FormatError
from ...function_identity import begins, function_identity
from ...model.notes import NoteLog
from ..core.modules import Module, ModuleTable
from ..core.places import Places
from ..dwarf.functions import Level
from ..dwarf.names import language_of, name_of
from ..dwarf.records import Types
from ..dwarf.types import GO
from ..dwarf.work import Work
from ..explain.fingerprint import ends_program
from ..facts.texts import safe
from ..symbols.symbolizer import Symbolizer
from ..unwinding.frames import RawFrame, Trust
from ..variables.frame import Frame, Place
from ..variables.nulls import NullPointer, null_pointers
from ..variables.printer import Process
from ..variables.reading import FrameReader, Shown
from ..variables.storage import ReadMemory
from .stacks import Named

MAX_FRAMES = 16  # places on the stack whose variables are read
ENDING = 8  # and places before them, of functions that end programs
FOLLOWED = 3  # of them the innermost, where pointers to records show what they point to
MAX_OF_FRAME = 64
MAX_BYTES = 64 << 10  # of JSON
WORK = 500_000  # units of dwarf/work.py: about microseconds
NULL_WORK = 100_000  # more of them, for a null pointer's name: that is told where variables are not
_COST = 70  # bytes of JSON beside the texts
_STAGE = "variables"
_TOO_MUCH = "more debug information than is read for them"


@dataclass(slots=True)
class Scene:
    """What variables are read from."""

    arch: Arch
    modules: ModuleTable
    memory: ReadMemory
    symbolizer: Symbolizer
    places: Places
    notes: NoteLog
    floats: bytes = b""  # the thread's NT_FPREGSET


@dataclass(slots=True)
class _One:
    """A place on the stack: its raw frame and the rows of the report that are its functions."""

    raw: RawFrame
    module: Module
    rows: list[report.Frame]
    registers: list[int | None]
    direct: bool
    first: bool
    called_nowhere: bool
    reader: FrameReader | None = None
    variables: dict[int, list[Shown]] = field(default_factory=dict)  # by the row's index


class Variables:
    """The variables of one stack."""

    def __init__(self, scene: Scene, named: Named) -> None:
        self._scene = scene
        self._whole = Work(WORK)
        self._types = Types()
        self._process = Process(scene.memory, self._function, self._mapped)
        self._frames = _frames_of(scene, named)
        self._lent: set[int] = set()
        self._stack = ExitStack()
        self._left = MAX_BYTES
        self._cut = 0
        self._ended = False

    def read(self) -> None:
        """Reads all of them: first where the module itself has debug information, as separate
        files are dearer."""
        with self._stack:
            own = [one for one in self._frames if _has_own(one.module)]
            for one in [*own, *(one for one in self._frames if not _has_own(one.module))]:
                if self._ended:
                    break
                self._read(one)
            if self._ended:
                self._scene.notes.add(_STAGE, "arguments and local variables", _TOO_MUCH)

    def nulls(self) -> list[NullPointer]:
        """The null pointers that the innermost place's variables are, or lead to: of where it
        crashed, or of where nowhere was called."""
        one = self._frames[0] if self._frames else None
        if one is None or not (one.raw.exact or one.called_nowhere):
            return []
        self._whole = Work(NULL_WORK)
        with self._stack:
            self._lent.clear()
            reader = self._reader(one)
            if reader is None:
                return []
            self._levels(one)  # (its work is spent from ours)
            return null_pointers(reader, list(reader.frame.levels))

    def added(self, frames: Sequence[report.Frame]) -> list[report.Frame]:
        """The frames of the report with what was found."""
        found = {index: shown for one in self._frames for index, shown in one.variables.items()}
        rows = [
            msgspec.structs.replace(frame, variables=self._bounded(found[frame.index]))
            if frame.index in found
            else frame
            for frame in frames
        ]
        if self._cut:
            what = f"{self._cut:,} arguments and local variables"
            self._scene.notes.add(_STAGE, what, "too many, or too long, to show")
        return rows

    def _bounded(self, found: list[Shown]) -> list[report.Variable]:
        kept: list[report.Variable] = []
        for one in found:
            variable = report.Variable(
                name=safe(one.name, 200),
                value=safe(one.value, 4000),
                type=safe(one.type, 400),
                kind=one.kind,
                gap=safe(one.gap, 200) or None,
            )
            texts = (variable.name, variable.value, variable.type, variable.gap or "")
            cost = _COST + sum(len(text.encode()) for text in texts)
            if cost > self._left:
                self._cut += 1
                continue
            self._left -= cost
            kept.append(variable)
        return kept

    # --- one place ---

    def _read(self, one: _One) -> None:
        reader = self._reader(one)
        if reader is None:
            return
        follow = self._frames.index(one) < FOLLOWED
        for level, row in _matched(reader.frame.levels, one.rows):
            shown = []
            try:
                declared = reader.declared(level)
                self._cut += max(0, len(declared) - MAX_OF_FRAME)
                for variable in declared[:MAX_OF_FRAME]:
                    shown.append(reader.shown(variable, follow))
            except FormatError:
                self._ended = self._whole.exhausted or self._ended
            if shown:
                one.variables[row.index] = shown
            if self._ended:
                break

    def _reader(self, one: _One) -> FrameReader | None:
        """Reads what is at a place, None where there is no debug information for it."""
        if one.reader is None:
            levels = self._levels(one)
            if levels:
                go = language_of(levels[-1].entry.unit) == GO
                bias = one.module.bias
                place = Place(
                    _without_kept(one, self._scene.arch) if go else one.registers,
                    one.raw.lookup_pc - bias, one.raw.pc - bias, bias, one.raw.cfa, one.direct,
                    self._scene.floats if one.first else b"",
                )  # fmt: skip
                frame = Frame(
                    place, levels, self._scene.arch, self._scene.memory, partial(self._caller, one)
                )
                one.reader = FrameReader(self._types, self._process, frame)
        return one.reader

    def _caller(self, one: _One) -> Frame | None:
        at = self._frames.index(one) + 1
        reader = self._reader(self._frames[at]) if at < len(self._frames) else None
        return reader.frame if reader is not None else None

    def _levels(self, one: _One) -> list[Level]:
        reading = self._scene.symbolizer.reading(one.module)
        if reading is None:
            return []
        if id(reading) not in self._lent:
            self._lent.add(id(reading))
            self._stack.enter_context(reading.work.lent(self._whole))
        found = reading.scopes(one.raw.lookup_pc - one.module.bias)
        self._ended = self._whole.exhausted or self._ended
        return found

    # --- the process ---

    def _function(self, address: int) -> str:
        """The function that begins at an address, if its module's symbols are at hand."""
        module = self._scene.modules.find(address)
        symbolizer = self._scene.symbolizer
        if module is None or not self._scene.modules.executable(address):
            return ""
        if not symbolizer.source_of(module):
            return ""
        location = symbolizer.symbolize(module, address, address)[-1]
        return safe(location.function, 200) if location.function and location.offset == 0 else ""

    def _mapped(self, address: int) -> bool | None:
        if not self._scene.places.mappings:
            return None
        return self._scene.places.find(address) is not None


def _has_own(module: Module) -> bool:
    return module.elf is not None and module.elf.debug_info_size > 0


def _frames_of(scene: Scene, named: Named) -> list[_One]:
    """The innermost places with the registers that are surely theirs."""
    position = {frame.index: at for at, frame in enumerate(named.frames)}
    found: list[_One] = []
    ending, begun = 0, False  # whether there was one that ends no programs
    doubt: Trust | None = None  # of a step that led here, and does not tell all registers
    for number, (raw, index) in enumerate(zip(named.raw, named.indexes, strict=True)):
        if len(found) >= MAX_FRAMES + ending:
            break
        if raw.exact:
            doubt = None
        elif raw.trust in (Trust.FRAME_POINTER, Trust.SCAN) and doubt is not Trust.SCAN:
            doubt = raw.trust
        module = scene.modules.find(raw.lookup_pc)
        if module is None or raw.signal_frame or index not in position:
            continue
        rows = _rows(named.frames, position[index])
        if begins(function_identity(rows[-1].function or "")):
            break  # what calls main() is of no interest, and its debug information is dear
        begun = begun or not ends_program(rows[-1])
        if not begun and ending == ENDING:
            found[-1].direct = False
            continue  # so many of them stand between a panic and the end
        ending += not begun
        nowhere = number == 1 and _was_called_nowhere(scene, named.raw)
        registers = list(raw.values) if nowhere else _registers(raw, scene.arch, doubt)
        direct = _is_direct(named, number, position)
        found.append(_One(raw, module, rows, registers, direct, number == 0, nowhere))
    return found


def _was_called_nowhere(scene: Scene, raw: Sequence[RawFrame]) -> bool:
    """Whether the first frame is no code, but where the second one's call led: nothing has run
    since, and all registers are still the caller's."""
    first, second = raw[0], raw[1]
    bad = first.exact and not scene.modules.executable(first.pc)
    return bad and second.trust is Trust.CALL_RECOVERY


def _rows(frames: Sequence[report.Frame], last: int) -> list[report.Frame]:
    """The rows of a place, innermost first: the real function's, and those of the functions that
    are inlined in it."""
    first = last
    while first > 0 and frames[first - 1].inline and frames[first - 1].pc == frames[last].pc:
        first -= 1
    return list(frames[first : last + 1])


def _registers(raw: RawFrame, arch: Arch, doubt: Trust | None) -> list[int | None]:
    """By DWARF number. A caller has lost what calls do not keep; after a step that was not made
    by call frame information, others may be wrong as well."""
    if raw.exact:
        return list(raw.values)
    kept = {arch.sp, arch.pc, *arch.callee_saved}
    if doubt is not None:
        kept = {arch.sp, arch.pc} | ({arch.fp} if doubt is Trust.FRAME_POINTER else set())
    numbers = {arch.numbers[name] for name in kept if name in arch.numbers}
    return [value if number in numbers else None for number, value in enumerate(raw.values)]


def _without_kept(one: _One, arch: Arch) -> list[int | None]:
    """Without the registers that other languages' calls keep, and Go's do not."""
    if one.raw.exact:
        return one.registers
    kept = {arch.numbers[name] for name in (arch.sp, arch.pc, arch.fp)}
    return [value if number in kept else None for number, value in enumerate(one.registers)]


def _is_direct(named: Named, number: int, position: dict[int, int]) -> bool:
    """Whether the next place is the caller, with nothing that a jump took off the stack between."""
    if number + 1 >= len(named.raw):
        return False
    raw, caller = named.raw[number], named.raw[number + 1]
    index, behind = named.indexes[number], named.indexes[number + 1]
    if caller.exact or caller.signal_frame or raw.signal_frame or behind not in position:
        return False
    rows = _rows(named.frames, position[behind])
    return rows[0].index == index + 1 and not named.frames[position[index]].by_tail_call


def _matched(
    levels: Sequence[Level], rows: Sequence[report.Frame]
) -> list[tuple[Level, report.Frame]]:
    """Which function of the debug information is which row: all, or, where the two disagree on what
    is inlined, those with equal names."""
    if len(levels) == len(rows):
        return list(zip(levels, rows, strict=True))
    found = [(levels[-1], rows[-1])]
    left = list(rows[:-1])
    for level in reversed(levels[:-1]):
        name = name_of(level.entry)[0].decode("utf-8", "backslashreplace")
        row = next(
            (row for row in reversed(left) if name in (row.linkage_name, row.function)), None
        )
        if row is not None:
            del left[left.index(row) :]
            found.append((level, row))
    return found[::-1]
