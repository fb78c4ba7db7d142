"""How long the readable form of a C++ or Rust name may get, before anybody makes it.

References in a mangled name stand for parts of it: each may double what was there, and 300 bytes
can become gigabytes. A name with few of them is short enough in any case. Another is walked once,
by its grammar: each reference counts as the largest part that it may mean, so that the estimate is
rather too large than too small. What cannot be walked may not be read. Swift's are only counted.
"""

from __future__ import annotations

import re

from .itanium_growth import ItaniumGrowth
from .mangled_text import UnknownNameError
from .rust_growth import RustGrowth

MAX_READABLE = 1 << 20  # characters
_WORD = 48  # that one character of a mangled name stands for at most
_REFERENCE = re.compile(r"S[0-9A-Z]*_|T[0-9L]*_|f[lrLR]")
_PACK = re.compile(r"Dp|sp|f[lrLR]")
_RUST_REFERENCE = re.compile(r"B[0-9A-Za-z]*_")
_SWIFT_REFERENCE = re.compile(r"A[0-9a-z]*[A-Z_]")
_ITANIUM = re.compile(r"_{1,4}Z")


def may_be_read(name: str) -> bool:
    """Whether the readable form of a mangled name has at most about MAX_READABLE characters."""
    if name.startswith("_R"):
        return _rust(name)
    begin = _ITANIUM.match(name)
    if begin is None:
        return _by_count(len(name), len(_SWIFT_REFERENCE.findall(name)))
    references = len(_REFERENCE.findall(name))
    packs = len(_PACK.findall(name))  # each is written as often as it has elements
    if packs < 3 and _by_count(len(name) ** (1 + packs), references):
        return True
    walk = ItaniumGrowth(name, begin.end(), MAX_READABLE)
    try:
        return walk.encoding() <= MAX_READABLE and walk.ended()
    except (UnknownNameError, IndexError):
        return False


def _by_count(length: int, references: int) -> bool:
    """Each reference doubles what there is, at most."""
    return references < 24 and length * _WORD << references <= MAX_READABLE


def _rust(name: str) -> bool:
    if "G" not in name and _by_count(len(name), len(_RUST_REFERENCE.findall(name))):
        return True
    try:
        return RustGrowth(name, MAX_READABLE).symbol() <= MAX_READABLE
    except (UnknownNameError, IndexError):
        return False
