"""The ELF files of a process: where each lies, and which file it is.

A module is a contiguous run of mappings of one file, not a file: a program may map its own
executable a second time (a panicking Rust program does), or a library twice.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from ...elf.headers import AT_ENTRY, AT_SYSINFO_EHDR, PF_X
from ...errors import FormatError
from ...model.maps import Mapping
from ..binary.effort import SEARCHED_BYTES, spend
from ..binary.elf_file import MAX_NOTE_BYTES, ElfFile, build_id_of_notes
from ..binary.symbol_entries import addresses_of
from ..binary.symbol_table import SymbolTable
from ..dwarf.call_frames import CallFrames
from ..instructions.code_walk import CodeWalk
from .core_mappings import UNKNOWN_PERMISSIONS
from .file_search import Place
from .image import CoreImage
from .module_files import (
    NAMED,
    DescriptorFiles,
    FileProvider,
    FileProviders,
    GivenFile,
    Opened,
    PathFiles,
    doubt_of_path,
    same_program,
)
from .module_layout import HEADERS_SIZE, bias_of, laid_out, runs_of_files
from .unlisted import name_mappings

__all__ = [
    "DescriptorFiles",
    "FileProvider",
    "FileProviders",
    "Module",
    "ModuleTable",
    "PathFiles",
    "load_modules",
]

MAX_MODULES = 20_000
_PAGE = 4096
_STAGE = "modules"


@dataclass(slots=True, eq=False)
class Module:
    """A loaded ELF file: addresses [start, end) of its mappings, `bias` = address in memory −
    link-time address.

    `elf` is its file, None where no (right) file was found: then `memory_elf` has what the
    captured headers say. `build_id` is the one in memory, else the file's. `how` says where the
    contents came from: "descriptor", "path", "memory" or "none".
    """

    path: bytes
    start: int
    end: int
    bias: int
    mappings: list[Mapping]
    build_id: bytes | None = None
    deleted: bool = False
    elf: ElfFile | None = None
    memory_elf: ElfFile | None = None
    fd: int = -1
    how: str = "none"
    main: bool = False  # the executable itself
    forced: bool = False  # its file is not the one that was mapped, and was taken all the same
    frames: CallFrames | None = None
    memory_symbols: Callable[[], SymbolTable] | None = None  # where there is no file

    @property
    def name(self) -> str:
        """Its path for people: bytes that are not UTF-8 as `\\xNN`."""
        return self.path.decode("utf-8", "backslashreplace")

    @property
    def soname(self) -> bytes:
        """DT_SONAME of its file, b"" if there is none."""
        return self.elf.soname if self.elf is not None else b""

    @property
    def headers(self) -> ElfFile | None:
        """What its program headers can be read from: the file, else the captured memory."""
        return self.elf or self.memory_elf

    def addresses_of(self, name: bytes) -> list[int]:
        """Where the symbols of this name lie in the process, as the file's tables have them."""
        values = addresses_of(self.elf, name) if self.elf is not None else []
        return [value + self.bias for value in values]


DebugFinder = Callable[[Module], ElfFile | None]


class ModuleTable:
    """The modules in address order, and which addresses hold code."""

    def __init__(self, modules: list[Module], mappings: list[Mapping]) -> None:
        self._modules = sorted(modules, key=lambda module: module.start)
        self._starts = [module.start for module in self._modules]
        self._code = _code_ranges(self._modules, mappings)
        self._code_starts = [row[0] for row in self._code]
        self.mappings = mappings
        self.rows: dict[int, object] = {}  # the unwinder's steps by address, for all threads
        self.code_walk = CodeWalk()
        # finds what lies in no file's mapping (jit_modules.py), where somebody gave it
        self.made_at_run_time: Callable[[int], Module | None] | None = None

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)

    def find(self, address: int) -> Module | None:
        """The module whose mappings span `address`, or which was made there at run time."""
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self._modules[index].end:
            made = self.made_at_run_time
            return made(address) if made is not None and self.executable(address) else None
        return self._modules[index]

    def executable(self, address: int) -> bool:
        """Whether the process could execute code at `address`."""
        index = bisect_right(self._code_starts, address) - 1
        return index >= 0 and address < self._code[index][1]


