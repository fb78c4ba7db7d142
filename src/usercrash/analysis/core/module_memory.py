"""The process's memory with the files' constant parts: what unwinding and symbols read."""

from __future__ import annotations

from ...elf.headers import PF_W, PT_LOAD
from .image import CoreImage
from .modules import ModuleTable


class ModuleMemory:
    """The process's memory: what was captured, else what its files hold in segments that
    were never writable (a core leaves those out, as gdb knows too)."""

    def __init__(self, image: CoreImage, modules: ModuleTable) -> None:
        self._image = image
        self._modules = modules
        self.window = image.window

    def read(self, address: int, size: int) -> bytes:
        """The bytes at `address`, at most `size`; ends at the first that is not known."""
        data = self._image.read(address, size)
        while len(data) < size:
            more = self._from_file(address + len(data), size - len(data))
            if not more:
                break
            data += more
            data += self._image.read(address + len(data), size - len(data))
        return data

    def _from_file(self, address: int, size: int) -> bytes:
        module = self._modules.find(address)
        if module is None or module.elf is None or module.elf is module.memory_elf:
            return b""
        vaddr = address - module.bias
        for segment in module.elf.program_headers:
            if segment.type != PT_LOAD or segment.flags & PF_W:
                continue
            if segment.vaddr <= vaddr < segment.vaddr + segment.filesz:
                size = min(size, segment.vaddr + segment.filesz - vaddr)
                window = self._image.next_captured(address)
                if window is not None:
                    size = min(size, window - address)
                start = segment.offset + vaddr - segment.vaddr
                return bytes(module.elf.view[start : start + size])
        return b""
