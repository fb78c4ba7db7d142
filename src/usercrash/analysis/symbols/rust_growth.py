"""How long the readable form of one of Rust's names (v0) may get: as name_growth, by the grammar of
Rust RFC 2603. References there are places in the name, so the size is nearly exact."""

from __future__ import annotations

import re

from .mangled_text import UnknownNameError

_MAX_DEPTH = 150
_MAX_STEPS = 40_000
_WORD = 24
_BASIC = "abcdefhijlmnopstuvxyz"
_NUMBER = re.compile(r"[0-9A-Za-z]*_")
_VALUE = re.compile(r"n?[0-9a-f]*_")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class RustGrowth:
    """Each method goes over one production, and gives its size; IndexError or UnknownNameError
    where there is none."""

    def __init__(self, name: str, most: int) -> None:
        self.text = name.partition(".")[0][2:]
        self.at = 0
        self.most = most
        self.depth = 0
        self.steps = 0
        self.known: dict[int, int] = {}  # where something begins that may be referred to, its size

    def symbol(self) -> int:
        """All of it."""
        size = self.path()
        if self.at < len(self.text):
            size += self.path()  # the crate that it was made for
        if self.at < len(self.text):
            raise UnknownNameError
        return size

    def take(self, letters: str) -> str:
        here = self.text[self.at : self.at + 1]
        if here and here in letters:
            self.at += 1
            return here
        return ""

    def number(self) -> str:
        found = _NUMBER.match(self.text, self.at)
        if found is None:
            raise UnknownNameError
        self.at = found.end()
        return found[0][:-1]

    def _enter(self) -> int:
        self.depth += 1
        self.steps += 1
        if self.depth > _MAX_DEPTH or self.steps > _MAX_STEPS:
            raise UnknownNameError
        return self.at

    def _leave(self, start: int, size: int) -> int:
        self.depth -= 1
        if size > self.most:
            raise UnknownNameError
        self.known[start] = size
        return size

    def path(self) -> int:
        start = self._enter()
        kind = self.text[self.at]
        self.at += 1
        if kind == "C":
            size = self.identifier()
        elif kind in "MX":
            if self.take("s"):
                self.number()
            size = self.path() + self.type() + (self.path() if kind == "X" else 0)
        elif kind == "Y":
            size = self.type() + self.path()
        elif kind == "N":
            self.at += 1
            size = self.path() + self.identifier()
        elif kind == "I":
            size = self.path()
            while not self.take("E"):
                size += self.argument() + 2
        elif kind == "B":
            size = self.reference()
        else:
            raise UnknownNameError
        return self._leave(start, size + 8)

    def reference(self) -> int:
        place = 0
        digits = self.number()
        for digit in digits[:6]:
            place = place * 62 + _DIGITS.index(digit)
        place += bool(digits)
        if place not in self.known:
            raise UnknownNameError
        return self.known[place]

    def identifier(self) -> int:
        if self.take("s"):
            self.number()
        self.take("u")
        start = self.at
        while self.take("0123456789"):
            pass
        length = int(self.text[start : self.at][:6] or "0")
        self.take("_")
        self.at += length
        if self.at > len(self.text):
            raise UnknownNameError
        return 4 * length + _WORD  # (of other letters than ASCII's, four bytes each)

    def argument(self) -> int:
        if self.take("L"):
            self.number()
            return 8
        return self.constant() if self.take("K") else self.type()

    def constant(self) -> int:
        start = self._enter()
        if self.take("p"):
            return self._leave(start, 2)
        if self.take("B"):
            return self._leave(start, self.reference())
        size = self.type()
        found = _VALUE.match(self.text, self.at)
        if found is None:
            raise UnknownNameError
        self.at = found.end()
        return self._leave(start, size + len(found[0]) + _WORD)

    def type(self) -> int:
        start = self._enter()
        if self.take(_BASIC):
            return self._leave(start, 5)
        if self.take("A"):
            size = self.type() + self.constant()
        elif self.take("SPO"):
            size = self.type() + 8
        elif self.take("RQ"):
            if self.take("L"):
                self.number()
            size = self.type() + 16
        elif self.take("T"):
            size = 2
            while not self.take("E"):
                size += self.type() + 2
        elif self.take("F"):
            size = self.function()
        elif self.take("D"):
            size = self.traits()
        elif self.take("B"):
            size = self.reference()
        else:
            size = self.path()
        return self._leave(start, size)

    def binder(self) -> int:
        """`for<'a, 'b …>`: each lifetime is written."""
        if not self.take("G"):
            return 0
        digits = self.number()
        if len(digits) > 1:
            raise UnknownNameError
        return 8 * (_DIGITS.index(digits) + 2 if digits else 1) + 8

    def function(self) -> int:
        size = self.binder() + _WORD
        self.take("U")
        if self.take("K") and not self.take("C"):
            size += self.identifier()
        while not self.take("E"):
            size += self.type() + 2
        return size + self.type()

    def traits(self) -> int:
        size = self.binder() + _WORD
        while not self.take("E"):
            size += self.path() + 3
            while self.take("p"):
                size += self.identifier() + self.type() + 5
        self.take("L")
        self.number()
        return size
