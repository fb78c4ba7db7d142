"""SIGFPE: divisions, and what floating-point arithmetic raises if it is told to."""

from __future__ import annotations

from ...report import Cause
from ..facts.signals import FPE_INTDIV, FPE_INTOVF, SIGFPE, SigInfo, code_words
from ..instructions.decoded import Decoded
from ..instructions.x86_operands import register_value
from .scene import Scene, cause, seen

_X87 = ("f", "wait")


def arithmetic(scene: Scene, info: SigInfo) -> Cause:
    """The cause of a SIGFPE that the processor raised."""
    instruction = scene.decode(scene.registers)
    if info.code not in (FPE_INTDIV, FPE_INTOVF):
        words = code_words(SIGFPE, info.code) or "arithmetic error"
        evidence = [seen("instruction", instruction.text)] if instruction else []
        late = scene.x86 and instruction is not None and instruction.mnemonic.startswith(_X87)
        return cause(
            "arithmetic", words,
            "The x87 unit tells of it at its next instruction, so it was one before this."
            if late else "",
            reason="floating-point", evidence=evidence,
        )  # fmt: skip
    if instruction is None:
        kind = "division-by-zero" if info.code == FPE_INTDIV else "arithmetic"
        return cause(kind, code_words(SIGFPE, info.code), certainty="likely")
    if instruction.mnemonic in ("div", "idiv"):
        found = _division(scene, instruction)
        if found is not None:
            return found
    return cause(
        "division-by-zero", "integer division error: by zero, or the result does not fit",
        certainty="likely", evidence=[seen("instruction", instruction.text)],
    )  # fmt: skip


def _division(scene: Scene, instruction: Decoded) -> Cause | None:
    divisor = instruction.operand
    if divisor is None and instruction.accesses:
        access = instruction.accesses[-1]
        data = scene.memory(access.address, access.size)
        divisor = int.from_bytes(data, "little") if len(data) == access.size else None
    if divisor is None:
        return _by_unknown(scene, instruction)
    name = instruction.operand_text
    evidence = [seen("instruction", instruction.text), seen(name, divisor, "the divisor")]
    if divisor == 0:
        return cause(
            "division-by-zero", f"integer division by zero ({name} is 0)", evidence=evidence
        )
    words = "integer division whose result does not fit (divisor "
    dividend = _dividend(scene, instruction)
    signed = _signed(divisor, instruction.bits)
    if instruction.mnemonic == "idiv" and dividend is not None:
        evidence.append(seen("dividend", str(dividend)))
        if signed == -1 and dividend == -(1 << instruction.bits - 1):
            return cause(
                "division-overflow",
                f"{dividend} divided by \u22121: the result does not fit {instruction.bits} bits",
                "No positive number is its counterpart; its remainder by \u22121 traps, too.",
                reason="overflow",
                evidence=evidence,
            )
    shown = signed if instruction.mnemonic == "idiv" else divisor
    return cause("division-overflow", f"{words}{shown})", reason="overflow", evidence=evidence)


def _by_unknown(scene: Scene, instruction: Decoded) -> Cause | None:
    """A division by what is not known, but whose dividend fits the result with any divisor but 0
    (and -1, for the lowest number)."""
    bits = instruction.bits
    if not bits or bits == 8:
        return None
    signed = instruction.mnemonic == "idiv"
    dividend = _dividend(scene, instruction)
    if dividend is None:
        return None
    low = -(1 << bits - 1) + 1 if signed else 0
    high = (1 << bits - signed) - 1
    if not low <= dividend <= high:
        return None
    return cause(
        "division-by-zero",
        f"integer division by zero ({instruction.operand_text} must be 0)",
        f"The dividend is {dividend}: no other divisor has a quotient that does not fit.",
        evidence=[seen("instruction", instruction.text), seen("dividend", str(dividend))],
    )


def _dividend(scene: Scene, instruction: Decoded) -> int | None:
    """The number that div or idiv divides: dx:ax in its width; None for widths of 8 bits."""
    bits = instruction.bits
    names = {16: ("dx", "ax"), 32: ("edx", "eax"), 64: ("rdx", "rax")}.get(bits)
    if names is None:
        return None
    registers = dict(scene.registers)
    high, low = (register_value(name, registers) for name in names)
    if high is None or low is None:
        return None
    number = high << bits | low
    return _signed(number, 2 * bits) if instruction.mnemonic == "idiv" else number


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if bits and value >> bits - 1 else value
