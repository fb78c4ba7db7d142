"""Where a call goes that the dynamic linker has bound: through a stub of the procedure linkage
table, or through a word of the global offset table itself."""

from __future__ import annotations

from collections.abc import Callable

from ...elf.arch import Arch
from ..core.modules import Module, ModuleTable
from .symbolizer import Symbolizer

_MAX_STUBS = 4  # behind each other
_CALL = 8  # bytes before an address that hold a call or jump
_VDSO = b"[vdso]"  # its functions are asked for by other means


class Bindings:
    """The functions that the modules of one process get from each other."""

    def __init__(
        self,
        modules: ModuleTable,
        symbols: Symbolizer,
        read: Callable[[int, int], bytes],
        arch: Arch,
    ) -> None:
        """`read` gives the process's memory; of what was writable only what was captured."""
        self.modules = modules
        self.symbols = symbols
        self.read = read
        self.arch = arch
        self._named: dict[bytes, int | None] = {}

    def function(self, target: int) -> int | None:
        """The function that a jump to an address enters: where a stub leads that begins there,
        else the address itself. None where a stub leads is not surely known."""
        for _ in range(_MAX_STUBS):
            module = self.modules.find(target)
            stubs = self.symbols.stubs(module) if module is not None else None
            if module is None or stubs is None:
                return target
            stub = stubs.at(target - module.bias)
            if stub is None or stub.start != target - module.bias:
                return target
            bound = self._bound(module, stub.slot, stub.name)
            if bound is None:
                return None
            target = bound
        return None

    def called(self, address: int) -> int | None:
        """The function that the call before an address entered through a word of the global offset
        table; None where it is no such call, or that is not surely known."""
        return self._through_word(address, jump=False)

    def jumped(self, address: int) -> int | None:
        """The same of a jump."""
        return self._through_word(address, jump=True)

    def _through_word(self, address: int, jump: bool) -> int | None:
        module = self.modules.find(address - 1)
        stubs = self.symbols.stubs(module) if module is not None else None
        if module is None or stubs is None:
            return None
        look = stubs.jumped if jump else stubs.called
        slot = look(self.read(address - _CALL, _CALL), address - module.bias)
        if slot is None:
            return None
        bound = self._bound(module, slot, stubs.imports.name_of(slot, None))
        return None if bound is None else self.function(bound)

    def _bound(self, module: Module, slot: int | None, name: bytes | None) -> int | None:
        """What a word of the global offset table held, else the only function that has the name."""
        if slot is not None:
            size = self.arch.long
            data = self.read(slot + module.bias, size)
            if len(data) == size:
                value = int.from_bytes(data, self.arch.byte_order) & self.arch.code_mask
                return value if self._is_function(module, value) else None
        if name is None:
            return None
        if name not in self._named:
            self._named[name] = self._only(name)
        return self._named[name]

    def _is_function(self, module: Module, value: int) -> bool:
        """Whether a word has been bound, and does not lead back to the module's own stubs."""
        if not self.modules.executable(value):
            return False
        stubs = self.symbols.stubs(module)
        own = self.modules.find(value) is module and stubs is not None
        return not own or stubs is None or not stubs.is_unbound(value - module.bias)

    def _only(self, name: bytes) -> int | None:
        """The function of this name in the program, else in its libraries: None where several have
        one (the order in which they are searched is not known), or may have one."""
        found: set[int | None] = set()
        for module in sorted(self.modules, key=lambda module: not module.main):
            if module.path == _VDSO:
                continue
            stubs = self.symbols.stubs(module)
            if stubs is None:
                return None
            found |= {
                None if place is None else place + module.bias
                for place in stubs.imports.functions(name)
            }
            if found and module.main:
                break
        return found.pop() if len(found) == 1 else None
