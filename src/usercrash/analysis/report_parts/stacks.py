"""From the unwinder's frames to the report's: names, inlined functions, tail calls, folds."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ... import report
from ..core.jit_modules import PATH as JIT
from ..core.modules import Module, ModuleTable
from ..facts.texts import Texts, json_cost, safe
from ..symbols.perf_map import PerfMap
from ..symbols.symbolizer import UNKNOWN, Location, Symbolizer
from ..symbols.tail_calls import NOTHING, Skipped, TailCalls
from ..unwinding.recursion import Recursion, recursion_of
from ..unwinding.unwind import RawFrame, Stack, Trust
from .cycles import Cycle, find_cycles, kept_frames, through_the_middle

_FRAME_COST = 420  # bytes of JSON and text beside the names


@dataclass(slots=True)
class Named:
    """A stack for the report. `indexes` are the report indexes of the kept raw frames
    (`raw`), whose real function (not those inlined in it) is meant; `index_of` gives it for any
    frame by its number. `recursion` is one that no fold has the most of, as its calls come in
    changing order."""

    frames: list[report.Frame] = field(default_factory=list)
    total: int = 0
    folds: list[report.Fold] = field(default_factory=list)
    raw: list[RawFrame] = field(default_factory=list)
    indexes: list[int] = field(default_factory=list)
    recursion: Recursion | None = None
    index_of: Callable[[int], int] = lambda number: number


class StackNamer:
    """Names the frames of all threads of one crash; each address once."""

    def __init__(
        self,
        modules: ModuleTable,
        symbolizer: Symbolizer,
        texts: Texts,
        budget: int,
        tail_calls: TailCalls | None = None,
        perf_map: Callable[[], PerfMap] = PerfMap,
    ) -> None:
        """`budget`: bytes of JSON and text that all frames together may take. `perf_map` is asked
        for once, if there is code outside of all modules."""
        self._read_perf_map = perf_map
        self._perf_map: PerfMap | None = None
        self._tail_calls = tail_calls
        self._modules = modules
        self._symbolizer = symbolizer
        self._texts = texts
        self._paths: dict[int, tuple[str, str | None]] = {}
        self._found: dict[tuple[int, int], tuple[Module | None, list[Location]]] = {}
        self.budget = budget
        self.cut = 0  # frames that the budget left out

    def name(self, stack: Stack, first: int, last: int) -> Named:
        """The innermost `first` and the outermost `last` frames of the stack. Of a long cycle
        only the beginning counts: what called the recursion tells more than its hundredth round."""
        pcs = [frame.pc for frame in stack.frames]
        cycles = through_the_middle(find_cycles(pcs), pcs, stack)
        kept = kept_frames(stack, cycles, first, last)
        named = {at: self.locate(frame) for at, frame in kept}
        skipped = {at: self._skipped(stack, at, frame) for at, frame in kept}
        behind = {at: self._tail_frames(one) for at, one in skipped.items()}
        jumped = {
            (frame.pc, callers[0].pc): sum(len(self.locate(one)[1]) for one in behind[at])
            for at, frame in kept
            if behind[at] and (callers := _callers(stack, at))
        }
        counts = {frame.pc: len(named[at][1]) for at, frame in kept}
        places = _Indexes(stack, pcs, counts, jumped)
        result = Named(total=places.total, index_of=places.real)
        for at, frame in kept:
            index = places.of(at)
            gap = skipped[at].inner if skipped[at].unknown else -1
            if not self._add(result, frame, *named[at], index, gap == 0):
                self.cut += 1
                continue
            index += len(named[at][1])
            for number, one in enumerate(behind[at], 1):
                if not self._add(result, one, *self.locate(one), index, gap == number):
                    break
                index += len(self.locate(one)[1])
        result.folds = _folds(stack, cycles, [at for at, _ in kept], places, jumped)
        if not any(2 * one.length * one.times >= stack.total for one in cycles):
            result.recursion = recursion_of(stack, self._function)
        return result

    def _function(self, frame: RawFrame) -> str | None:
        """The function that a frame is of, not those inlined in it."""
        return self.locate(frame)[1][-1].function

    def _skipped(self, stack: Stack, at: int, frame: RawFrame) -> Skipped:
        """What tail calls took off the stack between a frame and its caller."""
        callers = _callers(stack, at)
        if self._tail_calls is None or not callers:
            return NOTHING
        caller = callers[0]
        if frame.signal_frame or caller.signal_frame or caller.exact:
            return NOTHING
        return self._tail_calls.between(frame.lookup_pc, caller.pc)

    def _tail_frames(self, skipped: Skipped) -> list[RawFrame]:
        return [RawFrame(pc, pc - 1, 0, 0, Trust.TAIL_CALL, False, ()) for pc in skipped.pcs]

    def locate(self, frame: RawFrame) -> tuple[Module | None, list[Location]]:
        """The module of a frame and its functions, innermost first."""
        key = (frame.pc, frame.lookup_pc)
        found = self._found.get(key)
        if found is None:
            module = self._modules.find(frame.lookup_pc)
            if module is None:
                locations = self._made_at_run_time(frame)
            else:
                locations = self._symbolizer.symbolize(module, frame.lookup_pc, frame.pc)
                if module.path == JIT and locations[-1] == UNKNOWN:
                    locations = self._made_at_run_time(frame)
            found = self._found[key] = (module, locations)
        return found

    def _made_at_run_time(self, frame: RawFrame) -> list[Location]:
        """The function at a pc outside of all files, where its compiler has left a name."""
        if self._perf_map is None:
            self._perf_map = self._read_perf_map()
        named = self._perf_map.find(frame.lookup_pc)
        if named is None or not self._modules.executable(frame.lookup_pc):
            return [UNKNOWN]
        return [Location(named[0], None, frame.pc - named[1], None, None)]

    def _add(
        self, result: Named, frame: RawFrame, module: Module | None, locations: list[Location],
        index: int, unknown: bool = False,
    ) -> bool:  # fmt: skip
        """Adds the functions of a frame; False where the budget is used up."""
        path, build_id = self._module(module)
        rows = []
        cost = 0
        for number, location in enumerate(locations):
            row = self._frame(
                frame, module, path, build_id, location, index + number,
                unknown and number == len(locations) - 1,
            )  # fmt: skip
            cost += _FRAME_COST + json_cost(path) + json_cost(row.function or "")
            cost += json_cost(row.linkage_name or "")
            cost += json_cost(row.source.file) if row.source else 0
            rows.append(row)
        if cost > self.budget:
            return False
        self.budget -= cost
        result.frames += rows
        if frame.trust != Trust.TAIL_CALL:
            result.raw.append(frame)
            result.indexes.append(index + len(rows) - 1)
        return True

    def _frame(
        self, frame: RawFrame, module: Module | None, path: str, build_id: str | None,
        location: Location, index: int, unknown: bool,
    ) -> report.Frame:  # fmt: skip
        source = None
        if location.file and location.line and 0 < location.line < 1 << 32:
            column = location.column if 0 < (location.column or 0) < 1 << 32 else None
            file = safe(location.file, 1024)
            source = report.Source(file=file, line=location.line, column=column)
        return report.Frame(
            index=index,
            pc=f"{frame.pc:#x}",
            function=safe(location.function) if location.function else None,
            linkage_name=safe(location.linkage_name) if location.linkage_name else None,
            offset=location.offset,
            module=path or None,
            module_offset=f"{_offset(module, frame.pc):#x}" if module else None,
            build_id=build_id,
            source=source,
            inline=location.inline,
            trust=str(frame.trust),
            signal_frame=frame.signal_frame,
            sp=f"{frame.sp:#x}" if frame.trust != Trust.TAIL_CALL else None,
            by_tail_call=unknown,
        )

    def _module(self, module: Module | None) -> tuple[str, str | None]:
        if module is None:
            return "", None
        key = id(module)
        if key not in self._paths:
            # The module list has the exact bytes; a frame only repeats the text.
            self._paths[key] = (
                module.name[:1024],
                module.build_id.hex() if module.build_id else None,
            )
        return self._paths[key]

    def function_at(self, address: int) -> str:
        """The name of the function that begins at an address, by its module's symbols; "" where
        that is not known."""
        module = self._modules.find(address)
        if module is None or not self._modules.executable(address):
            return ""
        location = self._symbolizer.symbolize(module, address, address)[-1]
        return safe(location.function or "", 400) if location.offset == 0 else ""

    def code_name(self, address: int) -> str:
        """`function+0x1c (libc.so.6)` for a code address in a module whose symbols are already
        loaded, else `libc.so.6+0x1234`; empty outside of modules."""
        module = self._modules.find(address)
        if module is None:
            return ""
        base = safe(module.path.rpartition(b"/")[2].decode("utf-8", "backslashreplace"), 80)
        if self._symbolizer.source_of(module):
            location = self._symbolizer.symbolize(module, address, address)[-1]
            if location.offset != 0:  # no function's entry: a return address, rather
                location = self._symbolizer.symbolize(module, address - 1, address)[-1]
            if location.function:
                offset = f"+{location.offset:#x}" if location.offset else ""
                return f"{safe(location.function, 200)}{offset} ({base})"
        return f"{base}+{_offset(module, address):#x}"


def _offset(module: Module, address: int) -> int:
    """An address as its file has it; in code made at run time, from where that begins."""
    return address - (module.start if module.path == JIT else module.bias)


def _folds(
    stack: Stack,
    cycles: Sequence[Cycle],
    kept: Sequence[int],
    places: _Indexes,
    jumped: dict[tuple[int, int], int],
) -> list[report.Fold]:
    """The cycles of which some frames are shown (`kept` are the numbers of all that are)."""
    found = []
    for cycle in cycles:
        first = bisect_left(kept, cycle.start)
        if first == len(kept) or kept[first] >= cycle.start + cycle.length:
            continue
        begin = places.of(cycle.start)
        length = places.of(cycle.start + cycle.length) - begin
        times = cycle.times
        if jumped and _ends_otherwise(stack, cycle, jumped):
            times -= 1
        found.append(report.Fold(start=begin, length=length, times=times))
    return found


def _ends_otherwise(stack: Stack, cycle: Cycle, jumped: dict[tuple[int, int], int]) -> bool:
    """Whether other tail calls led into the last round of a cycle than into those before."""
    inner = stack.frames[cycle.start + cycle.length - 1].pc, stack.frames[cycle.start].pc
    outer = _callers(stack, cycle.start + cycle.length * cycle.times - 1)
    return inner in jumped or (bool(outer) and (inner[0], outer[0].pc) in jumped)


def _callers(stack: Stack, at: int) -> list[RawFrame]:
    """The frame behind the one with this number, if it was kept."""
    if at + 1 < len(stack.frames):
        return stack.frames[at + 1 : at + 2]
    first = stack.total - len(stack.tail)
    return stack.tail[at + 1 - first : at + 2 - first] if stack.tail and at + 1 >= first else []


class _Indexes:
    """Raw frame numbers to report indexes, where inlined functions count, too. Frames whose
    functions were not looked up count as one."""

    def __init__(
        self,
        stack: Stack,
        pcs: Sequence[int],
        counts: dict[int, int],
        jumped: dict[tuple[int, int], int],
    ) -> None:
        """`counts`: functions of a frame by its pc; `jumped`: those that tail calls took off the
        stack between two pcs."""
        self._total = stack.total
        self._stack = stack
        self._counts = counts
        self._extra = [0]
        extra = 0
        if jumped or any(count > 1 for count in counts.values()):
            for pair in zip(pcs, [*pcs[1:], 0], strict=True):
                extra += counts.get(pair[0], 1) - 1 + jumped.get(pair, 0)
                self._extra.append(extra)
        self._tail: list[int] = []
        for frame in stack.tail:
            self._tail.append(extra)
            extra += counts.get(frame.pc, 1) - 1
        self.total = stack.total + extra
        self._last = extra

    def real(self, raw: int) -> int:
        """The report index of the raw frame's real function, not of those inlined in it."""
        return self.of(raw) + self._counts.get(self._pc_of(raw), 1) - 1

    def of(self, raw: int) -> int:
        """The report index of the raw frame's innermost function."""
        tail_at = raw - (self._total - len(self._tail))
        if 0 <= tail_at < len(self._tail):
            return raw + self._tail[tail_at]
        if raw >= self._total:
            return raw + self._last
        return raw + self._extra[min(raw, len(self._extra) - 1)]

    def _pc_of(self, raw: int) -> int:
        stack = self._stack
        if raw < len(stack.frames):
            return stack.frames[raw].pc
        tail_at = raw - (stack.total - len(stack.tail))
        return stack.tail[tail_at].pc if 0 <= tail_at < len(stack.tail) else 0
