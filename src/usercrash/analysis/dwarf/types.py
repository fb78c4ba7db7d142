"""Types as the language writes them, with what it takes to read their values (DWARF 5 chapter 5).

What records hold is read by `records`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ...errors import FormatError
from .attributes import (
    AT_artificial,
    AT_byte_size,
    AT_containing_type,
    AT_count,
    AT_declaration,
    AT_encoding,
    AT_GNU_vector,
    AT_lower_bound,
    AT_name,
    AT_signature,
    AT_type,
    AT_upper_bound,
)
from .names import language_of, qualified_name
from .short_types import short_type
from .units import Entry

TAG_array, TAG_class, TAG_enumeration, TAG_formal_parameter = 0x01, 0x02, 0x04, 0x05
TAG_member, TAG_pointer, TAG_reference, TAG_structure = 0x0D, 0x0F, 0x10, 0x13
TAG_subroutine_type, TAG_typedef, TAG_union, TAG_variant = 0x15, 0x16, 0x17, 0x19
TAG_inheritance, TAG_member_pointer, TAG_subrange, TAG_base = 0x1C, 0x1F, 0x21, 0x24
TAG_const, TAG_enumerator, TAG_variant_part, TAG_volatile = 0x26, 0x28, 0x33, 0x35
TAG_restrict, TAG_interface, TAG_unspecified_type, TAG_rvalue_reference = 0x37, 0x38, 0x3B, 0x42
TAG_template_alias, TAG_atomic, TAG_unspecified_parameters = 0x43, 0x47, 0x18
TAG_template_type, TAG_parameter_pack = 0x2F, 0x4107
_QUALIFIERS = {TAG_const: "const", TAG_volatile: "volatile", TAG_atomic: "_Atomic",
               TAG_restrict: "restrict"}  # fmt: skip
_RECORDS = {TAG_class: "class", TAG_structure: "struct", TAG_union: "union",
            TAG_interface: "interface"}  # fmt: skip
_REFERENCES = {TAG_reference: "&", TAG_rvalue_reference: "&&"}
# C, C89, C99, C11, Objective-C: where a tag stands with its word
_TAGGED = frozenset((0x01, 0x02, 0x0C, 0x1D, 0x10))
RUST, GO = 0x1C, 0x16
_FORTRAN = frozenset((0x07, 0x08, 0x0E, 0x22, 0x23))
_MAX_DEPTH = 24
MAX_NAME = 400
MAX_DIMENSIONS = 8
_MAX_PARAMETERS = 24


# What gcc calls base types, and people write
_PLAIN = {
    "long int": "long", "long unsigned int": "unsigned long", "short int": "short",
    "short unsigned int": "unsigned short", "long long int": "long long",
    "long long unsigned int": "unsigned long long",
}  # fmt: skip


class Kind(Enum):
    """What sort of value a type has."""

    BASE = "base"
    POINTER = "pointer"
    REFERENCE = "reference"
    MEMBER_POINTER = "pointer to member"
    RECORD = "record"
    ENUM = "enumeration"
    ARRAY = "array"
    FUNCTION = "function"
    VOID = "void"
    OTHER = "other"


@dataclass(slots=True)
class Type:
    """A type without typedefs and qualifiers; its `name` still has them. `size` in bytes, None
    where it is not a constant. `bounds` of an array: the entries of its dimensions."""

    kind: Kind
    before: str
    after: str = ""
    size: int | None = None
    encoding: int = 0
    target: Type | None = None
    entry: Entry | None = None
    bounds: tuple[Entry, ...] = ()
    language: int = 0
    base_name: str = ""  # of the type behind typedefs

    @property
    def name(self) -> str:
        """As it stands in a cast."""
        gap = (
            " "
            if self.after.startswith(("[", "(")) and not self.before.endswith(("*", "&"))
            else ""
        )
        if self.before.endswith(" "):
            gap = ""
        name = short_type(self.before + gap + self.after)
        return name if len(name) <= MAX_NAME else name[:MAX_NAME] + "…"


class TypeReader:
    """The types of one analysis, each read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], Type] = {}
        self.language = 0  # of the units that do not say theirs: dwz's partial ones

    def of(self, holder: Entry, attribute: int = AT_type) -> Type:
        """The type that an entry's attribute refers to; void where it has none. FormatError where
        that is broken."""
        return self._of(holder, attribute, 0)

    def _language(self, entry: Entry) -> int:
        return language_of(entry.unit) or self.language

    def _of(self, holder: Entry, attribute: int, depth: int) -> Type:
        entry = holder.reference(attribute)
        if entry is None:
            return Type(Kind.VOID, "()" if self._language(holder) == RUST else "void")
        if AT_signature in entry.values:  # a declaration; the type has a unit of its own
            entry = entry.reference(AT_signature) or entry
        key = key_of(entry)
        found = self._known.get(key)
        if found is None:
            if depth > _MAX_DEPTH:
                raise FormatError("types without end")
            entry.unit.file.work.spend(10)
            found = self._known[key] = self._read(entry, depth + 1)
        return found

    def _read(self, entry: Entry, depth: int) -> Type:
        tag, language = entry.tag, self._language(entry)
        size = entry.number(AT_byte_size)
        if entry.block(AT_byte_size) is not None:
            size = None
        if tag in _QUALIFIERS:
            return _qualified(self._of(entry, AT_type, depth), _QUALIFIERS[tag])
        name = text(entry, AT_name)
        if tag in (TAG_typedef, TAG_template_alias):
            target = self._of(entry, AT_type, depth)
            return _renamed(target, qualified_name(entry, language) or name)
        if tag == TAG_base:
            name = _PLAIN.get(name, name)
            return Type(Kind.BASE, name, size=size, encoding=entry.number(AT_encoding) or 0,
                        entry=entry, language=language, base_name=name)  # fmt: skip
        if tag in _RECORDS:
            return self._record_type(entry, name, size, language)
        if tag == TAG_enumeration:
            below = self._of(entry, AT_type, depth) if AT_type in entry.values else None
            whole = _tagged(qualified_name(entry, language) or name, "enum", language)
            size = size if size is not None or below is None else below.size
            return Type(Kind.ENUM, whole, size=size, target=below, entry=entry,
                        language=language, base_name=whole)  # fmt: skip
        if tag == TAG_unspecified_type:
            return Type(Kind.OTHER, name or "?", size=size, language=language)
        return self._derived(entry, name, size, language, depth)

    def _derived(
        self, entry: Entry, name: str, size: int | None, language: int, depth: int
    ) -> Type:
        """A type made of another one."""
        tag = entry.tag
        if tag == TAG_subrange:
            return _renamed(self._of(entry, AT_type, depth), name)
        if tag not in (
            TAG_pointer,
            *_REFERENCES,
            TAG_array,
            TAG_subroutine_type,
            TAG_member_pointer,
        ):
            return Type(Kind.OTHER, name or "?", size=size)
        target = self._of(entry, AT_type, depth)
        word = size or entry.unit.shape.word
        if tag == TAG_pointer:
            before, after = _declarator(target, "*")
            if name and language in (RUST, GO):
                before, after = name, ""
            return Type(Kind.POINTER, before, after, word, 0, target, entry, (), language, name)
        if tag in _REFERENCES:
            before, after = _declarator(target, _REFERENCES[tag])
            return Type(Kind.REFERENCE, before, after, word, 0, target, entry, (), language)
        if tag == TAG_array:
            return _array(entry, target, size, language)
        if tag == TAG_subroutine_type:
            words = self._parameters(entry, depth)
            before = target.before + ("" if target.before.endswith(("*", "&")) else " ")
            return Type(Kind.FUNCTION, name or before, "" if name else f"({words}){target.after}",
                        None, 0, target, entry, (), language)  # fmt: skip
        holder = self._of(entry, AT_containing_type, depth)
        before, after = _declarator(target, f"{holder.name}::*")
        if target.kind is not Kind.FUNCTION and not before.endswith(" " + f"{holder.name}::*"):
            before = target.before + f" {holder.name}::*"
        return Type(Kind.MEMBER_POINTER, before, after, size, 0, target, entry, (), language)

    def _record_type(self, entry: Entry, name: str, size: int | None, language: int) -> Type:
        whole = qualified_name(entry, language) or name
        word = _RECORDS[entry.tag]
        shown = _tagged(whole, word, language)
        return Type(Kind.RECORD, shown, size=size, entry=entry, language=language,
                    base_name=whole or shown)  # fmt: skip

    def _parameters(self, entry: Entry, depth: int) -> str:
        words = []
        for child in entry.unit.children(entry):
            if child.tag == TAG_formal_parameter and AT_artificial not in child.values:
                words.append(self._of(child, AT_type, depth).name)
            elif child.tag == TAG_unspecified_parameters:
                words.append("...")
            if len(words) > _MAX_PARAMETERS:
                break
        return ", ".join(words) or "void"


