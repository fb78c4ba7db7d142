"""The tables of other machines: sizes as the kernel dumps them, calls by their code, signal frames
from synthetic cores, signals by their own numbers."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.cross_targets import TARGETS

from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.module_memory import ModuleMemory
from usercrash.analysis.core.modules import load_modules
from usercrash.analysis.core.patterns import pattern_words
from usercrash.analysis.dwarf.cfi import Row
from usercrash.analysis.facts.signals import SigInfo, decode_siginfo, of_machine, to_report
from usercrash.analysis.instructions.machine_code import code_facts
from usercrash.analysis.unwinding.signal_frames import SignalFrames
from usercrash.analysis.unwinding.unwind import Stack, unwind
from usercrash.elf.arch import Arch, arch_of
from usercrash.elf.headers import AT_ENTRY

# (e_machine, class, byte order, e_flags): name, size of struct elf_prstatus as BFD's readers of
# cores know it, where pr_reg begins
MACHINES = {
    (21, 2, "<", 2): ("ppc64le", 504, 112),
    (21, 2, ">", 1): ("ppc64", 504, 112),
    (20, 1, ">", 0): ("ppc", 268, 72),
    (22, 2, ">", 0): ("s390x", 336, 112),
    (22, 1, ">", 0): ("s390", 224, 72),
    (8, 1, ">", 0x1000): ("mips", 256, 72),
    (8, 1, "<", 0): ("mipsel", 256, 72),
    (8, 1, ">", 0x20): ("mipsn32", 440, 72),
    (8, 2, "<", 0): ("mips64el", 480, 112),
    (258, 2, "<", 0x43): ("loongarch64", 480, 112),
    (43, 2, ">", 0): ("sparc64", 408, 112),
    (18, 1, ">", 0): ("sparc", 228, 72),
    (4, 1, ">", 0): ("m68k", 154, 70),
}


def named(name: str) -> Arch:
    identity = next(key for key, row in MACHINES.items() if row[0] == name)
    found = arch_of(*identity)
    assert found is not None
    return found


@pytest.mark.parametrize("identity", MACHINES, ids=lambda identity: MACHINES[identity][0])
def test_prstatus(identity: tuple[int, int, str, int]) -> None:
    name, size, start = MACHINES[identity]
    arch = arch_of(*identity)
    assert arch is not None
    assert (arch.name, arch.prstatus_size, arch.prstatus_offset) == (name, size, start)
    status = bytearray(range(256)) * 2
    status[12:14] = (11).to_bytes(2, arch.byte_order)
    signal, _, registers = arch.parse_prstatus(bytes(status[:size]))
    assert signal == 11
    assert {arch.pc, arch.sp, arch.fp} <= registers.keys()
    assert "" not in registers
    for register in (*arch.callee_saved, *arch.pointer_registers):
        assert register in registers
    assert {arch.pc, arch.sp} <= set(arch.numbers)
    assert not arch.link or arch.link in arch.numbers


# A call, from the begin of its code to its return address; where it leads (0: a register's value)
CALLS = [
    ("ppc64le", "f1 ff ff 4b", 0x1000, 0x1000 - 4 - 16),  # bl .-16
    ("ppc64le", "05 00 9f 42", 0x1000, None),  # bcl 20,31,.+4
    ("ppc64", "4e 80 04 21", 0x1000, 0),  # bctrl
    ("ppc", "4e 80 00 20", 0x1000, None),  # blr
    ("s390x", "c0 e5 ff ff ff f8", 0x1000, 0x1000 - 6 - 16),  # brasl %r14,.-16
    ("s390x", "0d e1", 0x1000, 0),  # basr %r14,%r1
    ("s390x", "07 fe", 0x1000, None),  # br %r14
    ("mips", "0c 00 04 00 00 00 00 00", 0x2000, 0x1000),  # jal 0x1000
    ("mipsel", "09 f8 20 03 00 00 00 00", 0x2000, 0),  # jalr $t9
    ("mips64el", "fc ff 11 04 00 00 00 00", 0x2000, 0x2000 - 8 + 4 - 16),  # bal
    ("mips", "03 e0 00 08 00 00 00 00", 0x2000, None),  # jr $ra
    ("loongarch64", "ff f3 ff 57", 0x1000, 0x1000 - 4 - 16),  # bl .-16
    ("loongarch64", "81 01 00 4c", 0x1000, 0),  # jirl $ra,$t0,0
    ("loongarch64", "20 00 00 4c", 0x1000, None),  # ret
    ("sparc64", "7f ff ff fc 01 00 00 00", 0x1000, 0x1000 - 8 - 16),  # call .-16
    ("sparc64", "9f c0 40 00 01 00 00 00", 0x1000, 0),  # call %g1
    ("m68k", "61 ff ff ff ff f0", 0x1000, 0x1000 - 4 - 16),  # bsr.l
    ("m68k", "4e b9 00 00 20 00", 0x1000, 0x2000),  # jsr 0x2000
    ("m68k", "4e 90", 0x1000, 0),  # jsr (%a0)
    ("m68k", "4e 75", 0x1000, None),  # rts
]


@pytest.mark.parametrize(("name", "code", "address", "target"), CALLS)
def test_calls(name: str, code: str, address: int, target: int | None) -> None:
    facts = code_facts(named(name))
    assert facts is not None
    before = bytes.fromhex(code)
    assert facts.call_target(before.rjust(8, b"\0"), address) == target
    assert facts.call_target(b"", address) is None


JUMPS = [
    ("aarch64", "04 00 00 14", 0x1000, 0xFFC + 16),  # b
    ("aarch64", "04 00 00 94", 0x1000, None),  # bl
    ("arm", "02 00 00 ea", 0x1000, 0xFFC + 16),  # b
    ("arm", "ff f7 5d bf", 0x566, 0x420),  # b.w of Thumb code
    ("arm", "02 00 00 eb", 0x1000, None),  # bl
    ("riscv64", "6f 00 00 01", 0x1000, 0xFFC + 16),  # jal zero
    ("riscv64", "39 b7", 0x6D4, 0x5E0),  # c.j
    ("riscv64", "6f 00 01 a0", 0x1000, None),  # jal zero, or c.j behind the end of something
    ("riscv64", "17 13 00 00 67 00 03 01", 0x1000, 0xFF8 + 0x1010),  # auipc t1; jalr zero, t1
    ("riscv64", "17 13 00 00 67 80 03 01", 0x1000, None),  # of another register
    ("s390x", "c0 f4 00 00 00 08", 0x1000, 0xFFA + 16),  # jg
    ("s390x", "a7 f4 00 08", 0x1000, 0xFFC + 16),  # j
    ("s390x", "c0 f4 a7 f4 00 08", 0x1000, None),  # either
    ("s390x", "c0 e5 00 00 00 08", 0x1000, None),  # brasl
]


@pytest.mark.parametrize(("name", "code", "address", "target"), JUMPS)
def test_jumps(name: str, code: str, address: int, target: int | None) -> None:
    facts = code_facts(TARGETS[name].arch)
    assert facts is not None
    before = bytes.fromhex(code)
    assert facts.jump_target(before.rjust(8, b"\0"), address) == target
    assert facts.jump_target(b"", address) is None


def core_of(arch: Arch, registers: dict[str, int], loads: list[tuple[int, int, bytes]]) -> bytes:
    """A core of one thread; `loads` are (address, flags, contents)."""
    order, wide = arch.order, arch.elf_class == 2
    status = bytearray(arch.prstatus_size)
    for at, name in enumerate(arch.prstatus_registers):
        value = registers.get(name, 0).to_bytes(arch.word, arch.byte_order)
        start = arch.prstatus_offset + at * arch.word
        status[start : start + arch.word] = value
    note = struct.pack(f"{order}3I", 5, len(status), 1) + b"CORE\0\0\0\0" + bytes(status)
    rows = [(4, 0, 0, note.ljust(-(-len(note) // 4) * 4, b"\0"))]
    rows += [(1, flags, address, data) for address, flags, data in loads]
    header = struct.Struct(f"{order}16sHHI3{'Q' if wide else 'I'}I6H")
    segment = struct.Struct(order + ("IIQQQQQQ" if wide else "IIIIIIII"))
    at = header.size + segment.size * len(rows)
    ident = b"\x7fELF" + bytes((arch.elf_class, 1 if order == "<" else 2, 1)) + bytes(9)
    head = header.pack(ident, 4, arch.machine, 1, 0, header.size, 0, arch.flags[0], header.size,
                       segment.size, len(rows), 0, 0, 0)  # fmt: skip
    table = body = b""
    for kind, flags, address, data in rows:
        place = (at, address, 0, len(data), len(data))
        table += segment.pack(*((kind, flags, *place, 1) if wide else (kind, *place, flags, 1)))
        body += data
        at += len(data)
    return head + table + body


def walked(core: bytes) -> Stack:
    image = CoreImage.open(core)
    modules = load_modules(image, None)
    thread = image.threads[0]
    return unwind(ModuleMemory(image, modules), modules, image.arch, thread.registers)


@pytest.mark.parametrize("name", [row[0] for row in MACHINES.values()])
def test_signal_frames(name: str) -> None:
    """From each trampoline to the interrupted pc, and all registers that the frame has."""
    arch = named(name)
    facts = code_facts(arch)
    assert facts is not None and facts.signal_frames
    stack, code = 0x70000000, 0x40000000
    for frame in facts.signal_frames:
        for trampoline in frame.codes:
            sp = stack + 64 - arch.stack_bias
            area = bytearray(4096)
            values = {}
            for at, (register, distance) in enumerate(frame.registers):
                value = code + 0x800 if register == arch.pc else 0x1000 + 8 * at
                values[register] = value
                start = sp + distance - stack
                area[start : start + arch.word] = value.to_bytes(arch.word, arch.byte_order)
            text = trampoline.ljust(0x1000, b"\0")
            found = walked(
                core_of(
                    arch, {arch.pc: code, arch.sp: sp}, [(code, 5, text), (stack, 6, bytes(area))]
                )
            )
            assert found.frames[0].signal_frame
            inner = found.frames[1]
            assert inner.pc == code + 0x800 and inner.exact
            assert values.items() <= (inner.registers(arch) | _floats(arch, values)).items()


@pytest.mark.parametrize("name", ["aarch64", "arm", "loongarch64", "riscv32", "riscv64"])
def test_trampolines_that_only_say_that_they_are_some(name: str) -> None:
    """Kernels mark theirs as a signal frame, without rules that lead to what was interrupted."""
    arch = TARGETS[name].arch
    facts = code_facts(arch)
    assert facts is not None
    frame = facts.signal_frames[0]
    sp = arch.numbers[arch.sp]
    row = Row(sp, 0, None, {}, arch.return_column, signal_frame=True)
    code = core_of(arch, {}, [(0x40000000, 5, frame.codes[0].ljust(0x1000, b"\0"))])
    image = CoreImage.open(code)
    modules = load_modules(image, None)
    frames = SignalFrames(ModuleMemory(image, modules), modules, arch, facts)
    assert frames.at(0x40000000, row) == [
        one for one in facts.signal_frames if frame.codes[0].startswith(one.codes)
    ]


def _floats(arch: Arch, values: dict[str, int]) -> dict[str, int]:
    names = arch.float_registers[1]
    return {name: value for name, value in values.items() if name in names}


@pytest.mark.parametrize(
    ("name", "taken"), [("mips", True), ("mipsel", False), ("mipsn32", False), ("mips64el", False)]
)
def test_a_file_of_another_abi_is_not_taken_even_by_force(
    name: str, taken: bool, tmp_path: Path
) -> None:
    """They share e_machine; byte order, class and e_flags tell them apart."""
    code = 0x400000
    head = core_of(named("mips"), {}, [])[:64]
    image = CoreImage.open(core_of(named("mips"), {"pc": code}, [(code, 5, head)]))
    image.mappings[0].path = b"/bin/program"
    image.auxv[AT_ENTRY] = code
    file = tmp_path / "program"
    file.write_bytes(core_of(named(name), {}, [(code, 5, bytes(64))]))
    modules = list(load_modules(image, None, str(file), force_exe=True))
    assert [module.elf is not None for module in modules] == [taken]
    assert any("another machine" in note.why for note in image.notes) != taken


def test_text_in_both_byte_orders() -> None:
    text = int.from_bytes(b"overflow", "big")
    assert pattern_words(text, 8, ">") == 'the text "overflow"'
    assert pattern_words(text, 8, "<") == 'the text "wolfrevo"'
    assert pattern_words(int.from_bytes(b"AAAA", "big"), 4, ">") == 'the text "AAAA"'
    assert pattern_words(0x10001AB4, 8, ">") == ""


def test_signals_of_mips_and_sparc() -> None:
    mips, sparc = named("mips"), named("sparc64")
    info = struct.pack(">iiiI", 10, 1, 0, 0x1234).ljust(128, b"\0")
    bus = decode_siginfo(info, mips.long, mips.order, mips.code_first, mips.signals)
    assert bus is not None and (bus.code, bus.errno, bus.address) == (1, 0, 0x1234)
    bus = of_machine(bus, mips)
    assert bus is not None and bus.number == 7
    shown = to_report(bus, mips.name)
    assert (shown.number, shown.name, shown.code_name) == (10, "SIGBUS", "BUS_ADRALN")
    user = of_machine(SigInfo(30), sparc)
    assert user is not None and to_report(user, sparc.name).name == "SIGUSR1"
    assert of_machine(SigInfo(7), sparc) is None
    timer = of_machine(SigInfo(11, -3), mips)
    assert timer is not None and to_report(timer, mips.name).code_name == "SI_TIMER"
    plain = replace(SigInfo(11, 0x80), own_number=0)
    assert "canonical" not in to_report(plain, "ppc64le").description
