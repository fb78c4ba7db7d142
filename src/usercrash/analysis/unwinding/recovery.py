"""To the caller without call frame information, and only on good evidence.

A candidate for a return address counts only if it lies in executable memory right behind a
call instruction; a direct call whose target is known to be another function does not.
"""

from __future__ import annotations

from ...elf.arch import Arch
from ...elf.headers import EM_386, EM_X86_64
from ..core.modules import Module, ModuleTable
from ..instructions.code_walk import ARCHES
from ..instructions.machine_code import CodeFacts
from .entry_frames import stack_before
from .evidence import Evidence
from .frames import END_OF_STACK, Caller, Memory, Registers, Trust, no_way
from .link_recovery import LinkRecovery

_SCAN_WORDS = 512  # how far up the stack the last resort looks
_MAX_SCANS = 8  # how often in one stack
_MAX_FUNCTION = 1 << 20  # bytes of one function's code
_MAX_BACK = 4096  # bytes of code to look back for where a function begins
# x86: most code there has a frame pointer or else call frame information.
_X86 = frozenset({EM_386, EM_X86_64})
_MAX_ENTRY = 160  # bytes of code between a program's entry and its call of the C library
_MAX_JUMPER = 1024  # bytes of a function that are searched for its tail call
_MAX_FRAME = 16 << 20  # bytes between a stack pointer and a frame pointer that is believed


