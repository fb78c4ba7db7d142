"""What libstdc++ keeps in its strings, containers and smart pointers (gcc 5 and later)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ..dwarf.gaps import NOT_IN_DUMP, Gap
from ..dwarf.types import Kind, Type
from .arrays import elements
from .known_records import Field, Pair, Reading, Unlike, counted
from .limits import MASKED

_MAX_DEPTH = 24  # of the bases of a tuple
_INLINE = 16  # bytes that a string has room for in itself
_DEQUE_BYTES = 512  # of one of a deque's arrays
_HEAD = re.compile(r"std::_Head_base<(\d+)")


def _string(r: Reading) -> str:
    # Of the holder of the pointer clang tells no members where others make it.
    width = r.parameter("_CharT").size
    if width not in (1, 2, 4):
        raise Unlike
    address = r.printer.number(r.source, r.field("_M_dataplus").at, r.word)
    size = r.number(r.field("_M_string_length"))
    own = r.source.address(r.field("_M_local_buf").at)
    if size * width < _INLINE and own is not None and address == own:
        data = r.source.read(r.field("_M_local_buf").at, size * width)
        return MASKED if r.secret else r.printer.quoted(data, width)
    return r.text(address, size, width)


def width_of(pointer: Field) -> int:
    """The bytes of a character that a pointer leads to."""
    width = pointer.type.target.size if pointer.type.target is not None else None
    if width not in (1, 2, 4):
        raise Unlike
    return width


def _string_view(r: Reading) -> str:
    pointer = r.field("_M_str")
    return r.text(r.number(pointer), r.number(r.field("_M_len")), width_of(pointer))


def _vector(r: Reading) -> str:
    first, last = r.field("_M_impl", "_M_start"), r.field("_M_impl", "_M_finish")
    if first.type.kind is Kind.RECORD:
        return _bits(r, first, last)
    return between(r, first, last)


def between(r: Reading, first: Field, last: Field) -> str:
    """The elements from where one pointer leads to before where the other one does."""
    element = first.type.target
    if first.type.kind is not Kind.POINTER or element is None or not element.size:
        raise Unlike
    start, end = r.number(first), r.number(last)
    if end < start or (end - start) % element.size:
        raise Gap("a vector that ends before it begins: not initialized, or damaged")
    return r.row(element, start, (end - start) // element.size)


def _bits(r: Reading, first: Field, last: Field) -> str:
    """vector<bool>: from a bit of a word to a bit of another one."""
    start, end = r.number(r.below(first, "_M_p")), r.number(r.below(last, "_M_p"))
    skipped = r.number(r.below(first, "_M_offset"))
    count = 8 * (end - start) + r.number(r.below(last, "_M_offset")) - skipped
    if count < 0 or skipped >= 8 * r.word:
        raise Gap("a vector that ends before it begins: not initialized, or damaged")
    return flags(r, start, skipped, count)


def flags(r: Reading, address: int, skipped: int, count: int) -> str:
    """Bits of memory as `{true, false}`."""
    numbered = counted(count)
    if r.secret:
        return MASKED
    if count and not r.printer.process.memory(address, 1):
        return f"{numbered} <{NOT_IN_DUMP}>"
    bits = 8 * r.word

    def one(number: int) -> str:
        word, bit = divmod(number + skipped, bits)
        try:
            return "true" if r.word_at(address + word * r.word) >> bit & 1 else "false"
        except Gap as gap:
            return f"<{gap.why}>"

    return "{" + elements(r.printer, one, count) + "}"


def _array(r: Reading) -> str:
    return r.same(r.field("_M_elems"))


def _unique(r: Reading) -> str:
    pointer = _head(r, Field(r.kind, r.at), 0)
    if pointer is None:
        raise Unlike
    return r.same(pointer)


def _head(r: Reading, start: Field, depth: int) -> Field | None:
    """The pointer in a std::tuple of a pointer and a deleter, which is one of its bases."""
    if start.type.kind is not Kind.RECORD or depth > _MAX_DEPTH:
        return None
    for member in r.printer.types.record(start.type).members:
        field = Field(member.type, start.at + member.offset)
        if member.name == "_M_head_impl" and field.type.kind is Kind.POINTER:
            return field
        if member.base or member.name == "_M_t":
            found = _head(r, field, depth + 1)
            if found is not None:
                return found
    return None


def _tuple(r: Reading) -> str:
    heads = dict(_heads(r, Field(r.kind, r.at), 0))
    if sorted(heads) != list(range(len(heads))):
        raise Unlike
    return "{" + ", ".join(r.inside(heads[number]) for number in range(len(heads))) + "}"


def _heads(r: Reading, start: Field, depth: int) -> Iterator[tuple[int, Field]]:
    """Each element by its number."""
    for member in r.printer.types.record(start.type).members if depth < _MAX_DEPTH else ():
        field = Field(member.type, start.at + member.offset)
        head = _HEAD.match(member.type.base_name)
        if head is not None and member.base:
            yield int(head[1]), r.below(field, "_M_head_impl")
        elif member.base:
            yield from _heads(r, field, depth + 1)


def _shared(r: Reading) -> str:
    return r.same(r.field("_M_ptr"))


def _optional(r: Reading) -> str:
    engaged = r.field("_M_payload", "_M_engaged")
    if not r.number(engaged) & 0xFF:
        return "none"
    return r.inside(r.field("_M_payload", "_M_payload", "_M_value"))


def _variant(r: Reading) -> str:
    index = r.field("_M_index")
    return r.alternative(r.pack(), r.number(index), index.type.size or 1, r.field("_M_u").at)


def _atomic(r: Reading) -> str:
    return r.same(r.any_of(("_M_i",), ("_M_b", "_M_p"), ("_M_base", "_M_i")))


def _map(r: Reading) -> str:
    return _tree(r, lambda: r.pair("_Key", "_Tp"))


def _set(r: Reading) -> str:
    return _tree(r, lambda: r.parameter("_Key"))


def _tree(r: Reading, element: Callable[[], Type | Pair]) -> str:
    """Nodes: the color, then parent, left and right, then the element. (The head of all is such a
    node without an element, and there is room before any element for it.)"""
    count = r.number(r.field("_M_t", "_M_impl", "_M_node_count"))
    first = r.number(r.field("_M_t", "_M_impl", "_M_header", "_M_left"))
    word = r.word
    nodes = r.in_order(first, 2 * word, 3 * word, word)
    return _nodes(r, element, nodes, 4 * word, count)


def _nodes(
    r: Reading, element: Callable[[], Type | Pair], nodes: Iterator[int], behind: int, count: int
) -> str:
    """The elements in nodes, so many bytes behind where those begin; of types whose layout is not
    sure the number."""
    try:
        kind = element()
    except Unlike:
        return f"{{… {counted(count)}}}" if count else "{}"
    return r.scattered(kind, (node + behind for node in nodes), count)


def _hashed_map(r: Reading) -> str:
    return _hashed(r, lambda: r.pair("_Key", "_Tp"))


def _hashed_set(r: Reading) -> str:
    return _hashed(r, lambda: r.parameter("_Value"))


def _hashed(r: Reading, element: Callable[[], Type | Pair]) -> str:
    """A list of all nodes: the next one, then the element."""
    count = r.number(r.field("_M_h", "_M_element_count"))
    nodes = r.linked(r.number(r.field("_M_h", "_M_before_begin", "_M_nxt")))
    try:
        kind = element()
        parts = (kind.key, kind.value) if isinstance(kind, Pair) else (kind,)
        behind = max(r.word, *(r.alignment(part) for part in parts))
    except Unlike:
        behind = 0
    if not behind or behind > r.word == 4:  # (the machines do not agree)
        return f"{{… {counted(count)}}}" if count else "{}"
    return r.scattered(kind, (node + behind for node in nodes), count)


def _list(r: Reading) -> str:
    head = r.field("_M_impl", "_M_node")
    count = r.number(r.below(head, "_M_size"))
    first = r.number(r.below(head, "_M_next"))
    nodes = r.linked(first)
    return r.scattered(r.parameter("_Tp"), (node + 2 * r.word for node in nodes), count)


def _deque(r: Reading) -> str:
    """Arrays of equal lengths, and an array of pointers to them."""
    start, finish = r.field("_M_impl", "_M_start"), r.field("_M_impl", "_M_finish")
    element = r.below(start, "_M_cur").type.target
    size = element.size if element is not None else None
    if element is None or not size:
        raise Unlike
    each = max(_DEQUE_BYTES // size, 1)

    def position(iterator: Field) -> int:
        """Counted in elements from the first array that is used."""
        node, current, begin = (
            r.number(r.below(iterator, name)) for name in ("_M_node", "_M_cur", "_M_first")
        )
        return (node - arrays) // r.word * each + (current - begin) // size

    arrays = r.number(r.below(start, "_M_node"))
    begun, ended = position(start), position(finish)
    if ended < begun:
        raise Gap("a deque that ends before it begins: not initialized, or damaged")
    places = (
        r.word_at(arrays + number // each * r.word) + number % each * size
        for number in range(begun, ended)
    )
    return r.scattered(element, places, ended - begun)


LIBSTDCXX: dict[str, Callable[[Reading], str]] = {
    "std::__cxx11::basic_string": _string,
    "std::basic_string_view": _string_view,
    "std::vector": _vector,
    "std::array": _array,
    "std::unique_ptr": _unique,
    "std::shared_ptr": _shared,
    "std::optional": _optional,
    "std::variant": _variant,
    "std::tuple": _tuple,
    "std::atomic": _atomic,
    "std::map": _map,
    "std::multimap": _map,
    "std::set": _set,
    "std::multiset": _set,
    "std::unordered_map": _hashed_map,
    "std::unordered_multimap": _hashed_map,
    "std::unordered_set": _hashed_set,
    "std::unordered_multiset": _hashed_set,
    "std::__cxx11::list": _list,
    "std::deque": _deque,
}
