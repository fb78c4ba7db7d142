"""SPARC, 64 and 32 bits: arch/sparc/kernel/ptrace_64.c (genregs64) and ptrace_32.c (genregs32);
DWARF numbers of the "SPARC Compliance Definition".

A call leaves its own address, not the one behind it and its delay slot. Registers come in
windows: a function's in-registers are its caller's out-registers, and locals and ins lie
at the stack pointer, which is 2047 bytes below the stack where registers have 64 bits."""

from __future__ import annotations

from . import Arch

_GENERAL = tuple(f"{letter}{number}" for letter in "goli" for number in range(8))


# arch/sparc/include/uapi/asm/signal.h. (SIGEMT, 7, is nobody else's; 29 is SIGLOST or SIGPWR.)
_SIGNALS = {7: 0, 10: 7, 12: 31, 16: 23, 17: 19, 18: 20, 19: 18, 20: 17, 23: 29, 29: 30, 30: 10,
            31: 12}  # fmt: skip


def _arch(name: str, machine: int, elf_class: int, others: tuple[str, ...]) -> Arch:
    names = tuple({"o6": "sp", "i6": "fp"}.get(name, name) for name in _GENERAL)
    return Arch(
        name=name,
        machine=machine,
        elf_class=elf_class,
        order=">",
        prstatus_registers=(*names, *others),
        pc="pc",
        sp="sp",
        fp="fp",
        link="o7",
        dwarf_registers={**dict(enumerate(names)), 80: "npc"},  # (a number of no register)
        delayed="npc",
        return_column=15,
        callee_saved=(*names[14:15], *names[16:]),
        pointer_registers=(*names[1:], "pc"),
        code_mask=-4,
        signals=_SIGNALS,
        return_distance=8,
        stack_bias=2047 if elf_class == 2 else 0,
    )


_OTHERS32 = ("psr", "pc", "npc", "y", "wim", "tbr")

ARCHES = (
    _arch("sparc64", 43, 2, ("tstate", "pc", "npc", "y")),
    _arch("sparc", 2, 1, _OTHERS32),
    _arch("sparc", 18, 1, _OTHERS32),  # EM_SPARC32PLUS
)
