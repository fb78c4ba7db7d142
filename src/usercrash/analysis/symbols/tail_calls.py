"""Calls that left no frame: a function's last call may be a jump, which takes its frame's place.

What is known: the function that the caller called (from the call instruction, else from the
debug information) and the one that stands on the stack. Where these differ, the tail calls that
compilers note (DWARF 5 section 3.4) may say which way led from one to the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...elf.headers import EM_386, EM_X86_64
from ..dwarf.functions import CallSite
from ..instructions.machine_code import code_facts
from .bindings import Bindings

_MAX_DEPTH = 16  # tail calls behind each other
_MAX_FUNCTIONS = 64  # looked at for one chain
_CALL = 8  # bytes before a return address that hold its call


@dataclass(frozen=True, slots=True)
class Skipped:
    """Between two frames: `pcs` are behind the jumps of the functions that are no more on the
    stack, innermost first. `unknown`: there may have been others, of which it cannot be told which,
    behind the first `inner` of these."""

    pcs: tuple[int, ...] = ()
    unknown: bool = False
    inner: int = 0


NOTHING = Skipped()


_WANTED = -1  # stands for the function that the jumps must have led to
_Jump = tuple[int | None, int | None]  # behind it; where it leads: None for what is not known


class _Ways:
    """The jumps of every function that may have been between two frames."""

    def __init__(self, called: int) -> None:
        self.called = called
        self.jumps: dict[int, list[_Jump]] = {}

    @property
    def lead_there(self) -> bool:
        """Whether jumps are known that end in the wanted function."""
        return any(target == _WANTED for jumps in self.jumps.values() for _, target in jumps)

    def certain(self) -> Skipped:
        """The jumps that are on every way there, from both ends."""
        useful = self._useful()
        outer: list[int] = []
        function = self.called
        while function != _WANTED:
            jumps = useful.get(function, [])
            pc, target = jumps[0] if len(jumps) == 1 else (None, None)
            if pc is None or target is None or len(outer) > _MAX_DEPTH:
                break
            outer.append(pc)
            function = target
        if function == _WANTED:
            return Skipped(tuple(reversed(outer)))
        inner = self._inner(useful, function)
        return Skipped((*inner, *reversed(outer)), True, len(inner))

    def _useful(self) -> dict[int, list[_Jump]]:
        """Of each function the jumps behind which the wanted one may come."""
        may = {None, _WANTED}
        found: dict[int, list[_Jump]] = {}
        for _ in range(len(self.jumps) + 1):
            found = {
                function: [jump for jump in jumps if jump[1] in may]
                for function, jumps in self.jumps.items()
            }
            more = {function for function, jumps in found.items() if jumps} - may
            if not more:
                break
            may |= more
        return found

    @staticmethod
    def _inner(useful: dict[int, list[_Jump]], last: int) -> list[int]:
        """The jumps next to the wanted function, innermost first, as far as there is one only;
        not those of `last`, at which there are several."""
        found: list[int] = []
        if any(target is None for jumps in useful.values() for _, target in jumps):
            return found
        function = _WANTED
        while len(found) < _MAX_DEPTH:
            into = [
                (pc, home) for home, jumps in useful.items() for pc, target in jumps
                if target == function
            ]  # fmt: skip
            if len(into) != 1 or into[0][0] is None or into[0][1] == last:
                break
            found.append(into[0][0])
            function = into[0][1]
        return found


class TailCalls:
    """Finds what was skipped; each pair of addresses is looked at once."""

    def __init__(self, bindings: Bindings) -> None:
        """Of the process of these bindings, whose `read` must give its code, too."""
        machine = bindings.arch.machine
        self._modules = bindings.modules
        self._symbols = bindings.symbols
        self._read = bindings.read
        self._facts = code_facts(bindings.arch)
        self._bindings = bindings
        self._direct = machine in (EM_386, EM_X86_64)  # calls lead to functions or known stubs
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
        if called is not None:
            called = self._behind_stubs(called, callee)
        if called is None or called == _WANTED:
            return NOTHING
        ways = self._ways(called, callee)
        if not ways.lead_there:
            return Skipped(unknown=self._is_function(called, callee))
        return ways.certain()

    def _called(self, caller: int) -> int | None:
        """The first address of the function that the call before `caller` entered."""
        if self._facts is None:
            return None
        target = self._facts.call_target(self._read(caller - _CALL, _CALL), caller)
        return self._bindings.called(caller) if target == 0 else target

    def _behind_stubs(self, target: int, wanted: int) -> int | None:
        """The function that a call of `target` enters: _WANTED for the one around an address, None
        where a stub leads is not known."""
        if self._holds(target, wanted):
            return _WANTED
        function = self._bindings.function(target)
        if function not in (None, target) and self._holds(function or 0, wanted):
            return _WANTED
        return function

    def _ways(self, called: int, wanted: int) -> _Ways:
        """All jumps that may lead from a function to the one around `wanted`."""
        ways = _Ways(called)
        todo = [(called, 0)]
        while todo:
            function, depth = todo.pop(0)
            module = self._modules.find(function)
            if module is None or depth >= _MAX_DEPTH or len(ways.jumps) > _MAX_FUNCTIONS:
                ways.jumps[function] = [(None, None)]
                continue
            jumps = ways.jumps[function] = []
            for site in self._symbols.call_sites(module, function):
                if not site.tail:
                    continue
                target = self._target(site)
                if target is not None:
                    target = self._behind_stubs(target, wanted)
                if target not in (None, _WANTED) and target not in ways.jumps:
                    ways.jumps[target] = []  # (until its turn comes)
                    todo.append((target, depth + 1))
                jumps.append((site.return_pc, target))
        return ways

    def _target(self, site: CallSite) -> int | None:
        if site.target is not None:
            return site.target
        if site.return_pc is None or self._facts is None:
            return None
        bound = self._bindings.jumped(site.return_pc)
        if bound is not None:
            return bound
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
        """Whether symbols show that what was called is another function."""
        module = self._modules.find(called)
        if module is None or (start := self._start(called)) is None or start[0] != called:
            return False
        if module is self._modules.find(callee):
            return True
        # (Elsewhere linkers have veneers with symbols of their own. The dynamic linker's entrance
        # stands where it looks for the function, or watches it for somebody else.)
        inner = self._start(callee)
        return self._direct and inner is not None and not inner[1].startswith("_dl_")