def text(entry: Entry, attribute: int) -> str:
    """A string attribute as text."""
    return entry.text(attribute).decode("utf-8", "backslashreplace")


def is_complete(kind: Type) -> bool:
    """Whether a record's members are known, not only its name."""
    return kind.entry is not None and AT_declaration not in kind.entry.values


def first_index(entry: Entry) -> int:
    """The lowest index of a dimension, where it says none: of the language."""
    return 1 if language_of(entry.unit) in _FORTRAN else 0


def has_bound(entry: Entry) -> bool:
    """Whether a dimension says how long it is."""
    return AT_count in entry.values or AT_upper_bound in entry.values


def constant_count(entry: Entry) -> int | None:
    """The constant length of a dimension; None where it is none."""
    if entry.tag == TAG_enumeration:
        return None
    lower = _constant(entry, AT_lower_bound)
    if AT_lower_bound in entry.values and lower is None:
        return None
    count = _constant(entry, AT_count)
    if count is not None:
        return max(count, 0)
    upper = _constant(entry, AT_upper_bound)
    if upper is None:
        return None
    if upper >= (1 << 32) - 1:  # (gcc's −1 in 4 or 8 bytes, for no elements)
        return 0 if upper in ((1 << 32) - 1, (1 << 64) - 1) else upper + 1
    return max(upper - (first_index(entry) if lower is None else lower) + 1, 0)


