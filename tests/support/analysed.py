"""A core as the analysis sees it: image, modules, memory, stacks, names."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path

from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.jit_modules import JitModules
from usercrash.analysis.core.module_memory import ModuleMemory
from usercrash.analysis.core.modules import FileProvider, ModuleTable, PathFiles
from usercrash.analysis.core.modules import load_modules as load
from usercrash.analysis.symbols.symbolizer import Location, Symbolizer
from usercrash.analysis.unwinding.unwind import RawFrame, Stack, UnwindLimits, unwind

from .compare import plain_name
from .oracle import OracleFrame

Group = tuple[int, tuple[str, ...]]  # one place on the stack: pc, its functions inlined first


_opened: list[int] = []  # files of modules; an analysis leaves them to the end of its process


def close_files() -> None:
    """Close the files of all cores that were analysed; what was made of them is of no use then."""
    while _opened:
        os.close(_opened.pop())


@dataclass(slots=True)
class Analysed:
    """All that a test asks of a core."""

    image: CoreImage
    modules: ModuleTable
    memory: ModuleMemory
    symbolizer: Symbolizer

    def stack(self, thread: int = 0, limits: UnwindLimits | None = None) -> Stack:
        """The stack of `image.threads[thread]`."""
        registers = self.image.threads[thread].registers
        return unwind(self.memory, self.modules, self.image.arch, registers, limits)

    def locations(self, frame: RawFrame) -> list[Location]:
        """The functions at a frame."""
        module = self.modules.find(frame.lookup_pc)
        return self.symbolizer.symbolize(module, frame.lookup_pc, frame.pc)

    def names(self, stack: Stack) -> list[str]:
        """The functions of a stack, inlined ones too, without parameters."""
        return [
            plain_name(location.function)
            for frame in stack.frames
            for location in self.locations(frame)
        ]

    def groups(self, stack: Stack, limit: int) -> list[Group]:
        """The first `limit` places of a stack."""
        return [
            (frame.pc, tuple(plain_name(place.function) for place in self.locations(frame)))
            for frame in stack.frames[:limit]
        ]


def analyse(
    core: Path | bytes,
    provider: FileProvider | None = None,
    cache: Path | None = None,
    exe: Path | None = None,
) -> Analysed:
    """Open a core with the files that it names (or those that `provider` has); `exe`: its
    program."""
    if isinstance(core, bytes):
        data: bytes | mmap.mmap = core
    else:
        with core.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    image = CoreImage.open(data)
    modules = load(image, provider or PathFiles(image.notes), str(exe) if exe else None)
    if provider is None:
        _opened.extend(module.fd for module in modules if module.fd >= 0)
    modules.made_at_run_time = JitModules(image, modules).find
    symbolizer = Symbolizer(str(cache) if cache else None, image.notes)
    return Analysed(image, modules, ModuleMemory(image, modules), symbolizer)


def their_groups(frames: list[OracleFrame]) -> list[Group]:
    """gdb's frames in the same form; its tail-call frames have no place on the stack."""
    groups: list[Group] = []
    names: list[str] = []
    for frame in frames:
        if frame.kind == "tailcall":
            names = []
            continue
        names.append(plain_name(frame.name))
        if frame.kind != "inline":
            groups.append((frame.pc, tuple(names)))
            names = []
    return groups