def _code_ranges(modules: list[Module], mappings: list[Mapping]) -> list[tuple[int, int]]:
    """Executable ranges: by the mappings' permissions, where these are not known (gcore leaves
    out what files hold) by the program headers."""
    ranges = [(row.start, row.end) for row in mappings if row.executable]
    unknown = any(row.perms == UNKNOWN_PERMISSIONS for row in mappings)
    for module in modules if unknown else ():
        for segment in module.headers.loads if module.headers else ():
            if segment.flags & PF_X:
                start = segment.vaddr + module.bias & -_PAGE
                ranges.append((start, segment.vaddr + segment.memsz + module.bias))
    ranges.sort()
    merged: list[tuple[int, int]] = []
    for start, end in ranges:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def load_modules(
    image: CoreImage,
    provider: FileProvider | None,
    exe_override: str | bytes | Place | None = None,
    *,
    force_exe: bool = False,
    debug_file: DebugFinder | None = None,
) -> ModuleTable:
    """The modules of a core, each with its file where `provider` has the right one.

    A file whose build-id (or, without one, whose program headers) differ from what the
    memory shows is refused, with a note in `image.notes`. `exe_override` is a file to take for
    the executable; it is refused in the same way, unless `force_exe` has the executable's file
    taken whatever it is. `debug_file` finds the separate debug file of a module; it is asked where
    the module itself has no call frame information.
    """
    modules = []
    override: Place | None = None
    if isinstance(exe_override, Place):
        override = exe_override
    elif exe_override is not None:
        override = Place(os.fsencode(exe_override))
    entry = image.auxv.get(AT_ENTRY)
    if provider is not None or override is not None:
        given = GivenFile(override, image.notes) if override is not None else None
        name_mappings(image, provider or FileProviders([]), given)
    for run in runs_of_files(image, image.mappings):
        module = _module(image, run, provider, entry, override, force_exe)
        if module is not None:
            module.frames = _call_frames(image, module, debug_file)
            if module.elf is None and module.memory_elf is not None:
                module.memory_symbols = partial(_memory_symbols, image, module)
            modules.append(module)
        if len(modules) >= MAX_MODULES:
            image.notes.add(_STAGE, "further modules", f"more than {MAX_MODULES}")
            break
    vdso = _vdso(image)
    if vdso is not None:
        modules.append(vdso)
    return ModuleTable(modules, image.mappings)


def _module(
    image: CoreImage,
    run: list[Mapping],
    provider: FileProvider | None,
    entry: int | None,
    exe_override: Place | None,
    force_exe: bool,
) -> Module | None:
    """The module of a run of mappings, None if that is no loaded ELF file."""
    code = any(row.executable for row in run)
    unknown = any(row.perms == UNKNOWN_PERMISSIONS for row in run)
    if not code and not unknown and len(run) == 1:
        return None  # a file that is only read
    first = run[0]
    module = Module(first.path, first.start, run[-1].end, 0, run, deleted=first.deleted)
    module.main = entry is not None and module.start <= entry < module.end
    head = image.read(first.start, HEADERS_SIZE) if first.offset == 0 else b""
    if head:
        if head[:4] != b"\x7fELF":
            return None
        try:
            module.memory_elf = ElfFile(head)
        except FormatError:
            pass  # cut short: the file may still tell
    module.bias = bias_of(run, module.memory_elf)
    if module.memory_elf is not None:
        module.build_id = _memory_build_id(image, module)
    force = force_exe and module.main
    opened = _open(image, module, provider, exe_override, force)
    if opened is not None:
        _take_file(module, opened)
    elif module.memory_elf is not None:
        module.how = "memory"
    if not code and not laid_out(run, module.headers, module.bias):
        return None
    return module


