"""Readable forms of D's names: `_D3app5outerFiZi` is `app.outer(int)`.

Source: the D specification, "Application Binary Interface", Name Mangling. What is not known here
makes the whole name unreadable (None): a wrong name is worse than a mangled one.
"""

from __future__ import annotations

import re

_BASIC = {
    "v": "void", "g": "byte", "h": "ubyte", "s": "short", "t": "ushort", "i": "int", "k": "uint",
    "l": "long", "m": "ulong", "f": "float", "d": "double", "e": "real", "o": "ifloat",
    "p": "idouble", "j": "ireal", "q": "cfloat", "r": "cdouble", "c": "creal", "b": "bool",
    "a": "char", "u": "wchar", "w": "dchar", "n": "typeof(null)",
}  # fmt: skip
_WRAPPED = {"x": "const", "y": "immutable", "O": "shared"}
_SPECIAL = {"__ctor": "this", "__dtor": "~this"}
_CONVENTIONS = "FUWVRY"
_SUFFIXES = {"ubyte": "u", "ushort": "u", "uint": "u", "long": "L", "ulong": "uL"}
_BRACKETS = {"A": ("[", "]"), "H": ("[", "]"), "S": ("(", ")")}  # of lists of values
_IS_ARRAY = re.compile(r"\[[0-9]*\]$")  # others in brackets are keyed
_NO_NUMBERS = (("NAN", "NaN"), ("INF", "Inf"), ("NINF", "-Inf"))
_MAX_DEPTH = 64
_MAX_DIGITS = 20  # of the largest number of 64 bits
_MAX_OUTPUT = 8_192


class _Unknown(Exception):
    """A part of a name that this module does not read."""


