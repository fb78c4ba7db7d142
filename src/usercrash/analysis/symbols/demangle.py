"""Names for people: C++ (Itanium), Rust (v0 and legacy) and Swift by `pydemumble`; D, Ada and
Fortran by ourselves, where the shape of a name or the language of its unit leaves no doubt."""

from __future__ import annotations

import re
from functools import lru_cache

import pydemumble

from .ada_names import ada_name, surely_ada
from .d_names import d_name
from .fortran_names import fortran_name, module_name
from .name_growth import may_be_read

_PREFIXES = ("_Z", "_R", "__Z", "___Z", "$s", "_$s", "$S", "_$S", "_T0")
_MAX_MANGLED = 8_192
# Where clang's lambda `$_0` (or one in it) begins, behind the function that it stands in
_LOCAL = re.compile(r"E(?=NK?(\d+\$_\d+|Ul\w{0,64}?E\d*_))")
_BACK = re.compile(r"S[0-9A-Z]*_")  # a reference to what stood before in the name
_MAX_LAMBDAS = 3  # in each other, and places to part a name at


@lru_cache(maxsize=65_536)
def demangle(name: str, language: str = "") -> str:
    """The readable form of a linker's name, the name itself where it is not mangled, or where its
    readable form would be far too long.

    `language` is one of `line_tables.LANGUAGES`, "" where it is not known.
    """
    if len(name) > _MAX_MANGLED:
        return name
    if name.startswith(_PREFIXES):
        return (_by_pydemumble(name) if may_be_read(name) else "") or name
    if name.startswith("_D"):
        return d_name(name) or name
    if language == "ada" or (not language and surely_ada(name)):
        return ada_name(name) or name
    if language == "fortran":
        return fortran_name(name)
    return module_name(name) or name if not language else name


def _by_pydemumble(name: str, depth: int = _MAX_LAMBDAS) -> str:
    """The readable form by the library, "" where there is none. It knows no instances of clang's
    generic lambdas in functions: these are told by their two halves, the function around and the
    lambda's own, unless one refers to the other."""
    found = str(pydemumble.demangle(name))
    if found or not name.startswith("_ZZ") or "$_" not in name or not depth:
        return found
    for split in reversed(list(_LOCAL.finditer(name))[-_MAX_LAMBDAS:]):
        entity = name[split.end() :]
        around = (
            ""
            if _BACK.search(entity)
            else _by_pydemumble(f"_Z{name[3 : split.start()]}", depth - 1)
        )
        own = str(pydemumble.demangle(f"_Z{entity}")) if around else ""
        begin = re.search(r"(?:^| )(?=\$_|'lambda)", own)
        if begin is not None:
            return f"{own[: begin.end()]}{around}::{own[begin.end() :]}"
    return ""
