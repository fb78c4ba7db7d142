"""Readable forms of Fortran's names: gfortran's `__shapes_MOD_area` is `shapes::area`."""

from __future__ import annotations

import re

# gfortran; flang (`_QMshapesParea`, `_QParea`); Intel's compiler (`shapes_mp_area_`)
_GNU = re.compile(r"__([a-z][a-z0-9_]*)_MOD_([a-z_][a-z0-9_]*)\Z")
_FLANG = re.compile(r"_Q(?:M([a-z][a-z0-9_]*))?P([a-z][a-z0-9_]*)\Z")
_INTEL = re.compile(r"([a-z][a-z0-9_]*)_mp_([a-z][a-z0-9_]*?)_?\Z")
_PLAIN = re.compile(r"[a-z][a-z0-9_]*_\Z")


def module_name(name: str) -> str | None:
    """`module::procedure` of a linker's name whose shape leaves no doubt, else None."""
    found = _GNU.match(name) or _FLANG.match(name)
    if found is None:
        return None
    return "::".join(part for part in found.groups() if part)


def fortran_name(name: str) -> str:
    """The readable form of a name from a unit whose language is Fortran."""
    intel = _INTEL.match(name)
    known = module_name(name) or (f"{intel[1]}::{intel[2]}" if intel is not None else None)
    if known is not None:
        return known
    if name == "MAIN__":
        return "main program"
    return name[:-1] if _PLAIN.match(name) else name
