"""Names for people: C++ (Itanium), Rust (v0 and legacy) and Swift, by `pydemumble`."""

from __future__ import annotations

from functools import lru_cache

import pydemumble

_PREFIXES = ("_Z", "_R", "__Z", "___Z", "$s", "_$s", "$S", "_$S", "_T0")
_MAX_MANGLED = 8_192


@lru_cache(maxsize=65_536)
def demangle(name: str) -> str:
    """The demangled form of a linker's name, the name itself where it is not mangled."""
    if not name.startswith(_PREFIXES) or len(name) > _MAX_MANGLED:
        return name
    return str(pydemumble.demangle(name)) or name
