"""From an interpreter to the calls of its threads, as Thread#backtrace tells them (rb_ec_partial_
backtrace_object() in vm_backtrace.c).

ruby_current_vm_ptr → Ractors → threads → the execution context that each is in (of its Fiber) →
control frames, innermost first, down to the empty one that is at the bottom of every stack.
Each step is believed only if what it leads to points back, or is of the type that must be there.
"""

from __future__ import annotations

import time
from _struct import Struct

from ..interpreter_calls import MAX_MODULES, MOST, Found, Frame, Walked, is_place, word_at
from ..model.types import TYPE_CHECKING
from .layout import TABLES
from .objects import Objects

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..interpreter_calls import Read, Symbol
    from .objects import Sequence

MACHINE, VERSION, DESCRIPTION = b"ruby_current_vm_ptr", b"ruby_version", b"ruby_description"
COUNT = b"rb_sym_immortal_count"  # a function that gives the first word of the symbols' table
_COUNT_CODE = (b"", b"\xf3\x0f\x1e\xfa")  # (endbr64), mov eax, [rip + DISTANCE]; ret
_PLATFORMS = (b"[x86_64-linux-gnu]", b"[x86_64-linux]")
_WORD, _INT = Struct("<Q"), Struct("<i")
_MAX_DESCRIPTION = 128
_MAX_RACTORS = 100
_MAX_THREADS = 4000
_MAX_STACK = 1 << 24  # bytes of a thread's control frames and values
_BEHIND_STACK = 2048
_BLOCK = 64  # control frames that are read at once


def is_ruby(path: bytes) -> bool:
    """Whether a module's name is that of an interpreter."""
    return path.rpartition(b"/")[2].startswith((b"libruby", b"ruby"))


def known(path: bytes, address: int, version: tuple[int, int, int], symbols: int) -> Found:
    """An interpreter whose rb_vm_t lies at an address, and its table of symbols (0: nobody
    knows)."""
    return Found(path, address, version, symbols, TABLES.get(version))


def find(read: Read, modules: Iterable[tuple[bytes, int]], symbol: Symbol) -> Found | None:
    """The interpreter among `modules` (path, start address), None if there is none that runs."""
    named = [module for module in modules if is_ruby(module[0])]
    for path, start in sorted(named, key=lambda one: b"libruby" not in one[0])[:MAX_MODULES]:
        place, text = symbol(start, MACHINE), symbol(start, VERSION)
        if not place or not text:
            continue
        version = read(text, 16).partition(b"\0")[0]
        described = read(symbol(start, DESCRIPTION), _MAX_DESCRIPTION).partition(b"\0")[0]
        numbers = version.split(b".")
        if len(numbers) != 3 or not all(one.isdigit() and len(one) < 4 for one in numbers):
            continue
        own = described.startswith(b"ruby %sp" % version) and described.endswith(_PLATFORMS)
        machine = word_at(read, place)
        if own and machine:
            major, minor, patch = (int(one) for one in numbers)
            symbols = _table_of_symbols(read, symbol(start, COUNT))
            found = known(path, machine, (major, minor, patch), symbols)
            if found.layout is None or _is_machine(read, found.layout, machine):
                return found
    return None


def _is_machine(read: Read, layout: dict[str, int], machine: int) -> bool:
    """Whether an rb_vm_t lies at an address: its first Ractor points back to it. (When Ruby writes
    its crash report it maps its files once more, to read them: what is in such a copy is of no
    running interpreter.)"""
    head = machine + layout["vm_ractors"]
    node = word_at(read, head) if is_place(machine) else 0
    return is_place(node) and word_at(read, node + 8) == head


def _table_of_symbols(read: Read, function: int) -> int:
    """The address that a function takes its number from; 0 if it does not just that."""
    code = read(function, 16) if function else b""
    for before in _COUNT_CODE:
        start = len(before)
        if code.startswith(before + b"\x8b\x05") and code[start + 6 : start + 7] == b"\xc3":
            distance: int = _INT.unpack_from(code, start + 2)[0]
            return function + start + 6 + distance
    return 0


def walk(
    read: Read, found: Found, most: int = MOST, seconds: float = 0.0, first: int = 0
) -> dict[int, Walked]:
    """The calls of each thread by its thread pointer (pthread_self()), that of the thread `first`
    before all others; of each at most so many, and what can be read in so many seconds (0: no
    bound). Threads whose structures are not as they should be are left out."""
    if found.layout is None or not is_place(found.address):
        return {}
    return _Walk(read, found, most, seconds).run(first)


