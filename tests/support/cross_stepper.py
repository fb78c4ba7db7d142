"""A program under qemu, instruction by instruction: where it stands, and its stack."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.modules import ModuleTable, PathFiles, load_modules
from usercrash.analysis.unwinding.unwind import Stack, unwind

from .build import need
from .cross import BASE_32
from .cross_core import ProgramCore
from .cross_targets import Target
from .gdb_remote import Remote

_WINDOW = 1 << 16  # bytes of stack that are looked at in one piece


class _Memory:
    """The memory of a program in its qemu."""

    def __init__(self, pid: int, base: int, image: CoreImage) -> None:
        self._fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        self._base = base
        self._image = image

    def close(self) -> None:
        os.close(self._fd)

    def read(self, address: int, size: int) -> bytes:
        try:
            return os.pread(self._fd, size, address + self._base)
        except (OSError, OverflowError):
            return b""

    def window(self, address: int) -> tuple[int, memoryview] | None:
        for row in self._image.mappings:
            if row.start <= address < row.end:
                data = self.read(address, min(row.end - address, _WINDOW))
                return address, memoryview(data)
        return None


@dataclass(slots=True)
class Stepped:
    """A program that stands at the function where stepping begins; its modules."""

    target: Target
    remote: Remote
    memory: _Memory
    modules: ModuleTable

    def pcs(self, limit: int) -> Iterator[int]:
        """The pc before each of at most `limit` instructions."""
        numbers = self.target.numbers or self.remote.register_numbers()
        pc = numbers[self.target.registers.get(self.target.arch.pc, self.target.arch.pc)]
        for _ in range(limit):
            yield self._value(pc)
            assert self.remote.ask("s")[:1] in (b"T", b"S")

    def stack(self) -> Stack:
        """The stack as we unwind it where it stands."""
        arch, numbers = self.target.arch, self.remote.register_numbers()
        names = {name: self.target.registers.get(name, name) for name in arch.numbers}
        registers = {
            name: self._value(numbers[theirs])
            for name, theirs in names.items()
            if theirs in numbers and name not in arch.float_registers[1]
        }
        return unwind(self.memory, self.modules, arch, registers)

    def _value(self, number: int) -> int:
        return int.from_bytes(self.remote.register(number), self.target.arch.byte_order)


def stepping(target: Target, program: Path, place: Path, start: int) -> Iterator[Stepped]:
    """Run a program that is linked at fixed addresses to `start`, for stepping from there."""
    door, log = place / "door", place / "pages"
    base = BASE_32 if target.elf_class == 1 else 0
    command = [
        need(f"qemu-{target.qemu}", "qemu-user"), "-singlestep", "-g", str(door), "-d", "page",
        "-D", str(log), *(["-B", hex(base)] if base else []), "-L", str(target.sysroot),
        str(program),
    ]  # fmt: skip
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        remote = Remote(door)
        try:
            assert remote.ask(f"Z0,{start:x},4") == b"OK"
            _, thread = remote.run()
            assert remote.ask(f"z0,{start:x},4") == b"OK"
            core = ProgramCore(target, remote, process.pid, log, base, 0)
            image = CoreImage.open(core.make(program, 5, thread))
            memory = _Memory(process.pid, base, image)
            modules = load_modules(image, PathFiles(image.notes))
            yield Stepped(target, remote, memory, modules)
            memory.close()
        finally:
            remote.close()
    finally:
        process.kill()
        process.wait()
