"""How much of a value is written."""

from __future__ import annotations

from ..facts.secrets import MASK

MAX_CHARACTERS = 600  # of one value
MAX_DEPTH = 4  # of records and arrays in each other
MAX_MEMBERS = 32
MAX_ELEMENTS = 16  # shown
MAX_READ_ELEMENTS = 256
MAX_STRING = 120  # characters
MASKED = MASK.decode()
