"""Callers without call frame information where a call leaves its return address in a register.

What is known: the link register while a function has not stored it; how the function's first
instructions made its frame; the frame record at the frame pointer; on ARM the exception index. As
everywhere in recovery, a return address counts only behind a call instruction.
"""

from __future__ import annotations

from ...elf.arch import Arch
from ..core.modules import Module, ModuleTable
from ..dwarf import cfi
from ..dwarf.cfi import Row
from ..instructions.machine_code import CodeFacts, EntryFrame
from .entry_frames import stack_before
from .evidence import Evidence
from .frames import END_OF_STACK, Caller, Memory, Registers, Trust, no_way

_MAX_PROLOGUE = 128  # bytes of a function's code in which it makes its frame
_MAX_FUNCTION = 1 << 16  # bytes between a function's begin (as a call to it says) and a pc in it
# Bytes back from a pc in which its function's first instructions are looked for.
_SEARCH = (4096, 2048, 1024, 512, 256, 128)
_MAX_CANDIDATES = 8
_MAX_FRAME = 16 << 20  # bytes between a stack pointer and a frame pointer that is believed
_EARLY_CODE = 64  # bytes that a function may have before it makes its frame
_THREAD_PART = 16  # bytes
_THREAD_STARTS = frozenset((b"clone", b"__clone", b"clone3", b"__clone3"))


