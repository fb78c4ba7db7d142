"""Instructions that are there to stop a program, of machines other than x86: which compilers place
them for what (gcc and clang, __builtin_trap(), __builtin_debugtrap(), -fsanitize-trap)."""

from __future__ import annotations

from dataclasses import dataclass

from .scene import Scene

_UBSAN = 0x55  # 'U', in the upper byte of brk's number (LLVM's AArch64 and ARM backends)


@dataclass(frozen=True, slots=True)
class Trap:
    """One such instruction: its text, whether it can be a debugger's as well, and the number of
    the check that failed, -1 where it is none."""

    text: str
    breakpoint: bool = False
    check: int = -1


def trap_at(scene: Scene) -> Trap | None:
    """The instruction at the pc, if it is one of these."""
    data = scene.memory(scene.pc, 4)
    word = int.from_bytes(data, "little")
    name = scene.arch.name
    if name.startswith("riscv") and (data[:2] == b"\x02\x90" or data == b"\x73\0\x10\0"):
        return Trap("ebreak", True)
    if name in ("arm", "armeb"):
        return _of_arm(scene, data, word)
    if len(data) < 4:
        return None
    if name.startswith("aarch64"):
        return _of_aarch64(word)
    if name in ("ppc", "ppc64", "ppc64le"):
        trap = int.from_bytes(data, scene.arch.byte_order) == 0x7FE00008
        return Trap("trap", True) if trap else None
    return None


def _of_aarch64(word: int) -> Trap | None:
    if word & 0xFFE0001F != 0xD4200000:
        return None
    number = word >> 5 & 0xFFFF
    text = f"brk #{number:#x}"
    if number >> 8 == _UBSAN:
        return Trap(text, check=number & 0xFF)
    return Trap(text, number not in (1, 1000))  # those of clang's and gcc's __builtin_trap()


def _of_arm(scene: Scene, data: bytes, word: int) -> Trap | None:
    if scene.registers.get("cpsr", 0) & 0x20:
        return Trap(f"udf #{data[0]:#x}") if len(data) >= 2 and data[1] == 0xDE else None
    if len(data) < 4 or word & 0xFFF000F0 != 0xE7F000F0:
        return None
    return Trap(f"udf #{(word >> 4 & 0xFFF0) | word & 0xF:#x}")
