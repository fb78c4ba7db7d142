"""What lies around the place of the crash: memory, code, lines of the source, and what all the
numbers in it point to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ... import report
from ..core.image import CoreImage
from ..core.module_memory import ModuleMemory
from ..core.modules import ModuleTable
from ..core.places import Places
from ..instructions.decoded import Decoded
from ..symbols.data_symbols import DataSymbols
from ..symbols.symbolizer import Symbolizer
from .annotations import Annotator, with_annotations
from .excerpts import excerpts
from .memory import code, memory_blocks, stack_words
from .stacks import StackNamer


@dataclass(slots=True)
class Surroundings:
    """Of the thread that comes first; made once its stack is known. `decode` gives the instruction
    at the pc of some registers."""

    image: CoreImage
    modules: ModuleTable
    memory: ModuleMemory
    places: Places
    symbolizer: Symbolizer
    namer: StackNamer
    decode: Callable[[Mapping[str, int]], Decoded | None]
    _annotator: Annotator | None = None

    @property
    def _registers(self) -> Mapping[str, int]:
        return self.image.threads[0].registers

    def blocks(self) -> list[report.MemoryBlock]:
        """Memory near registers."""
        return memory_blocks(self.memory.read, self.image.arch, self._registers, self.places)

    def code(self, frames: Sequence[report.Frame]) -> list[report.Instruction]:
        """Instructions around the pc; `frames` are the thread's."""
        arch = self.image.arch
        pc = self._registers.get(arch.pc, 0)
        begin = _function(frames)
        return code(self.memory.read, arch, pc, begin, self.modules.executable)

    def excerpts(self, threads: Sequence[report.Thread]) -> list[report.Excerpt]:
        """Lines of the source around the first thread's frames."""
        if not threads:
            return []
        return excerpts(threads[0], self.modules, self.symbolizer.places, self.image.notes)

    def annotated(self, built: report.Report, frames: Sequence[report.Frame]) -> report.Report:
        """The report with the first thread's stack memory, and with notes about what numbers point
        to; `frames` are that thread's."""
        image, arch = self.image, self.image.arch
        self._annotator = annotator = Annotator(
            arch, self.memory.read, self.modules, self.places,
            DataSymbols(self.symbolizer, image.read), self.namer.code_name, built.threads,
        )  # fmt: skip
        sp = self._registers.get(arch.sp, 0) + arch.stack_bias
        words = stack_words(image.read, arch, sp, self.places, frames, annotator.words)
        decoded = self.decode(self._registers) if built.code else None
        registers = [thread.registers for thread in image.threads]
        built = msgspec.structs.replace(built, stack_memory=words)
        return with_annotations(built, annotator, registers, decoded)

    def object_at(self, address: int) -> tuple[str, int, str] | None:
        """The global object that an address lies in, once the report is annotated."""
        return self._annotator.object_at(address) if self._annotator is not None else None


def _function(frames: Sequence[report.Frame]) -> int | None:
    """Where the function at the pc begins."""
    for frame in frames:
        if not frame.inline:
            return None if frame.offset is None else int(frame.pc, 16) - frame.offset
    return None