def d_name(name: str) -> str | None:
    """The name for people of a linker's name, None where it is not one of D's, or not all known."""
    if name == "_Dmain":
        return "D main"
    if not name.startswith("_D") or (not name[2:3].isdigit() and name[2:4] not in ("__", "Q")):
        return None
    try:
        reader = _Reader(name)
        found = reader.qualified()
        if reader.at < len(name.partition(".")[0]) and reader.take() != "Z":
            reader.at -= 1
            reader.type_of_name()
        if reader.at < len(name.partition(".")[0]):
            return None
        return found if len(found) <= _MAX_OUTPUT else None
    except (_Unknown, IndexError, ValueError, RecursionError):
        return None


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.at = 2
        self.depth = 0
        self.steps = 0

    def peek(self) -> str:
        return self.name[self.at : self.at + 1]

    def take(self) -> str:
        self.at += 1
        return self.name[self.at - 1]

    def enter(self) -> None:
        self.depth += 1
        self.steps += 1
        if self.depth > _MAX_DEPTH or self.steps > 2_000:
            raise _Unknown

    # --- names ---

    def qualified(self, inside: bool = False) -> str:
        """Identifiers, each with the parameters of a function that more stand in."""
        parts = []
        while self.symbol_follows():
            part = self.symbol()
            if self.peek() and self.peek() in "M" + _CONVENTIONS:
                part += self.maybe_parameters(inside)
            parts.append(part)
        if not parts:
            raise _Unknown
        return ".".join(parts)

    def maybe_parameters(self, inside: bool) -> str:
        """The parameters of a function; "" where this is something else: behind the name of a type
        (`inside` another) they count only if what stands in the function follows."""
        start, depth = self.at, self.depth
        try:
            found = self.parameters()
            if not inside or self.symbol_follows():
                return found
        except (_Unknown, IndexError):
            pass
        self.at, self.depth = start, depth
        return ""

    def symbol_follows(self) -> bool:
        following = self.peek()
        if following == "Q":
            return self.target(self.at)[0][:1].isdigit()
        return following.isdigit() or self.name.startswith(("__T", "__U"), self.at)

    def symbol(self) -> str:
        self.enter()
        try:
            if self.peek() == "Q":
                return self.back(self.symbol)
            if self.name.startswith(("__T", "__U"), self.at):
                return self.template()
            size = self.number()
            if self.name.startswith(("__T", "__U"), self.at) and size > 3:
                return self.template()
            text = self.name[self.at : self.at + size]
            if len(text) != size:
                raise _Unknown
            self.at += size
            return _SPECIAL.get(text, text)
        finally:
            self.depth -= 1

    def number(self) -> int:
        start = self.at
        while self.peek().isdigit():
            self.at += 1
        if self.at - start > _MAX_DIGITS:
            raise _Unknown
        return int(self.name[start : self.at])

    def target(self, at: int) -> tuple[str, int]:
        """(what stands at the place a back reference leads to, position behind the reference)."""
        distance, end = 0, at + 1
        while True:
            letter = self.name[end]
            end += 1
            if "A" <= letter <= "Z":
                distance = distance * 26 + ord(letter) - ord("A")
            elif "a" <= letter <= "z":
                distance = distance * 26 + ord(letter) - ord("a")
                break
            else:
                raise _Unknown
        if not 0 < distance <= at - 2:
            raise _Unknown
        return self.name[at - distance :], end

    def back(self, read: object) -> str:
        rest, end = self.target(self.at)
        self.at = len(self.name) - len(rest)
        assert callable(read)
        found = str(read())
        self.at = end
        return found

    def template(self) -> str:
        self.at += 3
        name = self.symbol()
        arguments = []
        while self.peek() != "Z":
            if self.peek() == "H":
                self.at += 1
            kind = self.take()
            if kind == "T":
                arguments.append(self.type())
            elif kind == "V":
                arguments.append(self.value(self.type()))
            elif kind == "S":
                arguments.append(self.alias())
            elif kind == "X":  # what other languages call it
                size = self.number()
                self.at += size
                arguments.append(self.name[self.at - size : self.at])
            else:
                raise _Unknown
        self.at += 1
        return f"{name}!({', '.join(arguments)})"

    def alias(self) -> str:
        """A symbol by its name, or by a whole one of the linker's (whose type is not told)."""
        if not self.name.startswith("_D", self.at):
            return self.qualified(inside=True)
        self.at += 2
        found = self.qualified()
        if self.peek() == "Z":
            self.at += 1
        else:
            self.type_of_name()
        return found

    def type_of_name(self) -> None:
        """What follows a whole name: the type of a variable, what a function returns, or where all
        of a function's type is told."""
        if self.function_follows():
            self.callable("")
        else:
            self.type()

    def function_follows(self) -> bool:
        """Whether a function's type follows, or a reference back to one."""
        following = self.target(self.at)[0] if self.peek() == "Q" else self.name[self.at :]
        return bool(following) and following[0] in _CONVENTIONS

    def value(self, kind: str) -> str:
        letter = self.peek()
        if letter in _BRACKETS:
            return self.list_value(kind)
        if letter == "e":
            self.at += 1
            return self.real()
        if letter in "iN" or letter.isdigit():
            sign = "-" if letter == "N" else ""
            if not letter.isdigit():
                self.at += 1
            number = self.number()
            if kind == "bool":
                return "true" if number else "false"
            if kind in ("char", "wchar", "dchar"):
                return repr(chr(number))
            return f"{sign}{number}{_SUFFIXES.get(kind, '')}"
        if letter == "n":
            self.at += 1
            return "null"
        if letter in "awd":
            self.at += 1
            size = self.number()
            if self.take() != "_":
                raise _Unknown
            digits = self.name[self.at : self.at + 2 * size]
            self.at += 2 * size
            text = bytes.fromhex(digits).decode("utf-8", "backslashreplace")
            return '"' + "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text) + '"'
        raise _Unknown

    def list_value(self, kind: str) -> str:
        """The value of an array, an associative array or a structure of the type `kind`."""
        self.enter()
        opening, closing = _BRACKETS[self.take()]
        pairs = opening == "[" and kind.endswith("]") and not _IS_ARRAY.search(kind)
        found = []
        for _ in range(self.number()):
            self.enter()
            word = self.value("")
            found.append(f"{word}:{self.value('')}" if pairs else word)
            self.depth -= 1
        self.depth -= 1
        return (kind if opening == "(" else "") + opening + ", ".join(found) + closing

    def real(self) -> str:
        """A number of floating point: its sign, hexadecimal digits and exponent."""
        for word, text in _NO_NUMBERS:
            if self.name.startswith(word, self.at):
                self.at += len(word)
                return text
        sign = "-" if self.peek() == "N" else ""
        self.at += len(sign)
        digits, _, rest = self.name[self.at :].partition("P")
        if not digits or not set(digits) <= set("0123456789ABCDEF"):
            raise _Unknown
        self.at = len(self.name) - len(rest)
        minus = "-" if self.peek() == "N" else ""
        self.at += len(minus)
        return f"{sign}0x{digits[0]}.{digits[1:]}p{minus}{self.number()}"

    # --- types ---

    def parameters(self) -> str:
        """`(int, char)` of a function's type; its return type, if there is one, stays."""
        tail = ""
        if self.peek() == "M":  # needs `this`
            self.at += 1
            while self.peek() in ("x", "y", "O") or self.name.startswith("Ng", self.at):
                letter = self.take()
                self.at += letter == "N"
                tail += f" {_WRAPPED.get(letter, 'inout')}"
        if self.take() not in _CONVENTIONS:
            raise _Unknown
        return "(" + ", ".join(self.arguments()) + ")" + tail

    def arguments(self) -> list[str]:
        while self.peek() == "N" and self.name[self.at + 1] in "abcdefijlm":
            self.at += 2  # pure, nothrow, ref, @property, @trusted, @safe, @nogc, …
        found: list[str] = []
        while True:
            letter = self.peek()
            if letter in ("X", "Y", "Z") and letter:
                self.at += 1
                if letter == "Y":
                    found.append("...")
                elif letter == "X" and found:
                    found[-1] += "..."
                return found
            found.append(self.parameter())

    def parameter(self) -> str:
        words = ""
        while True:
            two = self.name[self.at : self.at + 2]
            word = {"I": "in ", "J": "out ", "K": "ref ", "L": "lazy ", "M": "scope "}.get(two[:1])
            if two == "Nk":
                self.at += 2
                words += "return "
            elif word is not None:
                self.at += 1
                words += word
            else:
                return words + self.type()

    def type(self) -> str:
        self.enter()
        try:
            return self._type(self.take())
        finally:
            self.depth -= 1

    def _type(self, letter: str) -> str:
        if letter in _BASIC:
            return _BASIC[letter]
        if letter in _WRAPPED:
            return f"{_WRAPPED[letter]}({self.type()})"
        if letter == "A":
            return f"{self.type()}[]"
        if letter == "P":
            if self.function_follows():
                return self.callable("function")
            return f"{self.type()}*"
        if letter == "G":
            size = self.number()
            return f"{self.type()}[{size}]"
        if letter == "H":
            key = self.type()
            return f"{self.type()}[{key}]"
        if letter == "D":
            return self.callable("delegate")
        if letter in "CSETI":
            return self.qualified(inside=True)
        if letter == "Q":
            self.at -= 1
            return self.back(self.type)
        if letter == "N":
            following = self.take()
            if following == "g":
                return f"inout({self.type()})"
            if following == "h":
                return f"__vector({self.type()})"
            if following == "n":
                return "noreturn"
        if letter == "z":
            return {"i": "cent", "k": "ucent"}.get(self.take()) or self.unknown()
        return self.unknown()

    def unknown(self) -> str:
        raise _Unknown

    def callable(self, kind: str) -> str:
        if self.peek() == "Q":
            return self.back(lambda: self.callable(kind))
        if self.take() not in _CONVENTIONS:
            raise _Unknown
        arguments = ", ".join(self.arguments())
        return f"{self.type()} {kind}({arguments})"