class LinkRecovery:
    """Finds callers for one stack, on machines whose frame records are known
    (`facts.frame_record`): AArch64, ARM, RISC-V."""

    def __init__(
        self,
        memory: Memory,
        modules: ModuleTable,
        arch: Arch,
        facts: CodeFacts,
        evidence: Evidence,
    ) -> None:
        self.memory = memory
        self.modules = modules
        self.arch = arch
        self.facts = facts
        self.evidence = evidence
        self.numbers = arch.numbers
        self.pc, self.sp, self.fp = arch.pc_slot, arch.numbers[arch.sp], arch.numbers[arch.fp]
        self.link = arch.numbers[arch.link]
        self._known: dict[int, list[tuple[int, EntryFrame]]] = {}

    def caller(self, registers: Registers, exact: bool, executable: bool) -> Caller:
        """The caller's registers and how they were found, or why the stack ends here."""
        pc = registers[self.pc] or 0
        if not executable:
            return self._by_link(registers, 0, None) or f"pc {pc:#x} is not in executable memory"
        at = pc if exact else pc - 1
        module = self.modules.find(at)
        if not exact and module is not None and self._starts_threads(module, at):
            return END_OF_STACK
        start = self._start(module, at)
        row = None
        if module is not None and module.frames is not None:
            row = module.frames.at_call(at - module.bias)
        if row is not None:
            found = self._by_row(registers, row)
            if found is not None:
                return found, Trust.CFI
        if exact:
            just_called = self._just_called(registers, at)
            if just_called is not None:
                return just_called
        found = self._by_prologue(registers, start, at, exact)
        if found is not None:
            return found, Trust.CALL_RECOVERY
        if exact:
            made = self._made(start, at)
            agreed = self._by_both(registers, made)
            if agreed is not None:
                return agreed, Trust.CALL_RECOVERY
            by_link = self._by_link(registers, start or 0, made)
            if by_link is not None:
                return by_link
        return self._by_record(registers, at) or no_way(module, pc)

    # --- where the function begins ---

    def _start(self, module: Module | None, at: int) -> int | None:
        """Where the function around a pc begins, by symbols, by the exception index, or by call
        frame information (which says no more: else this were not asked)."""
        start = self.evidence.function(at)
        if start is not None or module is None or module.frames is None:
            return start
        start = module.frames.start_by_index(at - module.bias)
        if start is None:
            start = module.frames.start_by_entry(at - module.bias)
        return None if start is None else start + module.bias

    def _starts_threads(self, module: Module, at: int) -> bool:
        """Whether this is the C library's code that a new thread begins in."""
        if module.elf is None:
            return False
        at -= module.bias
        # a new thread's part may lie behind the size that the symbol has
        names = (module.elf.symbols.find(place) for place in (at, at - _THREAD_PART))
        return any(named is not None and named[0] in _THREAD_STARTS for named in names)

    # --- the ways ---

    def _by_link(
        self, registers: Registers, start: int, made: EntryFrame | None
    ) -> tuple[Registers, Trust] | None:
        """The return address still in its register; not one that a call out of the function
        itself left there. `made`: what the function stored of the other registers."""
        value = registers[self.link]
        if value is None or not self.evidence.is_return_address(value & self.arch.code_mask):
            return None
        value &= self.arch.code_mask
        called = self.evidence.call_target(value)
        if start and self._start(self.modules.find(value - 1), value - 1) == start != called:
            return None
        if not start and called and self._led_elsewhere(called, registers[self.pc] or 0):
            return None
        if made is not None and self.arch.link not in made.saved:
            found = self._stored(registers, made, value)
            if found is not None:
                return found, Trust.CALL_RECOVERY
        new = list(registers)
        new[self.pc], new[self.link] = value, None
        return new, Trust.CALL_RECOVERY

    def _led_elsewhere(self, called: int, at: int) -> bool:
        """Whether a call to another place of the file than the function around a pc, whose begin
        is not known, may have been that function's own: then its return is over."""
        near = 0 <= at - called < _MAX_FUNCTION
        return self._same(called, at) and not near and not self._stub(called)

    def _by_both(self, registers: Registers, made: EntryFrame | None) -> Registers | None:
        """The caller of a function that has saved its return address, and has called none since:
        it is in its register yet. (What called it may have done so by a jump of a function that
        was called, so that call may lead elsewhere.)"""
        link = registers[self.link]
        if made is None or link is None or self.arch.link not in made.saved:
            return None
        found = self._stored(registers, made, None)
        same = found is not None and found[self.pc] == link & self.arch.code_mask
        return found if same else None

    def _stored(
        self, registers: Registers, made: EntryFrame, target: int | None
    ) -> Registers | None:
        """The caller of a function that made a frame; at `target` where it calls none."""
        above = stack_before(made, registers, self.arch, self.memory)
        if above is None:
            return None
        places = {self.numbers[name]: above + value for name, value in made.saved.items()}
        return self._restored(registers, above, places, target)

    def _by_row(self, registers: Registers, row: Row) -> Registers | None:
        """The caller by the exception index, if a return address is where it says."""
        base = registers[row.cfa_register]
        if base is None:
            return None
        above = base + row.cfa_offset & self.arch.mask
        saved = {
            number: above + value
            for number, (kind, value) in row.rules.items()
            if kind == cfi.OFFSET and isinstance(value, int)
        }
        return self._restored(registers, above, saved)

    def _just_called(self, registers: Registers, at: int) -> tuple[Registers, Trust] | None:
        """By the link register, if the call that set it entered the code before the pc and
        nothing has made a frame for it since."""
        called = self.evidence.call_target((registers[self.link] or 0) & self.arch.code_mask)
        if not called or not 0 <= at - called < _MAX_FUNCTION:
            return None
        made = self._made(called, at)
        if made is not None and self.arch.link in made.saved:
            return None
        if any(called < place for place, _ in self._makers(at)):
            return None
        return self._by_link(registers, called, made)

    def _by_prologue(
        self, registers: Registers, start: int | None, at: int, exact: bool
    ) -> Registers | None:
        """The caller by how the function around `at` made its frame. Where it is not known where
        that begins, the nearest code before it counts that makes one."""
        made = self._made(start, at)
        if made is not None:
            found = self._by_entry_frame(registers, made, start)
            if found is not None:
                return found
        if self.evidence.function(at) is not None:
            return None
        for place, made in self._makers(at):
            if start is not None and place < start:
                break  # what is before it is another function's
            found = self._by_entry_frame(registers, made, place)
            # (where the thread stood there may be a function without a frame)
            if found is not None and (
                not exact or self.evidence.call_target(found[self.pc] or 0) == place
            ):
                return found
        return None

    def _makers(self, at: int) -> list[tuple[int, EntryFrame]]:
        """The nearest places before a pc where frames are made, and how."""
        known = self._known.get(at)
        if known is not None:
            return known
        step = 4 if self.arch.code_mask & 1 else 2
        end = at & -step
        code = b""
        for size in _SEARCH:  # before the code there may be nothing
            code = self.memory.read(end - size, size)
            if len(code) == size:
                break
        found: list[tuple[int, EntryFrame]] = []
        for back in range(step, len(code), step):
            begin = len(code) - back
            if self.facts.begins_frame(code[begin : begin + 4]):
                made = self._made(end - back, end)
                if made is not None:
                    found.append((end - back, made))
                if len(found) == _MAX_CANDIDATES:
                    break
        self._known[at] = found
        return found

    def _made(self, start: int | None, at: int) -> EntryFrame | None:
        if start is None or not 0 < at - start < _MAX_FUNCTION:
            return None
        return self.facts.entry_frame(self.memory.read(start, min(at - start, _MAX_PROLOGUE)))

    def _by_entry_frame(
        self, registers: Registers, made: EntryFrame, start: int | None
    ) -> Registers | None:
        """The caller by what the function's first instructions did."""
        saved = {self.numbers[name]: distance for name, distance in made.saved.items()}
        if self.link not in saved:
            return None
        above = stack_before(made, registers, self.arch, self.memory)
        if above is None:
            return None
        places = {number: above + value for number, value in saved.items()}
        found = self._restored(registers, above, places)
        called = self.evidence.call_target(found[self.pc] or 0) if found is not None else None
        if called and start is not None and self._same(called, start) and not self._stub(called):
            # a call that led to another function of the same file
            return found if 0 <= start - called <= _EARLY_CODE else None
        return found

    def _same(self, one: int, other: int) -> bool:
        return self.modules.find(one) is self.modules.find(other)

    def _stub(self, address: int) -> bool:
        """Whether code lies in the procedure linkage table, which leads anywhere: also to
        functions of the same library that another one might replace."""
        module = self.modules.find(address)
        section = module.elf.section(b".plt") if module is not None and module.elf else None
        if module is None or section is None:
            return False
        return section.address <= address - module.bias < section.address + section.size

    def _by_record(self, registers: Registers, at: int) -> tuple[Registers, Trust] | None:
        """By the frame record: where the frame pointer points, a saved one and a return address.
        Only for a function that is seen to make one: else the record is a caller's."""
        record, fp, sp = self.facts.frame_record, registers[self.fp], registers[self.sp]
        if record is None or fp is None or sp is None or not sp <= fp < sp + _MAX_FRAME:
            return None
        saved = {self.fp: fp + record[0], self.link: fp + record[1]}
        above = fp + max(0, max(record) + self.arch.word)
        found = self._restored(registers, above, saved)
        called = self.evidence.call_target(found[self.pc] or 0) if found is not None else None
        made = self._made(called, at) if called else None
        if found is None or made is None or made.fp is None:
            return None
        return found, Trust.FRAME_POINTER

    def _restored(
        self, registers: Registers, above: int, saved: dict[int, int], target: int | None = None
    ) -> Registers | None:
        """The caller's registers: saved ones from memory, its stack pointer `above`. None without
        a return address (which is `target` where that is given)."""
        sp = registers[self.sp] or 0
        if above < sp:
            return None
        new = list(registers)
        for number, address in saved.items():
            new[number] = self.evidence.word(address & self.arch.mask)
        target = new[self.link] if target is None else target
        if target is None:
            return None
        # (not where it was given: the kernel's is in memory, as the handler calls others)
        target, given = target & self.arch.code_mask, self.link not in saved
        if not self.evidence.is_return_address(target) and (
            given or not self.evidence.is_trampoline(target, above)
        ):
            return None
        new[self.pc], new[self.sp], new[self.link] = target, above, None
        return new
