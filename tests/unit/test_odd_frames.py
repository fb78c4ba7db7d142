"""A real stack whose functions each describe their frame in an odd way that the standard has:
expressions for CFA, registers and return address, a return address in another register, a stack
of its own, factored and extended forms. Frames and kept registers are those that the code made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.build import need
from tests.support.gcore import gcore_at_fault

from usercrash.elf.arch.x86_64 import ARCH

# (.cfi_escape: DWARF 5 sections 6.4.2, 7.24 and 7.7.1)
SOURCE = r"""
    .macro begin name
    .type \name, @function
\name:
    .cfi_startproc
    .endm
    .macro finish name
    .cfi_endproc
    .size \name, . - \name
    .endm

    .globl main
    begin main
    push %rbx
    .cfi_def_cfa_offset 16
    .cfi_offset %rbx, -16
    mov $0x1111, %ebx
    call by_expression
    pop %rbx
    .cfi_def_cfa_offset 8
    ret
    finish main

    begin by_expression
    lea 8(%rsp), %rax
    sub $40, %rsp
    mov %rax, 8(%rsp)
    mov %rbx, 16(%rsp)
    .cfi_escape 0x0f, 3, 0x77, 8, 0x06 # CFA: *(rsp + 8)
    .cfi_escape 0x10, 3, 2, 0x77, 16 # rbx at rsp + 16
    mov $0x2222, %ebx
    call by_value
    ud2
    finish by_expression

    begin by_value
    sub $24, %rsp
    .cfi_def_cfa_offset 32
    mov %rbx, %rax
    xor $0x5555, %rax
    mov %rax, (%rsp)
    .cfi_escape 0x16, 3, 7, 0x77, 0, 0x06, 0x0a, 0x55, 0x55, 0x27 # rbx: *rsp ^ 0x5555
    .cfi_escape 0x16, 16, 4, 0x38, 0x1c, 0x06, 0x96 # return address: *(CFA - 8)
    mov $0x3333, %ebx
    call in_register
    ud2
    finish by_value

    begin in_register
    pop %rax
    .cfi_def_cfa_offset 0
    .cfi_register 16, %rax
    push %r12
    .cfi_def_cfa_offset 8
    .cfi_offset %r12, -8
    mov %rax, %r12
    .cfi_register 16, %r12
    call by_branch
    ud2
    finish in_register

    begin by_branch
    sub $56, %rsp
    # CFA: lit1; bra over a nop; bregx rsp; const1u 64; swap; plus; lit0; or; dup; over; drop; drop
    .cfi_escape 0x0f, 20, 0x31, 0x28, 1, 0, 0x96, 0x92, 7, 0, 0x08, 64, 0x16, 0x22, 0x30, 0x21
    .cfi_escape 0x12, 0x14, 0x13, 0x13, 0x23, 0
    .cfi_escape 0x14, 15, 0 # val_offset: r15 is the CFA
    .cfi_escape 0x11, 16, 1 # offset_extended_sf of the return address
    call remembered
    ud2
    finish by_branch

    begin remembered
    push %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    mov %rsp, %rbp
    .cfi_def_cfa_register %rbp
    .cfi_remember_state
    .cfi_undefined %r14
    .cfi_def_cfa_offset 400
    .cfi_restore_state
    and $-64, %rsp
    .cfi_escape 0x2e, 0x20 # GNU_args_size
    .cfi_escape 0x04, 0, 0, 0, 0 # advance_loc4
    .cfi_escape 0x1d, 0, 0, 0, 0, 0, 0, 0, 0 # MIPS_advance_loc8
    call factored
    ud2
    finish remembered

    begin factored
    sub $72, %rsp
    .cfi_escape 0x12, 7, 0x76 # def_cfa_sf: rsp + 80
    .cfi_escape 0x2f, 16, 0x81, 0x80, 0 # GNU_negative_offset_extended: CFA + 8 …
    .cfi_offset 16, -8 # … and back
    call elsewhere
    ud2
    finish factored

    begin elsewhere
    mov %rsp, %rax
    lea other+4000(%rip), %rsp
    push %rax
    .cfi_escape 0x0f, 5, 0x77, 0, 0x06, 0x23, 8 # CFA: *rsp + 8
    call fault
    ud2
    finish elsewhere

    begin fault
    xor %eax, %eax
    mov (%rax), %ebx
    ud2
    finish fault

    .bss
other:
    .skip 4096
    .section .note.GNU-stack, "", @progbits
"""
NAMES = ["fault", "elsewhere", "factored", "remembered", "by_branch", "in_register", "by_value",
         "by_expression", "main"]  # fmt: skip


@pytest.mark.parametrize(
    ("sections", "flags"),
    [
        (".eh_frame", ()),
        (".debug_frame", ("-Wa,--gdwarf-cie-version=1",)),
        (".debug_frame", ("-Wa,--gdwarf-cie-version=3",)),
        (".debug_frame", ("-Wa,--gdwarf-cie-version=4",)),
    ],
    ids=["eh_frame", "debug_frame 1", "debug_frame 3", "debug_frame 4"],
)
def test_frames_and_registers(sections: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    source, program = tmp_path / "odd.s", tmp_path / "odd"
    source.write_text(f".cfi_sections {sections}\n.text\n{SOURCE}")
    subprocess.run([need("gcc", "gcc"), *flags, "-o", program, source], check=True)
    seen = analyse(gcore_at_fault([bytes(program)], tmp_path / "core"))
    stack = seen.stack()
    assert seen.names(stack)[: len(NAMES)] == NAMES
    assert stack.complete, stack.end
    assert {str(frame.trust) for frame in stack.frames[1:]} == {"cfi"}
    kept = [frame.registers(ARCH) for frame in stack.frames]
    by_name = dict(zip(NAMES, kept, strict=False))
    assert by_name["by_value"]["rbx"] == 0x3333
    assert by_name["by_expression"]["rbx"] == 0x2222
    assert by_name["main"]["rbx"] == 0x1111
    assert by_name["in_register"]["r15"] == by_name["in_register"]["rsp"]