def _constant(entry: Entry, attribute: int) -> int | None:
    found = entry.values.get(attribute)
    if found is None or entry.unit.block(*found) is not None or _is_reference(found[0]):
        return None
    return found[1]


def _is_reference(form: int) -> bool:
    return form == 0x10 or 0x11 <= form <= 0x15 or form in (0x1C, 0x20, 0x24, 0x1F20)


def _array(entry: Entry, target: Type, size: int | None, language: int) -> Type:
    bounds: list[Entry] = []
    words = ""
    for child in entry.unit.children(entry):
        if child.tag in (TAG_subrange, TAG_enumeration) and len(bounds) < MAX_DIMENSIONS:
            bounds.append(child)
            count = constant_count(child)
            words += f"[{'' if count is None else count}]"
    vector = " vector" if AT_GNU_vector in entry.values else ""
    before, after = target.before, words + target.after
    name = text(entry, AT_name)
    if language in (RUST, GO):
        before, after = name, ""
        if not name:
            ends = words[1:-1]
            before = f"[{target.name}; {ends}]" if language == RUST else f"[{ends}]{target.name}"
    return Type(Kind.ARRAY, before + vector, after, size, 0, target, entry, tuple(bounds), language)


def _declarator(target: Type, sign: str) -> tuple[str, str]:
    """What stands before and behind the name of a pointer or reference."""
    if target.kind in (Kind.ARRAY, Kind.FUNCTION) and target.after:
        gap = "" if target.before.endswith(" ") else " "
        return f"{target.before}{gap}({sign}", f"){target.after}"
    gap = "" if target.before.endswith(("*", "&", "(")) else " "
    return f"{target.before}{gap}{sign}", target.after


def _qualified(target: Type, word: str) -> Type:
    if target.kind in (Kind.POINTER, Kind.REFERENCE, Kind.MEMBER_POINTER) and not target.base_name:
        before = f"{target.before} {word}"
    elif target.kind in (Kind.ARRAY, Kind.FUNCTION) and target.before.startswith(f"{word} "):
        return target
    else:
        before = f"{word} {target.before}"
    return _with(target, before, target.after, target.base_name)


def _renamed(target: Type, name: str) -> Type:
    if not name:
        return target
    base = target.base_name or (target.before if not target.after else "")
    return _with(target, name, "", base or name)


def _with(target: Type, before: str, after: str, base_name: str) -> Type:
    return Type(
        target.kind, before, after, target.size, target.encoding, target.target, target.entry,
        target.bounds, target.language, base_name,
    )  # fmt: skip


def _tagged(name: str, word: str, language: int) -> str:
    if not name:
        return f"{word} {{...}}"
    return f"{word} {name}" if language in _TAGGED else name


def key_of(entry: Entry) -> tuple[int, int]:
    """What tells an entry from all others of one analysis."""
    return id(entry.unit.file), entry.offset
