"""The machines whose programs run here under qemu, and what gdb calls their registers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from usercrash.elf.arch import Arch, arch_of


@dataclass(frozen=True, slots=True)
class Target:
    """A machine: its compilers' prefix, qemu's name, where its libraries are, and its ELF identity
    (machine, class, byte order, flags). `registers` maps our names to qemu's where they
    differ; `numbers` has the places of registers, in words, among all of qemu's where it does not
    describe them. `packages` are Debian's."""

    name: str
    triple: str
    qemu: str
    machine: int
    elf_class: int
    order: str = "<"
    flags: int = 0
    compiler: tuple[str, ...] = ()
    registers: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    signals: dict[int, int] = field(default_factory=dict)  # gdb's to the machine's, if not as x86
    root: Path | None = None  # where the libraries are, if not where those of a cross compiler are

    @property
    def arch(self) -> Arch:
        found = arch_of(self.machine, self.elf_class, self.order, self.flags)
        assert found is not None, self.name
        return found

    @property
    def sysroot(self) -> Path:
        return self.root or Path("/usr") / self.triple

    @property
    def package(self) -> str:
        return f"gcc-{self.triple}"


AARCH64 = Target("aarch64", "aarch64-linux-gnu", "aarch64", 183, 2, registers={"pstate": "cpsr"})
ARM = Target("arm", "arm-linux-gnueabihf", "arm", 40, 1)
# (its programs run here without qemu, too: tests/kernel/test_i386.py)
I386 = Target("i386", "x86_64-linux-gnu", "i386", 3, 1, compiler=("-m32",), root=Path("/"))
RISCV64 = Target("riscv64", "riscv64-linux-gnu", "riscv64", 243, 2, registers={"s0": "fp"})
# Of these the same compilers make code, but Debian has no libraries.
AARCH64_BE = Target(
    "aarch64_be", "aarch64-linux-gnu", "aarch64_be", 183, 2, ">", 0, ("-mbig-endian",),
    {"pstate": "cpsr"},
)  # fmt: skip
ARMEB = Target(
    "armeb", "arm-linux-gnueabihf", "armeb", 40, 1, ">", 0, ("-mbig-endian", "-Wl,--be8")
)
RISCV32 = Target(
    "riscv32", "riscv64-linux-gnu", "riscv32", 243, 1, "<", 0,
    ("-march=rv32imac", "-mabi=ilp32", "-Wl,-melf32lriscv"), {"s0": "fp"},
)  # fmt: skip


def _loongarch() -> Target:
    arch = arch_of(258, 2, "<")
    assert arch is not None
    numbers = {name: number for number, name in arch.dwarf_registers.items() if number < 32}
    numbers |= {"pc": 33, "badv": 34}
    triple = "loongarch64-linux-gnu"
    return Target("loongarch64", triple, "loongarch64", 258, 2, numbers=numbers)


# Debian 12 has no C compiler for it, but Go's makes code for it.
LOONGARCH64 = _loongarch()

_POWER = {"nip": "pc"}
PPC64LE = Target("ppc64le", "powerpc64le-linux-gnu", "ppc64le", 21, 2, registers=_POWER)
PPC64 = Target("ppc64", "powerpc64-linux-gnu", "ppc64", 21, 2, ">", registers=_POWER)
PPC = Target("ppc", "powerpc-linux-gnu", "ppc", 20, 1, ">", registers=_POWER)
S390X = Target("s390x", "s390x-linux-gnu", "s390x", 22, 2, ">")
M68K = Target("m68k", "m68k-linux-gnu", "m68k", 4, 1, ">")

# qemu does not describe the registers of MIPS and SPARC; these number signals as gdb does.
_AS_GDB = {10: 10, 12: 12}
_BEHIND = {"status": 32, "lo": 33, "hi": 34, "badvaddr": 35, "cause": 36, "pc": 37}


def _mips(
    name: str, triple: str, elf_class: int, order: str, flags: int = 0,
    compiler: tuple[str, ...] = (),
) -> Target:  # fmt: skip
    arch = arch_of(8, elf_class, order, flags)
    assert arch is not None
    numbers = {arch.dwarf_registers[number]: number for number in range(32)} | _BEHIND
    return Target(
        name, triple, name, 8, elf_class, order, flags, compiler,
        numbers=numbers, signals=_AS_GDB,
    )  # fmt: skip


MIPS = _mips("mips", "mips-linux-gnu", 1, ">")
MIPSEL = _mips("mipsel", "mipsel-linux-gnu", 1, "<")
MIPS64 = _mips("mips64", "mips64-linux-gnuabi64", 2, ">")
MIPS64EL = _mips("mips64el", "mips64el-linux-gnuabi64", 2, "<")
MIPSN32EL = _mips("mipsn32el", "mips64el-linux-gnuabi64", 1, "<", 0x20, ("-mabi=n32",))


def _sparc() -> Target:
    arch = arch_of(43, 2, ">")
    assert arch is not None
    numbers = {name: number for number, name in arch.dwarf_registers.items() if number < 32}
    # in words of 8 bytes: 32 floating-point registers have 4 bytes each
    numbers |= {"pc": 64, "npc": 65, "tstate": 66}
    return Target(
        "sparc64", "sparc64-linux-gnu", "sparc64", 43, 2, ">", numbers=numbers, signals=_AS_GDB
    )


def _sparc32() -> Target:
    arch = arch_of(18, 1, ">")
    assert arch is not None
    numbers = {name: number for number, name in arch.dwarf_registers.items() if number < 32}
    numbers |= {"y": 64, "psr": 65, "wim": 66, "tbr": 67, "pc": 68, "npc": 69}
    return Target(
        "sparc", "sparc64-linux-gnu", "sparc32plus", 18, 1, ">", compiler=("-m32",),
        numbers=numbers, signals=_AS_GDB,
    )  # fmt: skip


SPARC64, SPARC = _sparc(), _sparc32()

TARGETS = {
    target.name: target
    for target in (
        AARCH64, ARM, RISCV64, PPC64LE, PPC64, PPC, S390X, MIPS, MIPS64EL, MIPSN32EL,
        SPARC64, SPARC, M68K, AARCH64_BE, ARMEB, RISCV32, MIPSEL, MIPS64, LOONGARCH64,
    )
}  # fmt: skip