class Recovery:
    """Finds callers for one stack."""

    def __init__(
        self, memory: Memory, modules: ModuleTable, arch: Arch, facts: CodeFacts | None
    ) -> None:
        self.memory = memory
        self.modules = modules
        self.facts = facts
        self.arch = arch
        numbers = arch.numbers
        self.pc, self.sp, self.fp = arch.pc_slot, numbers[arch.sp], numbers[arch.fp]
        self.word = arch.word
        self.saved = arch.callee_saved
        self.numbers = numbers
        self.names = arch.dwarf_registers
        self.x86 = arch.machine in _X86
        self.walk = modules.code_walk if arch.name in ARCHES else None
        self.evidence = Evidence(memory, modules, arch, facts)
        self.scans = 0
        # (MIPS, Power, SPARC have a link register, too, but not what it goes by)
        self.by_link_register: LinkRecovery | None = None
        if facts is not None and facts.frame_record is not None:
            self.by_link_register = LinkRecovery(memory, modules, arch, facts, self.evidence)

    def caller(self, registers: Registers, exact: bool, executable: bool) -> Caller:
        """The caller's registers and how they were found, or why the stack ends here.

        `exact`: the pc is where the thread stood, not a return address; `executable`: it lies
        in executable memory.
        """
        pc, sp, fp = registers[self.pc] or 0, registers[self.sp] or 0, registers[self.fp]
        if not exact and self._is_entry(pc):
            return END_OF_STACK
        found = self._above_stub(registers, pc, sp) if exact and executable else None
        if found is not None:
            return found, Trust.CALL_RECOVERY
        if self.by_link_register is not None:
            return self.by_link_register.caller(registers, exact, executable)
        if exact and not executable:
            return self._after_bad_jump(registers, pc, sp)
        if exact:
            found = self._unfinished(registers, pc, sp)
            if found is not None:
                return found, Trust.CALL_RECOVERY
        by_prologue = self._by_prologue(registers, pc, exact)
        if by_prologue is not None:
            return by_prologue, Trust.CALL_RECOVERY
        if self.arch.link:
            return self._scan(registers, pc, sp, exact)
        by_frame_pointer = self._by_frame_pointer(registers, sp, fp)
        if by_frame_pointer is not None and self._makes_frame(by_frame_pointer, pc):
            return by_frame_pointer, Trust.FRAME_POINTER
        by_walk = self._by_walk(registers, pc, sp, fp)
        if by_walk is not None:
            return by_walk, Trust.CALL_RECOVERY
        if by_frame_pointer is not None and self.x86:
            return by_frame_pointer, Trust.FRAME_POINTER
        if fp == 0 and not exact:
            # the ABI's mark of the outermost frame, unless code without frame pointers counts in it
            known = self.evidence.function(pc - 1) is not None
            found_call = self._scan(registers, pc, sp, exact, direct=True) if known else ""
            return END_OF_STACK if isinstance(found_call, str) else found_call
        return self._scan(registers, pc, sp, exact)

    def _by_frame_pointer(self, registers: Registers, sp: int, fp: int | None) -> Registers | None:
        if fp is None or not sp <= fp < sp + _MAX_FRAME or fp % self.word:
            return None
        target = self.evidence.return_address(fp + self.word)
        saved = self.evidence.word(fp)  # (no frame pointer if the caller does without)
        if target is None or saved is None:
            return None
        return self._with(registers, target, fp + 2 * self.word, saved)

    def _makes_frame(self, caller: Registers, pc: int) -> bool:
        """Whether the call before a return address entered a function that makes a frame with
        the frame pointer and holds `pc`: then the frame pointer is its own."""
        called = self.evidence.call_target(caller[self.pc] or 0)
        if called is None:  # the kernel called a signal handler: whatever holds the pc
            called = self.evidence.function(pc)
        if not called or not called <= pc < called + _MAX_FUNCTION or self.facts is None:
            return False
        start = self.evidence.function(pc)
        code = self.memory.read(called, 16)
        return start in (None, called) and code.startswith(self.facts.frame_makers)

    def _entered_maker(self, caller: Registers) -> bool:
        """Whether the call before a return address entered, by its address, a function that makes a
        frame with the frame pointer: then the frame at the frame pointer is that function's."""
        called = self.evidence.call_target(caller[self.pc] or 0)
        if not self.x86 or not called or self.facts is None:
            return False
        return self.memory.read(called, 16).startswith(self.facts.frame_makers)

    def _by_walk(self, registers: Registers, pc: int, sp: int, fp: int | None) -> Registers | None:
        """The caller by following the code to its return; None unless the best paths (those past
        the fewest calls, any of which may never return) agree."""
        best: Registers | None = None
        calls = 0
        for found in (
            self.walk.returns(self.memory.read, self.arch, pc, sp, fp) if self.walk else ()
        ):
            if best is not None and found.calls > calls:
                break
            above = found.registers.get(self.arch.sp)
            target = found.address
            if above is None or above <= sp:
                continue
            to_kernel = self.evidence.returns_to_kernel(above - self.word, target)
            if not to_kernel and not self.evidence.is_return_address(target):
                continue
            new = self._with(registers, target, above, fp)
            for name, value in found.registers.items():
                if name in self.saved and name != self.names[self.sp]:
                    new[self.numbers[name]] = value
            if best is not None and (best[self.pc], best[self.sp]) != (target, above):
                return None
            best, calls = new, found.calls
        return best

    def _by_prologue(self, registers: Registers, pc: int, exact: bool) -> Registers | None:
        """The caller by what the function's first instructions did, where calls leave their
        return address in a register."""
        if self.facts is None or not self.arch.link:
            return None
        known = start = self.evidence.function(pc if exact else pc - 1)
        if start is None:
            before = self.memory.read(pc - _MAX_BACK & -4, _MAX_BACK)
            at = self.facts.begins_before(before) if len(before) == _MAX_BACK else None
            start = None if at is None else pc - _MAX_BACK + at
        if start is None or not 0 <= pc - start < _MAX_FUNCTION:
            return None
        made = self.facts.entry_frame(self.memory.read(start, pc - start))
        cfa = stack_before(made, registers, self.arch, self.memory) if made is not None else None
        if made is None or cfa is None:
            return None
        new = list(registers)
        for name, distance in made.saved.items():
            new[self.numbers[name]] = self.evidence.word(cfa + distance)
        link = self.numbers[self.arch.link]
        target = new[link] if self.arch.link in made.saved or exact else None
        if target is None:
            return None
        target &= self.arch.code_mask
        if not self.evidence.is_return_address(target) and not self.evidence.is_trampoline(
            target, cfa
        ):
            return None
        if known is None and not made.size and self.evidence.call_target(target) != start:
            return None  # (there may be a frame that was made farther up)
        new[self.pc], new[self.sp], new[link] = target, cfa, None
        return new

    def _after_bad_jump(self, registers: Registers, pc: int, sp: int) -> Caller:
        """A call through a bad pointer left the return address on top of the stack, or in its
        register. A return or a jump to nowhere has left the frame pointer of a function, which
        is not told, as where in it that happened is not known: its caller is."""
        if self.arch.link:
            link = registers[self.numbers[self.arch.link]]
            target = None if link is None else link + self.arch.return_distance
            if target is None or not self.evidence.is_return_address(target & self.arch.code_mask):
                return f"pc {pc:#x} is not in executable memory, and no call led there"
            new = self._with(registers, target & self.arch.code_mask, sp, registers[self.fp])
            return new, Trust.CALL_RECOVERY
        target = self.evidence.return_address(sp)
        if target is None:
            above = self._by_frame_pointer(registers, sp, registers[self.fp])
            if above is not None and self._entered_maker(above):
                return above, Trust.FRAME_POINTER
            return f"pc {pc:#x} is not in executable memory, and no call led there"
        return self._with(
            registers, target, sp + self.word, registers[self.fp]
        ), Trust.CALL_RECOVERY

    def _above_stub(self, registers: Registers, pc: int, sp: int) -> Registers | None:
        """The caller of a stub of the procedure linkage table."""
        linkage = self.facts.linkage(self.memory.read, pc) if self.facts is not None else None
        if linkage is None:
            return None
        place, above = linkage
        if not self.arch.link:
            target = self.evidence.return_address(sp + (place or 0))
        else:
            link = self.numbers[self.arch.link]
            value = registers[link] if place is None else self.evidence.word(sp + place)
            target = (value or 0) & self.arch.code_mask
            if not self.evidence.is_return_address(target):
                return None
        if target is None:
            return None
        new = self._with(registers, target, sp + above, registers[self.fp])
        if self.arch.link:
            new[self.numbers[self.arch.link]] = None
        return new

    def _unfinished(self, registers: Registers, pc: int, sp: int) -> Registers | None:
        """A function that has not made its frame yet (or is a leaf without one)."""
        if self.facts is None:
            return None
        before = self.memory.read(pc - 8 & self.arch.mask, 8)
        rule = self.facts.prologue(before, self.memory.read(pc, 16))
        if rule is not None:
            distance, saved = rule
            target = self.evidence.return_address(sp + distance)
            if target is not None:
                fp = registers[self.fp] if saved is None else self.evidence.word(sp + saved)
                return self._with(registers, target, sp + distance + self.word, fp)
        start = self.evidence.function(pc)
        target = self.evidence.return_address(sp)
        if start is not None and target is not None and self.evidence.call_target(target) == start:
            return self._with(registers, target, sp + self.word, registers[self.fp])
        return None

    def _scan(
        self, registers: Registers, pc: int, sp: int, exact: bool, direct: bool = False
    ) -> Caller:
        """The last resort: the nearest return address on the stack whose call may have led here;
        `direct`: whose call names the function."""
        module = self.modules.find(pc)
        end = no_way(module, pc)
        self.scans += 1
        # (code made at run time: its compiler's frames are of any form)
        if self.scans > _MAX_SCANS or (module is None and not exact and self.x86):
            return end
        start = self.evidence.function(pc if exact else pc - 1)
        for address in range(sp, sp + _SCAN_WORDS * self.word, self.word):
            value = self.evidence.word(address)
            if value is None:
                break
            if not self.modules.executable(value - 1):
                continue
            if not self.memory.read(value - 1, 1):
                break  # it may be the one, but its code is not known: a later one would be a guess
            target = self.evidence.return_address(address)
            if target is None or not self._may_lead(target, pc, start):
                continue
            if not self.x86 and self.evidence.call_target(target) != start:
                break  # frames elsewhere have room for old ones: only a proven call is believed
            if direct and not self.evidence.call_target(target):
                continue
            return self._with(
                registers, target, address + self.word, registers[self.fp]
            ), Trust.SCAN
        return end

    def _may_lead(self, target: int, pc: int, start: int | None) -> bool:
        """Whether the call before `target` may have entered the function around `pc`."""
        called = self.evidence.call_target(target)
        if not called:  # (the kernel's calls of signal handlers, too)
            return True  # indirect: anywhere
        if start is not None:
            if called == start or self.modules.find(called) is not self.modules.find(pc):
                return True
            code = self.memory.read(called, _MAX_JUMPER) if self.facts is not None else b""
            return self.facts is not None and self.facts.may_jump(code, called, start)
        return called <= pc and self.modules.executable(called)

    def _is_entry(self, pc: int) -> bool:
        """Whether a return address lies in the code of a program's entry point."""
        module: Module | None = self.modules.find(pc)
        headers = module.headers if module is not None else None
        if module is None or headers is None or not headers.header.entry:
            return False
        entry: int = headers.header.entry
        return 0 < pc - module.bias - entry <= _MAX_ENTRY

    def _with(self, registers: Registers, pc: int, sp: int, fp: int | None) -> Registers:
        new = list(registers)
        new[self.pc], new[self.sp], new[self.fp] = pc, sp, fp
        return new
