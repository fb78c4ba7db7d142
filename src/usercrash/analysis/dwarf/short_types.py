"""Names of C++ types without what nobody wrote: default arguments of the standard library's
templates, and the namespaces that hold its versions.

`std::vector<std::__cxx11::basic_string<char, std::char_traits<char>, std::allocator<char> >, …>` is
`std::vector<std::string>`. What is no default stays.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_MAX_NAME = 16_384  # characters; beyond, it stays as it is
_MAX_DEPTH = 64
_VERSIONS = re.compile(r"\bstd::__(?:cxx11|[0-9]+|ndk1|Cr)::")
_TEMPLATE = re.compile(r"std::(\w+)$")
_STRINGS = {
    "char": "string", "wchar_t": "wstring", "char8_t": "u8string", "char16_t": "u16string",
    "char32_t": "u32string",
}  # fmt: skip


def _of(name: str) -> Callable[[list[str]], str]:
    return lambda arguments: f"std::{name}<{arguments[0]}>"


def _pairs(arguments: list[str]) -> str:
    first = arguments[0]
    constant = f"{first} const" if first.endswith(("*", "&")) else f"const {first}"
    return f"std::allocator<std::pair<{constant}, {arguments[1]}>>"


_ALLOCATOR, _LESS, _HASH, _EQUAL = _of("allocator"), _of("less"), _of("hash"), _of("equal_to")
# How many arguments each template has to have, and the defaults of the next ones
_DEFAULTS: dict[str, tuple[int, tuple[Callable[[list[str]], str], ...]]] = {
    "vector": (1, (_ALLOCATOR,)),
    "deque": (1, (_ALLOCATOR,)),
    "list": (1, (_ALLOCATOR,)),
    "forward_list": (1, (_ALLOCATOR,)),
    "set": (1, (_LESS, _ALLOCATOR)),
    "multiset": (1, (_LESS, _ALLOCATOR)),
    "map": (2, (_LESS, _pairs)),
    "multimap": (2, (_LESS, _pairs)),
    "unordered_set": (1, (_HASH, _EQUAL, _ALLOCATOR)),
    "unordered_multiset": (1, (_HASH, _EQUAL, _ALLOCATOR)),
    "unordered_map": (2, (_HASH, _EQUAL, _pairs)),
    "unordered_multimap": (2, (_HASH, _EQUAL, _pairs)),
    "basic_string": (1, (_of("char_traits"), _ALLOCATOR)),
    "basic_string_view": (1, (_of("char_traits"),)),
    "unique_ptr": (1, (_of("default_delete"),)),
    "stack": (1, (_of("deque"),)),
    "queue": (1, (_of("deque"),)),
    "priority_queue": (1, (_of("vector"), _LESS)),
}


@lru_cache(maxsize=4096)
def short_type(name: str) -> str:
    """The name of a type of C++ as people write it; any other name as it is."""
    if "std::" not in name or "<" not in name or len(name) > _MAX_NAME:
        return _VERSIONS.sub("std::", name) if len(name) <= _MAX_NAME else name
    shown = _VERSIONS.sub("std::", name)
    try:
        found, end = _shortened(shown, 0, 0)
    except ValueError:
        return shown
    return found if end == len(shown) else shown


def _shortened(text: str, at: int, depth: int) -> tuple[str, int]:
    """The text up to the comma or bracket that ends an argument, and where that is. ValueError for
    what is no balanced name."""
    if depth > _MAX_DEPTH:
        raise ValueError("too deep")
    words = ""
    round_brackets = 0
    start = at
    while at < len(text):
        sign = text[at]
        if sign == "<" and not text.endswith("operator", 0, at):
            words += text[start:at]
            arguments, at = _arguments(text, at + 1, depth)
            words = _with(words, arguments)
            start = at
            continue
        if sign in "([{":
            round_brackets += 1
        elif sign in ")]}":
            round_brackets -= 1
        elif depth and not round_brackets and sign in ",>":
            break
        at += 1
    return words + text[start:at], at


def _arguments(text: str, at: int, depth: int) -> tuple[list[str], int]:
    """The arguments of a template, and where the text goes on behind them."""
    found: list[str] = []
    while True:
        one, at = _shortened(text, at, depth + 1)
        if at >= len(text):
            raise ValueError("no end")
        found.append(one.strip())
        at += 1
        if text[at - 1] == ">":
            return found, at


def _with(name: str, arguments: list[str]) -> str:
    """A template with its arguments, without those that are its defaults."""
    template = _TEMPLATE.search(name)
    word = template[1] if template is not None else ""
    needed, defaults = _DEFAULTS.get(word, (0, ()))
    while needed and needed < len(arguments) <= needed + len(defaults):
        default = defaults[len(arguments) - 1 - needed]
        if arguments[-1] not in _spellings(default(arguments)):
            break
        arguments.pop()
    if template is not None and word.startswith("basic_string") and needed:
        plain = _STRINGS.get(arguments[0])
        if plain is not None and len(arguments) == 1:
            return name[: template.start(1)] + plain + word.removeprefix("basic_string")
    return f"{name}<{', '.join(arguments)}>"


def _spellings(default: str) -> tuple[str, ...]:
    """A default, also with its `const` behind: compilers and demanglers differ."""
    changed = re.sub(r"std::pair<const (.+?), ", r"std::pair<\1 const, ", default, count=1)
    return default, changed
