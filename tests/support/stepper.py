"""A real process, instruction by instruction, and the stack that it must have at each.

x86-64 only. The truth comes from the processor: what each `call` pushed and no `ret` has taken
yet. Between its two `int3` a program is stepped; signals that it sends itself are followed, too.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import capstone

from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.module_memory import ModuleMemory
from usercrash.analysis.core.modules import ModuleTable, PathFiles, load_modules
from usercrash.capture import ptrace
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.elf.headers import NT_AUXV, NT_PRSTATUS, PF_R, PT_LOAD
from usercrash.model import minicore
from usercrash.model.maps import parse_maps
from usercrash.model.snapshot import ElfNote

from .coremaker import Segment, make_core
from .spawn import SECONDS

_TRACEME, _SINGLESTEP = 0, 9
_SYSCALL = b"\x0f\x05"
_NO_RANDOM = 0x0040000  # ADDR_NO_RANDOMIZE, <sys/personality.h>
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Moment:
    """Where the process stands: `expected` are the pcs of its frames, innermost first, as far
    down as the first `int3`'s function; `registers` by name."""

    step: int
    registers: dict[str, int]
    expected: list[int]


class _LiveMemory:
    """A stopped process's memory; its stack is read once for each stop, the rest once."""

    def __init__(self, fd: int, stack: tuple[int, int]) -> None:
        self._fd = fd
        self._low, self._high = stack
        self._start = 0
        self._view = memoryview(b"")
        self._pages: dict[int, bytes] = {}

    def stop_at(self, sp: int) -> None:
        self._start = max(self._low, sp - 256)
        self._view = memoryview(os.pread(self._fd, self._high - self._start, self._start))
        self._pages.clear()

    def read(self, address: int, size: int) -> bytes:
        at = address - self._start
        if 0 <= at < len(self._view):
            return bytes(self._view[at : at + size])
        data = b""
        while len(data) < size:
            page = address + len(data) & -4096
            if page not in self._pages:
                try:
                    self._pages[page] = os.pread(self._fd, 4096, page)
                except (OSError, OverflowError):
                    self._pages[page] = b""
            piece = self._pages[page][address + len(data) - page :]
            if not piece:
                break
            data += piece
        return data[:size]

    def window(self, address: int) -> tuple[int, memoryview] | None:
        if 0 <= address - self._start < len(self._view):
            return self._start, self._view
        return None


class Stepper:
    """Runs a program to its first `int3`. `modules` and `memory` are those of the unwinder."""

    def __init__(self, program: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [program, *arguments], stdout=subprocess.DEVNULL, preexec_fn=_be_traced
        )
        self.pid = self._process.pid
        self._memory_fd = -1
        self._run_to_trap()
        self._memory_fd = os.open(f"/proc/{self.pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        self.image = self._image()
        self.modules: ModuleTable = load_modules(self.image, PathFiles(self.image.notes))
        stack = next(row for row in self.image.mappings if row.path == b"[stack]")
        self.memory = _LiveMemory(self._memory_fd, (stack.start, stack.end))
        self.files = ModuleMemory(self.image, self.modules)

    def close(self) -> None:
        """End the process."""
        if self._memory_fd >= 0:
            os.close(self._memory_fd)
        self._process.kill()
        self._process.wait(SECONDS)

    def moments(self, limit: int) -> Iterator[Moment]:
        """Every instruction up to the second `int3`; AssertionError if that does not come
        within `limit` steps."""
        shadow: list[int] = []
        registers = self._registers()
        for step in range(limit):
            pc, sp = registers["rip"], registers["rsp"]
            self.memory.stop_at(sp)
            yield Moment(step, registers, [pc, *reversed(shadow)])
            code = self.memory.read(pc, 16)
            kind = _kind(code, pc)
            if code.startswith(b"\xcc"):
                return
            sent = self._step()
            registers = self._registers()
            if sent:  # the kernel has made a frame: its trampoline, and what was interrupted
                shadow += [pc, self._word(registers["rsp"])]
            elif kind == "call":
                shadow.append(self._word(registers["rsp"]))
            elif kind == "return" or (code.startswith(_SYSCALL) and registers["rip"] != pc + 2):
                _return(shadow, registers["rip"])
        raise AssertionError(f"no end after {limit} instructions")

    def _step(self) -> bool:
        """One instruction; whether a signal's handler was entered by it."""
        sent = 0
        while True:
            assert _libc.ptrace(_SINGLESTEP, self.pid, 0, sent) == 0
            _, status = os.waitpid(self.pid, 0)
            assert os.WIFSTOPPED(status), status
            stopped = os.WSTOPSIG(status)
            if stopped == signal.SIGTRAP:
                return bool(sent)
            sent = stopped

    def _run_to_trap(self) -> None:
        """To the first `int3`, past the stop of exec."""
        while True:
            _, status = os.waitpid(self.pid, 0)
            assert os.WIFSTOPPED(status), status
            number = os.WSTOPSIG(status)
            if number == signal.SIGTRAP and self._after_trap():
                return
            ptrace.cont(self.pid, 0 if number == signal.SIGTRAP else number)

    def _after_trap(self) -> bool:
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self._registers()["rip"] - 1)
            return memory.read(1) == b"\xcc"

    def _registers(self) -> dict[str, int]:
        values = struct.unpack("<27Q", ptrace.register_set(self.pid, NT_PRSTATUS))
        return dict(zip(ARCH.prstatus_registers, values, strict=True))

    def _word(self, address: int) -> int:
        return int.from_bytes(os.pread(self._memory_fd, 8, address), "little")

    def _image(self) -> CoreImage:
        """What a core would say of it: mappings, auxiliary vector, ELF headers, vdso."""
        proc = Path(f"/proc/{self.pid}")
        maps = (proc / "maps").read_bytes()
        segments: list[Segment] = []
        for row in parse_maps(maps):
            vdso = row.path == b"[vdso]"
            if vdso or (row.offset == 0 and row.path.startswith(b"/")):
                data = os.pread(self._memory_fd, row.size if vdso else 4096, row.start)
                segments.append((PT_LOAD, PF_R, row.start, data, len(data)))
        desc = bytearray(336)
        facts = minicore.encode_table({b"maps": maps})
        notes = [
            ElfNote(b"CORE", NT_PRSTATUS, bytes(desc)),
            ElfNote(b"CORE", NT_AUXV, (proc / "auxv").read_bytes()),
            ElfNote(minicore.OWNER, minicore.NT_FACTS, facts),
        ]
        return CoreImage.open(make_core(notes, segments))


def _be_traced() -> None:
    _libc.personality(_NO_RANDOM)
    _libc.ptrace(_TRACEME, 0, 0, 0)


@cache
def _decoder() -> capstone.Cs:
    engine = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    engine.detail = True
    return engine


@cache
def _kind(code: bytes, pc: int) -> str:
    """`call`, `return` or "" for the instruction."""
    for one in _decoder().disasm(code, pc, 1):
        if one.group(capstone.CS_GRP_CALL):
            return "call"
        if one.group(capstone.CS_GRP_RET):
            return "return"
    return ""


def _return(shadow: list[int], target: int) -> None:
    """What a `ret` to `target` leaves: usually one less; a jump out of several calls goes back
    to where the first of them stood."""
    if shadow and shadow[-1] == target:
        shadow.pop()
