"""What binutils call the stubs of the procedure linkage table."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .build import need

_BLOCK = re.compile(r"[0-9a-f]+ <(.*)>:$")
_INSTRUCTION = re.compile(r" *([0-9a-f]+):\t([0-9a-f ]+)\t(\S+)")
_PADDING = {"nop", "xchg", "nopl", "nopw", "int3", ".long", ".word", "cs", "data16"}


def stub_names(program: Path, objdump: str) -> dict[int, bytes | None]:
    """By the address of each instruction of the sections of stubs but what only fills them up: the
    function's name, None where it has none (the head of the table, say)."""
    listing = subprocess.run(
        [need(objdump, objdump), "-d", program], capture_output=True, text=True, check=True
    ).stdout
    found: dict[int, bytes | None] = {}
    name: bytes | None = None
    inside = False
    for line in listing.split("\n"):
        if line.startswith("Disassembly of section "):
            inside, name = line.split()[-1].startswith(".plt"), None
        elif block := _BLOCK.match(line):
            stub = block[1].endswith("@plt") and not block[1].startswith("*ABS*")
            name = block[1].removesuffix("@plt").encode() if stub else None
        elif inside and (code := _INSTRUCTION.match(line)) and code[3] not in _PADDING:
            found[int(code[1], 16)] = name
    return found


def without_sections(data: bytes) -> bytes:
    """An ELF file without its section headers (e_shoff, e_shnum, e_shstrndx of <elf.h>)."""
    bare = bytearray(data)
    at, size, counts = (40, 8, 60) if data[4] == 2 else (32, 4, 48)
    bare[at : at + size] = bytes(size)
    bare[counts : counts + 4] = bytes(4)
    return bytes(bare)
