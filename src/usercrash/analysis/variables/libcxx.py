"""What LLVM's libc++ keeps in its strings, containers and smart pointers.

Members have had other names in other versions, and until 18 many stood in a "compressed pair" with
what takes no room (allocators, comparisons); shown with 14.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..dwarf.types import Kind, Type
from .known_records import Field, Pair, Reading, Unlike
from .libstdcxx import between, flags, width_of
from .limits import MASKED

_DEQUE_BYTES, _DEQUE_LEAST = 4096, 16  # of one of a deque's arrays; elements in it, of large ones
_LEAF = re.compile(r"__tuple_leaf<(\d+)")
# The namespace within std differs: __1, __ndk1 on Android, __Cr in Chromium
NAMESPACE = re.compile(r"std::__(?:[0-9]+|ndk1|Cr)::")


def _first(r: Reading, field: Field) -> Field:
    """The first of a compressed pair; what is none, as it is."""
    if "::__compressed_pair<" not in field.type.base_name:
        return field
    for member in r.printer.types.record(field.type).members:
        if member.base:
            return r.below(Field(member.type, field.at + member.offset), "__value_")
    raise Unlike


def _string(r: Reading) -> str:
    """Either long (pointer, length, capacity) or short (characters, length): one bit says it."""
    whole = _first(r, r.any_of(("__r_",), ("__rep_",)))
    short, long = r.below(whole, "__s"), r.below(whole, "__l")
    pointer = r.below(long, "__data_")
    width = width_of(pointer)
    is_long, size = _short(r, short)
    if is_long:
        return r.text(r.number(pointer), r.number(r.below(long, "__size_")), width)
    data = r.source.read(r.below(short, "__data_").at, size * width)
    return MASKED if r.secret else r.printer.quoted(data, width)


def _short(r: Reading, short: Field) -> tuple[bool, int]:
    """Whether a string is long; the length that it has if it is short."""
    flag, length = r.bits(short, "__is_long_"), r.bits(short, "__size_")
    if flag is not None and length is not None:
        return bool(flag), length
    # Before 15 both are one byte, and which bit is the flag depends on where that byte lies.
    size = r.below(short, "__size_")
    number = r.printer.number(r.source, size.at, 1)
    last = size.at > short.at
    if last == (r.printer.frame.arch.byte_order == "big"):
        return bool(number & 1), number >> 1
    return bool(number & 0x80), number & 0x7F


def _string_view(r: Reading) -> str:
    pointer = r.any_of(("__data",), ("__data_",))
    return r.text(
        r.number(pointer), r.number(r.any_of(("__size",), ("__size_",))), width_of(pointer)
    )


def _vector(r: Reading) -> str:
    first = r.field("__begin_")
    try:
        count = r.number(r.field("__size_"))
    except Unlike:
        return between(r, first, r.field("__end_"))
    if "vector<bool" not in r.kind.base_name:
        raise Unlike
    return flags(r, r.number(first), 0, count)


def _array(r: Reading) -> str:
    return r.same(r.field("__elems_"))


def _pointer(r: Reading) -> str:
    pointer = _first(r, r.field("__ptr_"))
    if pointer.type.kind is not Kind.POINTER:
        raise Unlike
    return r.same(pointer)


def _optional(r: Reading) -> str:
    if not r.number(r.field("__engaged_")) & 0xFF:
        return "none"
    return r.inside(r.field("__val_"))


def _tuple(r: Reading) -> str:
    base = r.any_of(("__base_",))
    found: dict[int, Field] = {}
    for member in r.printer.types.record(base.type).members:
        leaf = _LEAF.search(member.type.base_name)
        if leaf is None or not member.base:
            raise Unlike
        found[int(leaf[1])] = r.below(Field(member.type, base.at + member.offset), "__value_")
    if sorted(found) != list(range(len(found))):
        raise Unlike
    return "{" + ", ".join(r.inside(found[number]) for number in range(len(found))) + "}"


def _variant(r: Reading) -> str:
    """All alternatives begin where the first does."""
    path = ("__impl",) if _has(r, "__impl") else ("__impl_",)
    index = r.any_of((*path, "__index"), (*path, "__index_"))
    data = r.any_of((*path, "__data"), (*path, "__data_"))
    return r.alternative(r.pack(), r.number(index), index.type.size or 4, data.at)


def _has(r: Reading, name: str) -> bool:
    try:
        r.field(name)
    except Unlike:
        return False
    return True


def _atomic(r: Reading) -> str:
    return r.same(r.field("__a_", "__a_value"))


def _size(r: Reading, *paths: tuple[str, ...]) -> int:
    return r.number(_first(r, r.any_of(*paths)))


def _map(r: Reading) -> str:
    return _tree(r, pairs=True)


def _set(r: Reading) -> str:
    return _tree(r, pairs=False)


def _tree(r: Reading, pairs: bool) -> str:
    """Nodes: left, right, parent, the color, the element."""
    count = _size(r, ("__tree_", "__pair3_"), ("__tree_", "__size_"))
    first = r.number(r.field("__tree_", "__begin_node_"))
    kind, at = _element(r, _allocator(r, "__tree_", "__pair1_", "__node_alloc_"), pairs)
    nodes = r.in_order(first, 0, r.word, 2 * r.word)
    return r.scattered(kind, (node + at for node in nodes), count)


def _element(r: Reading, allocator: Type, pairs: bool) -> tuple[Type | Pair, int]:
    """What a node holds, and where in it."""
    node = Field(r.allocated(allocator), 0)
    value = r.below(node, "__value_")
    if not pairs:
        return value.type, value.at
    for name in ("__cc_", "__cc"):
        try:
            pair = r.below(value, name)
            break
        except Unlike:
            pair = value
    key, second = r.below(pair, "first"), r.below(pair, "second")
    return Pair(key.type, second.type, second.at - key.at), key.at


def _allocator(r: Reading, table: str, pair: str, plain: str) -> Type:
    """The allocator of nodes: in the second place of a pair, or a member."""
    try:
        holder = r.field(table, pair)
    except Unlike:
        return r.field(table, plain).type
    bases = [one for one in r.printer.types.record(holder.type).members if one.base]
    if len(bases) != 2:
        raise Unlike
    inner = r.printer.types.record(bases[1].type).members
    if not inner:
        raise Unlike
    return inner[0].type


def _hashed_map(r: Reading) -> str:
    return _hashed(r, pairs=True)


def _hashed_set(r: Reading) -> str:
    return _hashed(r, pairs=False)


def _hashed(r: Reading, pairs: bool) -> str:
    """A list of all nodes."""
    count = _size(r, ("__table_", "__p2_"), ("__table_", "__size_"))
    head = _first(r, r.any_of(("__table_", "__p1_"), ("__table_", "__first_node_")))
    nodes = r.linked(r.number(r.below(head, "__next_")))
    kind, at = _element(r, _allocator(r, "__table_", "__p1_", "__node_alloc_"), pairs)
    return r.scattered(kind, (node + at for node in nodes), count)


def _list(r: Reading) -> str:
    """Nodes: the one before, the next, the element."""
    count = _size(r, ("__size_alloc_",), ("__size_",))
    first = r.number(r.field("__end_", "__next_"))
    nodes = r.linked(first, r.word)
    return r.scattered(r.parameter("_Tp"), (node + 2 * r.word for node in nodes), count)


def _deque(r: Reading) -> str:
    """Arrays of equal lengths, and an array of pointers to them."""
    count, start = _size(r, ("__size_",)), r.number(r.field("__start_"))
    arrays, element = r.number(r.field("__map_", "__begin_")), r.parameter("_Tp")
    size = element.size or 0
    if not size:
        raise Unlike
    each = _DEQUE_BYTES // size if size < _DEQUE_BYTES // _DEQUE_LEAST else _DEQUE_LEAST
    places = (
        r.word_at(arrays + number // each * r.word) + number % each * size
        for number in range(start, start + count)
    )
    return r.scattered(element, places, count)


LIBCXX: dict[str, Callable[[Reading], str]] = {
    "basic_string": _string,
    "basic_string_view": _string_view,
    "vector": _vector,
    "array": _array,
    "unique_ptr": _pointer,
    "shared_ptr": _pointer,
    "optional": _optional,
    "variant": _variant,
    "tuple": _tuple,
    "atomic": _atomic,
    "map": _map,
    "multimap": _map,
    "set": _set,
    "multiset": _set,
    "unordered_map": _hashed_map,
    "unordered_multimap": _hashed_map,
    "unordered_set": _hashed_set,
    "unordered_multiset": _hashed_set,
    "list": _list,
    "deque": _deque,
}