def _call_frames(
    image: CoreImage, module: Module, debug_file: DebugFinder | None = None
) -> CallFrames:
    find = None
    if debug_file is not None and module.elf is not None:
        find = partial(debug_file, module)
    return CallFrames(
        module.elf, module.memory_elf, module.bias, image.read,
        lambda text: image.notes.add("unwind", module.name, text), find,
    )  # fmt: skip


def _memory_symbols(image: CoreImage, module: Module) -> SymbolTable:
    """The dynamic symbols of a module that captured memory has."""
    bias = module.bias
    if module.memory_elf is None:
        return SymbolTable((), (), (), b"")
    return SymbolTable.of_dynamic(
        module.memory_elf, lambda address, size: image.read(address + bias, size), bias
    )


def _open(
    image: CoreImage,
    module: Module,
    provider: FileProvider | None,
    exe_override: Place | None,
    force: bool,
) -> tuple[Opened, ElfFile] | None:
    """The right file of a module, with its parsed form; with `force` the first one at all."""
    providers: list[FileProvider] = [provider] if provider is not None else []
    if exe_override is not None and module.main:
        providers.insert(0, GivenFile(exe_override, image.notes))
    first = module.mappings[0]
    for source in providers:
        for opened in source.candidates(first.path, first.device, first.inode, module.build_id):
            try:
                elf = ElfFile(opened.data)
            except (FormatError, ValueError):
                opened.close()
                continue
            why = same_program(elf, module.memory_elf, module.build_id)
            if not why and module.build_id is None and opened.name == first.path:
                crash_ns = image.event.time_ns if image.event is not None else 0
                why = doubt_of_path(opened, first.inode, crash_ns, module.memory_elf)
            name = opened.name.decode("utf-8", "backslashreplace")
            other = not image.runs(elf.header)
            if other:
                why = "it is for another machine"
            if why and force and not other:
                module.forced = True
                image.notes.add(_STAGE, name, f"TAKEN ALTHOUGH IT IS NOT THE SAME FILE: {why}")
            if not why or (force and not other):
                return opened, elf
            if isinstance(source, GivenFile):  # somebody waits for this one
                name = f"{NAMED}{name}"
            image.notes.add(_STAGE, name, f"refused: {why}")
            opened.close()
    return None


def _take_file(module: Module, found: tuple[Opened, ElfFile]) -> None:
    opened, elf = found
    module.elf, module.fd, module.how = elf, opened.fd, opened.how
    if module.build_id is None:
        module.build_id = elf.build_id
    if module.memory_elf is None:
        module.bias = bias_of(module.mappings, elf)


def _memory_build_id(image: CoreImage, module: Module) -> bytes | None:
    """The build-id in the captured memory: the file's name may lead elsewhere by now."""
    elf = module.memory_elf
    for segment in elf.note_segments if elf else ():
        data = image.read(segment.vaddr + module.bias, min(segment.memsz, MAX_NOTE_BYTES))
        spend(len(data) // SEARCHED_BYTES)
        found = build_id_of_notes(data, elf.header.little if elf else True)
        if found:
            return found
    return None


def _vdso(image: CoreImage) -> Module | None:
    """The kernel's own library, from captured memory."""
    base = image.auxv.get(AT_SYSINFO_EHDR, 0)
    mapping = next((row for row in image.mappings if row.path == b"[vdso]"), None)
    if mapping is None:
        mapping = next((row for row in image.mappings if row.start <= base < row.end), None)
    if mapping is None:
        return None
    data = image.read(mapping.start, min(mapping.size, 1 << 20))
    try:
        elf = ElfFile(data)
    except FormatError:
        return None
    bias = mapping.start - (elf.loads[0].vaddr & -_PAGE if elf.loads else 0)
    module = Module(b"[vdso]", mapping.start, mapping.end, bias, [mapping], elf.build_id)
    module.elf = module.memory_elf = elf
    module.how = "memory"
    module.frames = _call_frames(image, module)
    return module
