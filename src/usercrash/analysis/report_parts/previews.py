"""What an address or a number says by itself: the text that lies there, flags, errors."""

from __future__ import annotations

import errno
from collections.abc import Callable

from ..facts.secrets import mask_at

_SHORTEST, _SHOWN = 4, 48  # characters
_LOOKED_AT = 256  # bytes
_IN_TEXTS = "\t\n\r"
# x86's flags (Intel SDM volume 1, 3.4.3): those that programs change
_FLAGS = {
    0: "CF", 2: "PF", 4: "AF", 6: "ZF", 7: "SF", 8: "TF", 9: "IF", 10: "DF", 11: "OF", 14: "NT",
    16: "RF", 18: "AC", 21: "ID",
}  # fmt: skip
# The kernel's own (<linux/errno.h>): calls that a signal interrupted, to be begun again
_RESTARTS = {512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND",
             516: "ERESTART_RESTARTBLOCK"}  # fmt: skip

Read = Callable[[int, int], bytes]


def text_at(read: Read, address: int) -> str:
    """The text at an address in quotes, with everything escaped that is not printable; "" where
    there is none of at least four characters that ends with a NUL (or fills what is looked at).
    Secrets are masked as in the environment and the arguments."""
    data = read(address, _LOOKED_AT)
    text, whole = _decoded(data)
    if len(text) < _SHORTEST:
        return ""
    plain = data.partition(b"\0")[0]
    masked = mask_at(read, address, plain)
    if masked != plain:
        text, whole = masked.decode("utf-8", "replace"), True
    more = "" if whole and len(text) <= _SHOWN else "…"
    return f'"{escaped(text[:_SHOWN])}"{more}'


def _decoded(data: bytes) -> tuple[str, bool]:
    """The text in front of a NUL, and whether there is one; "" for what is no text."""
    text, nul, _ = data.partition(b"\0")
    if not nul and len(data) < _LOOKED_AT:
        return "", False
    if len(text) < _SHORTEST or text[0] < 9:
        return "", False
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        if nul or error.start < len(text) - 3:
            return "", False
        decoded = text[: error.start].decode()
    shown = decoded.translate(str.maketrans("", "", _IN_TEXTS))
    return (decoded, bool(nul)) if shown.isprintable() else ("", False)


def escaped(text: str) -> str:
    """Printable text on one line, without quotes that would end it."""
    parts = []
    for character in text:
        if character in '"\\':
            parts.append("\\" + character)
        elif character.isprintable():
            parts.append(character)
        else:
            parts.append(character.encode("unicode_escape", "surrogatepass").decode("ascii"))
    return "".join(parts)


def flag_words(value: int) -> str:
    """The names of the flags that are set in x86's flags register."""
    return " ".join(name for bit, name in _FLAGS.items() if value >> bit & 1)


def error_words(value: int, bits: int) -> str:
    """`-EINTR` for what a system call returns for an error, "" for other numbers."""
    number = (1 << bits) - value
    if not 0 < number < 4096:
        return ""
    name = errno.errorcode.get(number) or _RESTARTS.get(number)
    return f"-{name}" if name else ""
