"""The names, template arguments and types of itanium_growth."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

from .mangled_text import SLACK, MangledText, UnknownNameError

_LEVELS = re.compile(r"[rVK]+|[PROCG]")
WORD = 24  # characters that a builtin type, an operator or a qualifier takes at most, generously
_BUILTIN = "vwbcahstijlxmynofdegz"
_QUALIFIERS = "rVKPROCG"
_STANDARD = "abiosd"  # std::allocator … std::string, written out
UNARY = frozenset((
    "ng", "ps", "ad", "de", "co", "nt", "pp", "mm", "te", "st", "sz", "az", "nx", "tw", "ti",
))  # fmt: skip
BINARY = frozenset((
    "pl", "mi", "ml", "dv", "rm", "an", "or", "eo", "aS", "pL", "mI", "mL", "dV", "rM", "aN", "oR",
    "eO", "ls", "rs", "lS", "rS", "eq", "ne", "lt", "gt", "le", "ge", "ss", "aa", "oo", "cm", "pm",
    "pt", "dt", "ds", "ix",
))  # fmt: skip
CASTS = frozenset(("dc", "sc", "cc", "rc"))  # a type, an expression
OPERATORS = UNARY | BINARY | CASTS | {"nw", "na", "dl", "da", "cl", "qu", "aw"}


class NamesGrowth(MangledText, ABC):
    """Names, their arguments, types; what stands in expressions is told by a class behind it."""

    @abstractmethod
    def expression(self) -> int:
        """What stands in an argument, a bound of an array, decltype()."""

    # --- names ---

    def encoding(self) -> int:
        self.enter()
        if self.peek() == "T" and self.peek(2)[1:] not in "_0123456789":
            size = self.special()
        elif self.peek() == "G":
            size = self.guard()
        else:
            size = self.name()
            while not self.ended() and self.peek() != "E":
                size += self.type() + 2
        self.depth -= 1
        return self.part(size + WORD)

    def special(self) -> int:
        kind = self.peek(2)
        self.at += 2
        if kind in ("TV", "TT", "TI", "TS"):
            return self.type()
        if kind in ("TW", "TH"):
            return self.name()
        if kind == "TC":
            size = self.type()
            self.number()
            self.expect("_")
            return size + self.type()
        if kind not in ("Th", "Tv", "Tc"):
            raise UnknownNameError
        for sort in kind[1:] if kind != "Tc" else "12":
            if sort in "12":
                sort = self.take_one("hv")
            for _ in range(2 if sort == "v" else 1):
                self.number()
                self.expect("_")
        return self.encoding()

    def guard(self) -> int:
        if self.take("GTt") or self.take("GTn"):
            return self.encoding()
        if self.take("GV"):
            return self.name()
        if self.take("GR"):
            size = self.name()
            self.until("_")
            return size
        raise UnknownNameError

    def name(self) -> int:
        self.enter()
        if self.take("N"):
            size = self.nested()
        elif self.take("Z"):
            size = self.local()
        else:
            numbered = self.peek() != "S" or self.peek(2) == "St"
            size = self.prefix_or_name()
            if self.peek() == "I":
                if numbered:
                    self.numbered(size)
                size = self.part(size + self.arguments())
        self.depth -= 1
        return size

    def prefix_or_name(self) -> int:
        if self.take("St"):
            return self.part(self.unqualified() + 5)
        if self.peek() == "S":
            return self.reference()
        return self.part(self.unqualified())

    def nested(self) -> int:
        while self.take_one("rVKROH"):
            pass
        size, one = WORD, 0
        while not self.take("E"):
            if one:
                self.numbered(one)  # (the last one is not)
            if self.peek() == "S":
                size += self.reference()
                one = 0
                continue
            if self.peek() == "T":
                size += self.parameter()
            elif self.peek() == "I":
                size += self.arguments()
            elif self.peek(2) in ("Dt", "DT"):
                size += self.type()
            elif not self.take("M"):
                size += self.unqualified() + 2
            one = self.part(size)
        return size

    def local(self) -> int:
        size = self.encoding()
        self.expect("E")
        if self.take("s"):
            size += WORD
        else:
            if self.take("d"):
                self.number()
                self.expect("_")
            size += self.name()
        if self.take("__"):
            self.until("_")
        elif self.take("_"):
            self.at += 1
        return self.part(size)

    def unqualified(self) -> int:
        self.take("L")
        here = self.peek()
        if here.isdigit():
            size = self.source_name()
        elif here == "U":
            size = self.unnamed()
        elif here == "C":
            self.at += 1
            inherited = self.take("I")
            self.at += 1
            size = self.largest + (self.type() if inherited else 0)
        elif self.take("DC"):
            size = 2
            while not self.take("E"):
                size += self.source_name() + 2
        elif here == "D":
            self.at += 2
            size = self.largest + 1
        else:
            size = self.operator()
        while self.take("B"):
            size += self.source_name() + 6
        return size

    def source_name(self) -> int:
        start = self.at
        while self.peek().isdigit():
            self.at += 1
        length = int(self.text[start : self.at][:6] or 0)
        self.at += length
        if not length or self.at > len(self.text):
            raise UnknownNameError
        return max(length, WORD)  # (_GLOBAL__N_1 is written longer)

    def unnamed(self) -> int:
        size = WORD
        if self.take("Ul"):
            while not self.take("E"):
                if self.peek() == "T" and self.peek(2)[1:] in "yntpk":
                    raise UnknownNameError  # a template parameter's declaration
                size += self.type() + 2
        elif not (self.take("Ut") or self.take("Ub")):
            raise UnknownNameError
        self.until("_")
        return size + 8

    def operator(self) -> int:
        if self.take("cv"):
            return self.type() + WORD
        if self.take("li"):
            return self.source_name() + WORD
        if self.peek(2) not in OPERATORS:
            raise UnknownNameError
        self.at += 2
        return WORD

    # --- references, arguments ---

    def reference(self) -> int:
        """S_, S0_ …, St, Sa …"""
        self.expect("S")
        if self.peek() in _STANDARD:
            self.at += 1
            return self.part(90)
        if self.take("t"):
            return 5
        start = self.at
        self.until("_")
        digits = self.text[start : self.at - 1]
        number = int(digits[:8], 36) + 1 if digits else 0
        last = number + SLACK
        return self.parts[last] if last < len(self.parts) else self.largest

    def parameter(self) -> int:
        self.expect("T")
        self.until("_")
        return self.largest

    def arguments(self) -> int:
        self.enter()
        self.expect("I")
        size, count = 2, 0
        while not self.take("E"):
            size += self.part(self.argument()) + 2
            count += 1
        self.pack = max(self.pack, count)
        self.depth -= 1
        return self.part(size)

    def argument(self) -> int:
        if self.take("X"):
            size = self.expression()
            self.expect("E")
            return size
        if self.peek() == "L":
            return self.literal()
        if self.take("J"):
            size, count = 2, 0
            while not self.take("E"):
                size += self.part(self.argument()) + 2
                count += 1
            self.pack = max(self.pack, count)
            return size
        return self.type()

    def literal(self) -> int:
        self.enter()
        self.expect("L")
        if self.take("_Z"):
            size = self.encoding()
        else:
            size = self.type() + 4
            start = self.at
            while self.peek() not in ("E", ""):
                self.at += 1
            size += self.at - start
        self.expect("E")
        self.depth -= 1
        return size

    # --- types ---

    def type(self) -> int:
        self.enter()
        start = self.at
        while self.take_one(_QUALIFIERS):
            pass
        qualifiers = self.text[start : self.at]
        of_function = self.peek() == "F" or self.peek(2) in ("Do", "DO", "Dw", "Dx")
        size = self.bare_type() + 10 * len(qualifiers)
        levels = len(_LEVELS.findall(qualifiers))
        if of_function and qualifiers.endswith(("r", "V", "K")):
            levels -= 1
        for _ in range(levels):
            self.numbered(size)
        self.depth -= 1
        return self.part(size)

    def bare_type(self) -> int:
        here = self.peek()
        if self.take_one(_BUILTIN):
            return WORD
        if here == "S" and self.peek(2) != "St":
            size = self.reference()
            return self.numbered(size + self.arguments()) if self.peek() == "I" else size
        if here == "T":
            return self.parameter_type()
        if here == "F":
            return self.numbered(self.function())
        if here == "A":
            return self.numbered(self.array())
        if self.take("M"):
            return self.numbered(self.type() + self.type() + 6)
        if here == "U":
            if self.peek(2) in ("Ul", "Ut", "Ub"):
                return self.unqualified()
            self.at += 1
            size = self.source_name() + (self.arguments() if self.peek() == "I" else 0)
            return size + self.type() + 1
        if self.take("u"):
            return self.source_name() + (self.arguments() if self.peek() == "I" else 0)
        if here == "D":
            return self.other_type()
        return self.numbered(self.name())

    def parameter_type(self) -> int:
        for sort in ("Ts", "Tu", "Te"):
            if self.take(sort):
                return self.numbered(self.name() + 8)
        size = self.numbered(self.parameter())
        return self.numbered(size + self.arguments()) if self.peek() == "I" else size

    def function(self) -> int:
        self.expect("F")
        self.take("Y")
        size = WORD
        while not (self.take("E") or self.take("RE") or self.take("OE")):
            size += self.type() + 2
        return size

    def array(self) -> int:
        self.expect("A")
        size = WORD
        if self.peek().isdigit():
            self.number()
        elif self.peek() != "_":
            size += self.expression()
        self.expect("_")
        return size + self.type()

    def other_type(self) -> int:
        kind = self.peek(2)
        self.at += 2
        if kind in ("Dd", "De", "Df", "Dh", "Di", "Ds", "Du", "Dn", "Da", "Dc"):
            return WORD
        if kind == "Dp":
            return self.numbered((self.type() + 2) * self.pack)
        if kind in ("DT", "Dt"):
            size = self.expression() + WORD
            self.expect("E")
            return size
        if kind in ("Do", "DO", "Dw"):
            return self.thrower(kind)
        if kind == "Dv":
            size = WORD
            if self.peek().isdigit():
                self.number()
            elif not self.take("_"):
                size += self.expression()
            self.expect("_")
            return size + self.type()
        if kind == "DF":
            self.number()
            self.until("_")
            return WORD
        raise UnknownNameError

    def thrower(self, kind: str) -> int:
        """A function's type with what it throws."""
        size = WORD
        if kind == "DO":
            size += self.expression()
            self.expect("E")
        while kind == "Dw" and not self.take("E"):
            size += self.type() + 2
        return size + self.function()
