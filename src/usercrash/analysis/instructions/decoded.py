"""A machine instruction as the rest of the analysis sees it, and the memory that it touches."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """A memory operand of an instruction: [address, address + size) is read or written
    (`kind` "read", "write", "read and write"), computed as `text` from `registers`, whose `values`
    stand by name ("fs_base" for what fs adds): `base` plus `scale` times `index`, where these are
    there, and a constant."""

    kind: str
    address: int
    size: int
    text: str
    registers: tuple[str, ...]
    values: tuple[tuple[str, int], ...] = ()
    base: str = ""
    index: str = ""
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Decoded:
    """One instruction. `operand` is the (unsigned) value of the first operand, None if
    unknown, `operand_text` how it is written; `bits` its width. `reads` are the registers among
    its operands that it reads, with their values. `groups` are capstone's names of the instruction
    sets and sorts that it belongs to."""

    address: int
    data: bytes
    mnemonic: str
    text: str
    accesses: tuple[Access, ...] = ()
    privileged: bool = False
    operand: int | None = None
    operand_text: str = ""
    bits: int = 0
    reads: tuple[tuple[str, int], ...] = ()
    groups: tuple[str, ...] = ()
