"""Names for people: C++ (Itanium), Rust (v0 and legacy) and Swift by `pydemumble`; D, Ada and
Fortran by ourselves, where the shape of a name or the language of its unit leaves no doubt."""

from __future__ import annotations

from functools import lru_cache

import pydemumble

from .ada_names import ada_name, surely_ada
from .d_names import d_name
from .fortran_names import fortran_name, module_name

_PREFIXES = ("_Z", "_R", "__Z", "___Z", "$s", "_$s", "$S", "_$S", "_T0")
_MAX_MANGLED = 8_192


@lru_cache(maxsize=65_536)
def demangle(name: str, language: str = "") -> str:
    """The readable form of a linker's name, the name itself where it is not mangled.

    `language` is one of `line_tables.LANGUAGES`, "" where it is not known.
    """
    if len(name) > _MAX_MANGLED:
        return name
    if name.startswith(_PREFIXES):
        return str(pydemumble.demangle(name)) or name
    if name.startswith("_D"):
        return d_name(name) or name
    if language == "ada" or (not language and surely_ada(name)):
        return ada_name(name) or name
    if language == "fortran":
        return fortran_name(name)
    return module_name(name) or name if not language else name
