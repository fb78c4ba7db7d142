"""Calls that left no frame: a function's last call may be a jump, which takes its frame's place.

What is known: the function that the caller called (from the call instruction, else from the
debug information) and the one that stands on the stack. Where these differ, the tail calls that
compilers note (DWARF 5 section 3.4) may say which way led from one to the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...elf.arch import Arch
from ..core.modules import ModuleTable
from ..dwarf.functions import CallSite
from ..instructions.machine_code import code_facts
from .symbolizer import Symbolizer

_MAX_DEPTH = 16  # tail calls behind each other
_MAX_FUNCTIONS = 64  # looked at for one chain
_CALL = 8  # bytes before a return address that hold its call


@dataclass(frozen=True, slots=True)
class Skipped:
    """Between two frames: `pcs` are behind the jumps of the functions that are no more on the
    stack, innermost first. `unknown`: there were some, and it cannot be told which."""

    pcs: tuple[int, ...] = ()
    unknown: bool = False


NOTHING = Skipped()


class TailCalls:
    """Finds what was skipped; each pair of addresses is looked at once."""

    def __init__(
        self,
        modules: ModuleTable,
        symbols: Symbolizer,
        read: Callable[[int, int], bytes],
        arch: Arch,
    ) -> None:
        """`read` gives the process's memory, code included."""
        self._modules = modules
        self._symbols = symbols
        self._read = read
        self._facts = code_facts(arch)
        self._known: dict[tuple[int, int], Skipped] = {}

    def between(self, callee: int, caller: int) -> Skipped:
        """What lies between a frame whose lookup address is `callee` and the one that its return
        address, `caller`, is in."""
        key = (callee, caller)
        if key not in self._known:
            self._known[key] = self._between(callee, caller)
        return self._known[key]

    def _between(self, callee: int, caller: int) -> Skipped:
        called = self._called(caller)
        if called is None or self._holds(called, callee):
            return NOTHING
        chains: list[tuple[int, ...]] = []
        sure = self._search(called, callee, (), {called}, chains)
        if sure and len(chains) == 1:
            return Skipped(chains[0])
        return Skipped(unknown=bool(chains) or self._is_function(called, callee))

    def _called(self, caller: int) -> int | None:
        """The first address of the function that the call before `caller` entered."""
        if self._facts is None:
            return None
        target = self._facts.call_target(self._read(caller - _CALL, _CALL), caller)
        return target or None

    def _search(
        self,
        function: int,
        wanted: int,
        way: tuple[int, ...],
        seen: set[int],
        chains: list[tuple[int, ...]],
    ) -> bool:
        """Collects the ways from a function to the one around `wanted`; False where there may be
        more than can be seen."""
        module = self._modules.find(function)
        if module is None or len(way) >= _MAX_DEPTH or len(seen) > _MAX_FUNCTIONS:
            return False
        sure = True
        for site in self._symbols.call_sites(module, function):
            if not site.tail:
                continue
            target = self._target(site)
            if target is None or site.return_pc is None:
                sure = False
                continue
            longer = (site.return_pc, *way)
            if self._holds(target, wanted):
                chains.append(longer)
            elif target not in seen:
                seen.add(target)
                sure &= self._search(target, wanted, longer, seen, chains)
        return sure

    def _target(self, site: CallSite) -> int | None:
        if site.target is not None:
            return site.target
        if site.return_pc is None or self._facts is None:
            return None
        return self._facts.jump_target(self._read(site.return_pc - _CALL, _CALL), site.return_pc)

    # --- functions ---

    def _start(self, address: int) -> tuple[int, str] | None:
        """Where the function around an address begins, and its symbol."""
        module = self._modules.find(address)
        if module is None:
            return None
        found = self._symbols.symbolize(module, address)[-1]
        if found.offset is None:
            return None
        return address - found.offset, found.linkage_name or found.function or ""

    def _holds(self, function: int, address: int) -> bool:
        """Whether an address is in the function that begins at another; also in a part that the
        compiler has laid elsewhere."""
        start = self._start(address)
        if start is None:
            return True  # nothing is known of it: then nothing is claimed
        if start[0] == function:
            return True
        whole, dot, _ = start[1].partition(".")
        outer = self._start(function)
        return bool(dot) and outer is not None and outer[1].partition(".")[0] == whole

    def _is_function(self, called: int, callee: int) -> bool:
        """Whether symbols show that what was called is another function of the same module (and
        not a stub that leads to it)."""
        module = self._modules.find(called)
        if module is None or module is not self._modules.find(callee):
            return False
        start = self._start(called)
        return start is not None and start[0] == called
