"""The part of the report that tells what lies where in memory: its mappings, the modules and their
packages, bytes, words and instructions (see report)."""

from __future__ import annotations

import msgspec

Hex = str  # "0x…": an address or a register value


class MemoryBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Memory near something: `data` is hex digits, two a byte; `gaps` lists [offset, length]
    of bytes that were not captured (they stand as zeros in `data`). Bytes stand in their order in
    memory; System has that of words."""

    label: str  # "rax", "pc", "stack" …
    address: Hex  # of the first byte
    center: Hex  # the value of the register
    data: str
    where: str = ""  # what the center points to, for people (as register_notes say it)
    gaps: list[list[int]] = []


class Instruction(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction near the pc: its bytes as hex digits, its text (empty where it could
    not be decoded); `current` marks the one at the pc. `note` tells the values of that one's
    operands, and what a fixed address in any of them is."""

    address: Hex
    data: str
    text: str
    current: bool = False
    note: str = ""


class StackWord(msgspec.Struct, frozen=True, kw_only=True):
    """One word of the crashing thread's stack, and what its value points to, if anything."""

    address: Hex
    value: Hex
    note: str = ""


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """The package that a file is from. `type`: deb, rpm, apk or what the file says of itself;
    `source` is who says so: "note" (`.note.package` in the file), "dpkg", "rpm" or "apk"."""

    name: str
    version: str = ""
    architecture: str = ""
    type: str = ""
    source: str = ""


class Module(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    start: Hex
    end: Hex
    build_id: str | None
    deleted: bool = False
    file: str = ""  # where its contents came from: "descriptor", "path", "memory", "none"
    symbols: str = ""  # where names came from: "debug file …", "symbol table", "none" …
    soname: str = ""
    package: Package | None = None
    forced: bool = False  # the file is not the one that was mapped (analyze --force-exe)


class Map(msgspec.Struct, frozen=True, kw_only=True):
    start: Hex
    end: Hex
    permissions: str
    offset: Hex
    path: str
    device: str = ""
    inode: int = 0
    deleted: bool = False
    fault: bool = False  # the fault address lies in it
