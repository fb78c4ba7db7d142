"""Strings, containers and smart pointers of C++, Rust and Go as people think of them.

Only where the type's name and the members that this needs are those that are known; everything else
is shown as the record that it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..dwarf.types import GO, RUST, Kind, Type
from .known_records import Field, Reading, Unlike, counted
from .libcxx import LIBCXX, NAMESPACE
from .libstdcxx import LIBSTDCXX
from .storage import Source

if TYPE_CHECKING:
    from .printer import Printer


def readable(
    printer: Printer, kind: Type, source: Source, at: int, depth: int, secret: bool
) -> str | None:
    """The value of a record that is known, None for any other one."""
    maker = _maker(kind)
    if maker is None:
        return None
    try:
        return maker(Reading(printer, kind, source, at, depth, secret))
    except Unlike:
        return None


_Maker = Callable[[Reading], str]


def _maker(kind: Type) -> _Maker | None:
    name = kind.base_name
    if kind.language == GO:
        return _go_string if name == "string" else _go_slice if name.startswith("[]") else None
    plain = name.partition("<")[0]
    if kind.language == RUST:
        if name == "&str":
            return _rust_str
        if name.startswith(("&[", "&mut [")):
            return _rust_slice
        return _RUST.get(plain)
    within = NAMESPACE.match(plain)
    return LIBSTDCXX.get(plain) if within is None else LIBCXX.get(plain[within.end() :])


# --- Rust ---


def _rust_str(r: Reading) -> str:
    return r.text(r.number(r.field("data_ptr")), r.number(r.field("length")))


def _rust_slice(r: Reading) -> str:
    pointer = r.field("data_ptr")
    if pointer.type.target is None:
        raise Unlike
    return r.row(pointer.type.target, r.number(pointer), r.number(r.field("length")))


def _rust_vec(r: Reading) -> str:
    pointer = r.first_pointer(r.field("buf"))
    return r.row(r.parameter("T"), r.number(pointer), r.number(r.field("len")))


def _rust_string(r: Reading) -> str:
    pointer = r.first_pointer(r.field("vec", "buf"))
    return r.text(r.number(pointer), r.number(r.field("vec", "len")))


def _rust_os_string(r: Reading) -> str:
    """Of a path, or what the system gave: bytes, mostly UTF-8."""
    whole = r.any_of(("inner", "inner", "inner"), ("inner", "inner"))
    pointer = r.first_pointer(r.below(whole, "buf"))
    return r.text(r.number(pointer), r.number(r.below(whole, "len")))


def _rust_counted(r: Reading) -> str:
    """What is shared lies behind the numbers of those that share it."""
    pointer = r.field("ptr", "pointer")
    if pointer.type.target is None or pointer.type.kind is not Kind.POINTER:
        raise Unlike  # (of what has no size of its own, it is two words)
    address = r.number(pointer)
    behind = Field(pointer.type.target, 0)
    for name in ("value", "data"):
        try:
            held = r.below(behind, name)
        except Unlike:
            continue
        shown = r.printer.inner(held.type, r.memory(address), held.at, r.depth + 1, r.secret)
        return f"{address:#x} → {shown}"
    raise Unlike


def _rust_number_of(*paths: tuple[str, ...]) -> _Maker:
    """Of what is too intricate to walk, how many elements there are."""

    def maker(r: Reading) -> str:
        count = r.number(r.any_of(*paths))
        return f"{{… {counted(count)}}}" if count else "{}"

    return maker


_HASHED = ("table", "table", "items")
_RUST: dict[str, _Maker] = {
    "alloc::string::String": _rust_string,
    "alloc::vec::Vec": _rust_vec,
    "alloc::rc::Rc": _rust_counted,
    "alloc::sync::Arc": _rust_counted,
    "std::path::PathBuf": _rust_os_string,
    "std::ffi::os_str::OsString": _rust_os_string,
    "std::collections::hash::map::HashMap": _rust_number_of(("base", *_HASHED)),
    "std::collections::hash::set::HashSet": _rust_number_of(("base", "map", *_HASHED)),
    "alloc::collections::btree::map::BTreeMap": _rust_number_of(("length",)),
    "alloc::collections::btree::set::BTreeSet": _rust_number_of(("map", "length")),
}


# --- Go ---


def _go_string(r: Reading) -> str:
    return r.text(r.number(r.field("str")), r.number(r.field("len")))


def _go_slice(r: Reading) -> str:
    pointer = r.field("array")
    if pointer.type.target is None:
        raise Unlike
    return r.row(pointer.type.target, r.number(pointer), r.number(r.field("len")))
