"""How long the readable form of a C++ name may get, by the grammar of the C++ ABI for Itanium
(Mangling). Each method goes over one production, and gives its size in characters, rather more than
less; UnknownNameError or IndexError where there is none."""

from __future__ import annotations

from .itanium_names import CASTS, OPERATORS, UNARY, WORD, NamesGrowth
from .mangled_text import UnknownNameError


class ItaniumGrowth(NamesGrowth):
    """All of it; `encoding` is where to begin."""

    def expression(self) -> int:
        self.enter()
        size = self.bare_expression() + WORD
        self.depth -= 1
        return size

    def bare_expression(self) -> int:
        here, two = self.peek(), self.peek(2)
        if here == "L":
            return self.literal()
        if here == "T":
            return self.parameter()
        if two in ("fp", "fL"):
            self.at += 2
            while self.take_one("rVK0123456789p"):
                pass
            self.expect("_")
            return WORD
        if here.isdigit() or here in ("N", "S", "Z") or two in ("on", "sr", "dn", "gs"):
            return self.name_in_expression()
        self.at += 2
        if two == "sp":
            return self.expression() * self.pack
        if two in ("sZ", "sP"):
            return self.list_of(self.argument) if two == "sP" else self.sized()
        if two in ("st", "at", "ti"):
            return self.type()
        if two in ("cl", "il"):
            return self.list_of(self.expression)
        if two == "tl":
            return self.type() + self.list_of(self.expression)
        if two == "cv":
            size = self.type()
            return size + (self.list_of(self.expression) if self.take("_") else self.expression())
        if two in CASTS:
            return self.type() + self.expression()
        if two in ("nw", "na") or two not in OPERATORS:
            raise UnknownNameError
        if two in ("pp", "mm"):
            self.take("_")
        count = 3 if two == "qu" else 1 if two in UNARY else 2
        return sum(self.expression() for _ in range(count))

    def sized(self) -> int:
        return self.parameter() if self.peek() == "T" else self.expression()

    def list_of(self, one: object) -> int:
        size = 2
        while not self.take("E"):
            size += (self.argument() if one == self.argument else self.expression()) + 2
        return size

    def name_in_expression(self) -> int:
        self.take("gs")
        if self.take("on") or self.take("dn"):
            size = self.unqualified()
            return size + (self.arguments() if self.peek() == "I" else 0)
        if not self.take("sr"):
            return self.type()
        size = WORD
        if self.take("N"):
            size += self.type()
            while not self.take("E"):
                size += self.simple_id()
            return size + self.base_name()
        if self.peek().isdigit():
            while not self.take("E"):
                size += self.simple_id()
            return size + self.base_name()
        return size + self.type() + self.base_name()

    def simple_id(self) -> int:
        size = self.source_name()
        return size + (self.arguments() if self.peek() == "I" else 0)

    def base_name(self) -> int:
        if self.take("on") or self.take("dn"):
            pass
        size = self.unqualified()
        return size + (self.arguments() if self.peek() == "I" else 0)
