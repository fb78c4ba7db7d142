"""What a process's allocator fills memory with, by its environment and its libraries.

glibc (malloc/malloc.c): MALLOC_PERTURB_=N, or the tunable glibc.malloc.perturb, fills blocks that
are freed with N (only those too large for the thread's cache), and new ones with its complement.
jemalloc (option `junk`): 0x5a in freed memory, 0xa5 in new one.
"""

from __future__ import annotations

from collections.abc import Iterable

_JEMALLOC = {
    0x5A: "freed memory (0x5a…, as jemalloc fills it)",
    0xA5: "uninitialized memory (0xa5…, as jemalloc gives it out)",
}
_TUNABLE = b"glibc.malloc.perturb="
_MAX_DIGITS = 12


def fills(environ: bytes, paths: Iterable[bytes]) -> dict[int, str]:
    """Bytes that memory is filled with, and what they mean; empty where that is not known.
    `environ` is as in /proc, `paths` are those of what is mapped."""
    if any(b"libjemalloc" in path.rpartition(b"/")[2] for path in paths):
        return _JEMALLOC
    byte = _perturb(environ)
    if not byte:
        return {}
    return {
        byte ^ 0xFF: f"uninitialized memory ({byte ^ 0xFF:#04x}…, by MALLOC_PERTURB_)",
        byte: f"freed memory ({byte:#04x}…, by MALLOC_PERTURB_)",
    }


def _perturb(environ: bytes) -> int:
    for variable in environ.split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == b"MALLOC_PERTURB_":
            return _number(value)
        if name == b"GLIBC_TUNABLES":
            for setting in value.split(b":"):
                if setting.startswith(_TUNABLE):
                    return _number(setting[len(_TUNABLE) :])
    return 0


def _number(value: bytes) -> int:
    """The lowest byte of a number as strtoul() reads it with base 0; 0 for none."""
    text = value[:_MAX_DIGITS].decode("ascii", "replace").strip()
    try:
        return int(text, 8 if text[:1] == "0" and text[1:].isdigit() else 0) & 0xFF
    except ValueError:
        return 0