class _Walk:
    def __init__(self, read: Read, found: Found, most: int, seconds: float) -> None:
        assert found.layout is not None
        self._read = read
        self._at = found.layout
        self._machine = found.address
        self._most = most
        self._until = time.monotonic() + seconds if seconds else 0.0
        self._objects = Objects(read, found.layout, found.mark)

    def run(self, first: int) -> dict[int, Walked]:
        contexts = {thread: (context, holds) for thread, context, holds in self._threads()}
        walked: dict[int, Walked] = {}
        for thread in sorted(contexts, key=lambda one: one != first):
            if self._late():
                break
            context, holds = contexts[thread]
            calls = self._calls(context)
            if calls is not None:
                calls.holds_lock = holds
                walked[thread] = calls
        return walked

    def _late(self) -> bool:
        return bool(self._until) and time.monotonic() > self._until

    def _threads(self) -> Iterator[tuple[int, bytes, bool]]:
        """Thread pointer and execution context of each thread, and whether it has the GVL (each
        Ractor has its own)."""
        at = self._at
        left = _MAX_THREADS
        for node in self._listed(self._machine + at["vm_ractors"], _MAX_RACTORS):
            ractor = node - at["ractor_node"]
            owner = word_at(self._read, ractor + at["ractor_lock"])
            for place in self._listed(ractor + at["ractor_threads"], left):
                left -= 1
                thread = place - at["thread_node"]
                context = self._context(thread, ractor)
                if context is not None:
                    yield *context, thread == owner

    def _listed(self, head: int, most: int) -> Iterator[int]:
        """The nodes of a list (ccan/list), as long as each points back to the one before it."""
        node, before = word_at(self._read, head) if is_place(head) else 0, head
        while node != head and most > 0 and is_place(node) and not self._late():
            data = self._read(node, 16)
            if len(data) < 16 or _WORD.unpack_from(data, 8)[0] != before:
                return
            yield node
            node, before, most = _WORD.unpack_from(data)[0], node, most - 1

    def _context(self, thread: int, ractor: int) -> tuple[int, bytes] | None:
        at = self._at
        data = self._read(thread, at["thread_size"]) if is_place(thread) else b""
        if len(data) < at["thread_size"]:
            return None
        own = {"thread_vm": self._machine, "thread_ractor": ractor}
        if any(_WORD.unpack_from(data, at[name])[0] != value for name, value in own.items()):
            return None
        place = _WORD.unpack_from(data, at["thread_ec"])[0]
        context = self._read(place, at["ec_size"]) if is_place(place) else b""
        if len(context) < at["ec_size"] or _WORD.unpack_from(context, at["ec_thread"])[0] != thread:
            return None
        return _WORD.unpack_from(data, at["thread_id"])[0], context

    def _calls(self, context: bytes) -> Walked | None:
        """The calls of a thread by its execution context; None if that cannot be one."""
        at = self._at
        stack, size, frame = (
            _WORD.unpack_from(context, at[name])[0]
            for name in ("ec_stack", "ec_stack_size", "ec_frame")
        )
        end = stack + size * 8
        count, rest = divmod(end - frame, at["frame_size"])
        whole = is_place(stack) and 0 < size * 8 <= _MAX_STACK and is_place(frame)
        if not whole or rest or count < 1 or frame < stack:
            return None
        # (such a stack lies in the native one of its thread, as a local variable of one of the
        # first functions: what is above it is theirs, and too far away for capture to keep it)
        self._read(end, _BEHIND_STACK)
        walked = Walked()
        for number, data in enumerate(self._frames(frame, count)):
            if number == count - 1:
                if not self._is_bottom(data):
                    walked.end = "the bottom of its stack is damaged"
                return walked
            late = number % 64 == 63 and self._late()
            # (those that are no calls are few, if nothing is amiss)
            if len(walked.frames) >= self._most or number > 4 * self._most or late:
                walked.end = f"only {len(walked.frames):,} frames were read"
                return walked
            if not self._add(walked, data, innermost=not number):
                walked.end = "a frame is damaged"
                return walked
        walked.end = "its frames are not in memory"
        return walked

    def _frames(self, address: int, count: int) -> Iterator[bytes]:
        size = self._at["frame_size"]
        for start in range(0, count, _BLOCK):
            wanted = min(_BLOCK, count - start) * size
            data = self._read(address + start * size, wanted)
            for at in range(0, len(data) - size + 1, size):
                yield data[at : at + size]
            if len(data) < wanted:
                return

    def _is_bottom(self, frame: bytes) -> bool:
        """Whether it is the frame that every stack begins with (th_init() in vm.c)."""
        at = self._at
        flags = self._flags(frame)
        return flags & at["magic_mask"] == at["magic_dummy"] and bool(flags & at["flag_finish"])

    def _flags(self, frame: bytes) -> int:
        """What the environment of a frame says about it."""
        place = _WORD.unpack_from(frame, self._at["frame_ep"])[0]
        return word_at(self._read, place) if is_place(place) else 0

    def _add(self, walked: Walked, frame: bytes, *, innermost: bool) -> bool:
        """Adds a frame that is a call; whether it is as it should be."""
        at = self._at
        flags = self._flags(frame)
        code = _WORD.unpack_from(frame, at["frame_pc"])[0]
        place = _WORD.unpack_from(frame, at["frame_iseq"])[0]
        if not flags:
            return False
        if not place:
            if flags & at["magic_mask"] == at["magic_cfunc"]:
                environment = _WORD.unpack_from(frame, at["frame_ep"])[0]
                entry = word_at(self._read, environment - at["env_method"])
                name = self._objects.method_name(entry)
                walked.frames.append(Frame(name, (b"", 0), entry=False))
            return True
        if not code:
            return True  # a block in C
        sequence = self._objects.sequence(place)
        if sequence is None:
            return False
        index, rest = divmod(code - sequence.code, 8)
        if rest or not 0 <= index <= sequence.size:
            return False
        line = self._objects.line(sequence, max(index - 1, 0))
        if innermost and (sequence.compiled or not self._is_sure(sequence, index, line)):
            line = 0
        entry = bool(flags & at["flag_finish"]) and not flags & at["flag_cframe"]
        walked.frames.append(Frame(sequence.label, (sequence.path, line), entry))
        if entry:
            walked.runs.append(len(walked.frames))
        return True

    def _is_sure(self, sequence: Sequence, index: int, line: int) -> bool:
        """Whether the innermost frame stands in a line: an instruction that calls nothing moves
        the pc when it is done, all others when they begin. (Machine code moves it only where it
        calls something.)"""
        return index >= sequence.size or self._objects.line(sequence, index) == line
