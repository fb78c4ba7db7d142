"""What machine code tells the unwinder where call frame information is missing.

One `CodeFacts` for each architecture, in a module of its own (`FACTS`); only patterns that
compilers and C libraries really emit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module

from ...elf.arch import Arch

# Where the return address lies at an exact pc, by what stands around it: distance from the
# stack pointer to the return address, and to the saved frame pointer (None: still in its register).
Prologue = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """`sigreturn`: the code of signal trampolines; `sigcontext`: (register, its distance from
    the stack pointer there); `frame_makers`: how functions begin that use the frame pointer.
    `sigcontext_first`: the trampoline's own call frame information does not lead to the
    interrupted pc."""

    sigreturn: tuple[bytes, ...]
    sigcontext: tuple[tuple[str, int], ...]
    frame_makers: tuple[bytes, ...] = ()
    sigcontext_first: bool = False

    def call_target(self, before: bytes, address: int) -> int | None:
        """If the bytes before `address` end with a call: its target, 0 for an indirect one.
        None if they do not."""
        raise NotImplementedError

    def prologue(self, before: bytes, at: bytes) -> Prologue | None:
        """What the code around an exact pc says of a frame that is just being made or undone."""
        raise NotImplementedError


# Architecture (Arch.name) and the module that has its facts.
_MODULES = {"x86_64": "x86_64_code"}


@cache
def code_facts(arch: Arch) -> CodeFacts | None:
    """The facts for an architecture, None where there are none."""
    module = _MODULES.get(arch.name)
    if module is None:
        return None
    facts: CodeFacts = import_module(f"{__package__}.{module}").FACTS
    return facts
