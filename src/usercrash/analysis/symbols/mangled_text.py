"""Where the walk through a C++ name stands, and how large its parts are so far (name_growth)."""

from __future__ import annotations

import re

_MAX_DEPTH = 150
_MAX_STEPS = 40_000
SLACK = 2  # numbers by which the count of parts may be wrong
_NUMBER = re.compile(r"n?[0-9]+")


class UnknownNameError(Exception):
    """Not a name that we can walk, or one that is larger than anybody wants."""


class MangledText:
    """A name of the C++ ABI, and how far it was walked, with what references may mean."""

    def __init__(self, text: str, at: int, most: int) -> None:
        self.most = most
        self.text = text
        self.at = at
        self.largest = 1  # of all parts so far
        self.parts: list[int] = []  # what S_, S0_ … mean: the largest of them up to each
        self.pack = 1  # the most elements that one may have
        self.depth = 0
        self.steps = 0

    def ended(self) -> bool:
        """Whether all of it was walked, but for a suffix of the compiler's."""
        return self.at >= len(self.text) or self.text[self.at] in ".@"

    def peek(self, count: int = 1) -> str:
        return self.text[self.at : self.at + count]

    def take(self, word: str) -> bool:
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False

    def take_one(self, letters: str) -> str:
        """The next letter, if it is one of these; "" if not."""
        here = self.text[self.at : self.at + 1]
        if not here or here not in letters:
            return ""
        self.at += 1
        return here

    def expect(self, word: str) -> None:
        if not self.take(word):
            raise UnknownNameError

    def enter(self) -> None:
        self.steps += 1
        self.depth += 1
        if self.depth > _MAX_DEPTH or self.steps > _MAX_STEPS or self.largest > self.most:
            raise UnknownNameError

    def part(self, size: int) -> int:
        """What a template parameter may mean later."""
        self.largest = max(self.largest, size)
        return size

    def numbered(self, size: int) -> int:
        """What gets the next number, and may be meant by it later. (Rather none than too many: a
        reference counts as the largest part up to its number.)"""
        self.parts.append(max(size, self.parts[-1] if self.parts else 0))
        return self.part(size)

    def number(self) -> None:
        found = _NUMBER.match(self.text, self.at)
        if found is not None:
            self.at = found.end()

    def until(self, end: str) -> None:
        """Over digits and capitals to the end of a reference."""
        while self.peek() != end:
            if not self.peek().isalnum():
                raise UnknownNameError
            self.at += 1
        self.at += 1
