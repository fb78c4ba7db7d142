"""Pointers that stand for "nothing": null with its offset, and −1 or an error number below it."""

from __future__ import annotations

import errno

from ...report import Cause
from ..instructions.decoded import Access
from .access import did, operand_words
from .scene import NULL_PAGE, Scene, cause

_NULL_REACH = 1 << 20  # with a register that is null, a larger offset
_MAX_INDEX = 1 << 32
_MAX_ERROR = 4095  # MAX_ERRNO in include/linux/err.h


def pointer_to_nothing(scene: Scene, address: int, access: Access | None) -> Cause | None:
    """The cause of an access through a null pointer or one that is an error's value, else None."""
    return _error(scene, address, access) or _null(scene, address, access)


def _signed(value: int, scene: Scene) -> int:
    bits = 8 * scene.arch.long
    return value - (1 << bits) if value >> bits - 1 else value


# --- null ---


def _null(scene: Scene, address: int, access: Access | None) -> Cause | None:
    signed = _signed(address, scene)
    name = _null_register(scene, access)
    near = 0 <= signed < NULL_PAGE
    by_index = _by_index(scene, access) if name else ""
    if not near and not by_index and not (name and abs(signed) < _NULL_REACH):
        return None
    what = "null pointer"
    if signed > 0:
        what += f" plus {signed:#x}"
    elif signed < 0:
        what += f" minus {-signed:#x}"
    what_it_did = f"{did(access)} at {address:#x}" if access else f"access to {address:#x}"
    return cause(
        "null-pointer",
        f"{what}: {what_it_did}" + (f" ({name} is 0)" if name else ""),
        by_index,
        "" if name or not access else operand_words(scene, access),
        reason="null-offset" if signed else "null",
        certainty="certain" if near else "likely",
    )


def _null_register(scene: Scene, access: Access | None) -> str:
    """The register that holds the pointer, if it is null. An index that is 0 says nothing."""
    if access is None:
        return ""
    values = dict(access.values)
    if any(name.endswith("_base") for name in values):
        # fs and gs: the pointer is what they begin at
        null = [name for name, value in values.items() if name.endswith("_base") and not value]
        return null[0] if null else ""
    if not access.base:
        sole = access.registers if len(access.registers) == 1 and not access.index else ()
        return next((name for name in sole if values.get(name) == 0), "")
    if values.get(access.base) == 0:
        return access.base
    # Of two registers without a scale each may be the pointer.
    alike = access.index and access.scale == 1 and values.get(access.index) == 0
    return access.index if alike else ""


def _by_index(scene: Scene, access: Access | None) -> str:
    """`An array that is null, at index 305419896 …`: a scale tells which register is the array."""
    if access is None or not access.index or access.scale == 1:
        return ""
    index = dict(access.values).get(access.index)
    if index is None:
        return ""
    number = _signed(index, scene)
    if not number or abs(number) >= _MAX_INDEX:
        return ""
    return f"It is an array's element: index {number:,}, of {access.scale} bytes each."


# --- the value of an error ---


def _error(scene: Scene, address: int, access: Access | None) -> Cause | None:
    """A pointer from −1 down to −4095: what mmap() and others return when they fail, or null less
    a distance."""
    if access is None or not access.registers or (access.index and access.scale == 1):
        return None
    base = access.base or access.registers[0]
    if base == access.index or len(set(access.registers) - {base, access.index}):
        return None
    value = dict(access.values).get(base)
    bits = 8 * scene.arch.long
    if value is None or value < (1 << bits) - _MAX_ERROR or value >= 1 << bits:
        return None
    number = (1 << bits) - value
    name = errno.errorcode.get(number, "")
    if number == 1:
        what, certain = "is −1, as mmap() returns when it fails (MAP_FAILED)", True
    elif name:
        what, certain = f"is −{number}: an error number ({name}), or null less {number}", False
    else:
        return None
    return cause(
        "bad-address",
        f"{did(access)} at {address:#x}: the pointer {what}",
        operand_words(scene, access),
        "What gave the pointer failed, and nobody checked it." if certain else "",
        reason="error-value",
        certainty="certain" if certain else "likely",
    )
