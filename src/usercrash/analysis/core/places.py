"""Where an address lies: in which mapping, or how far from which."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from ...model.maps import Mapping

# An address this near to a mapping's end or start is told as a distance from it; farther
# away nearness says nothing.
NEAR = 1 << 20
_CANONICAL_TOP = 1 << 47  # x86-64 user space ends here (57 bits with five page table levels)
_CANONICAL = ("x86_64", "x32")
_HIDDEN = re.compile(rb"[^\x21-\x7e]")


@dataclass(frozen=True, slots=True)
class StackOwner:
    """A thread and where its stack pointer and its thread control block stand."""

    tid: int
    name: str
    sp: int
    tcb: int
    main: bool


class Places:
    """Names addresses after mappings, and mappings after what they are to the process.

    `mappings` must be sorted by start. `threads` gives anonymous stacks their owners' names.
    `machine` is the architecture's name: some have addresses that no process can have.
    """

    def __init__(
        self,
        mappings: Sequence[Mapping],
        threads: Sequence[StackOwner] = (),
        machine: str = "x86_64",
    ) -> None:
        self.mappings = mappings
        self._canonical = machine in _CANONICAL
        self.threads = threads
        self._starts = [mapping.start for mapping in mappings]
        self._owners: dict[int, StackOwner] | None = None

    def index(self, address: int) -> int:
        """The index of the last mapping that starts at or below the address; −1 for none."""
        return bisect_right(self._starts, address) - 1

    def find(self, address: int) -> Mapping | None:
        """The mapping that holds the address."""
        at = self.index(address)
        if at >= 0 and address < self.mappings[at].end:
            return self.mappings[at]
        return None

    def below(self, address: int) -> Mapping | None:
        """The mapping that holds the address, or the nearest one below it."""
        at = self.index(address)
        return self.mappings[at] if at >= 0 else None

    def above(self, address: int) -> Mapping | None:
        """The nearest mapping that starts above the address."""
        at = self.index(address) + 1
        return self.mappings[at] if at < len(self.mappings) else None

    def is_near(self, address: int) -> bool:
        """Whether an address lies in a mapping or near to one (NEAR)."""
        below, above = self.below(address), self.above(address)
        if below is not None and address < below.end + NEAR:
            return True
        return above is not None and above.start - address < NEAR

    def owner(self, mapping: Mapping) -> StackOwner | None:
        """The thread whose stack the (writable) mapping is. A mapping with the control
        blocks or stack pointers of two threads is nobody's."""
        if self._owners is None:
            self._owners = self._find_owners()
        return self._owners.get(mapping.start)

    def _find_owners(self) -> dict[int, StackOwner]:
        found: dict[int, StackOwner] = {}
        twice = set()
        for thread in self.threads:
            # glibc and musl lay a thread's control block on top of the stack that they
            # mapped for it, so it still tells when the stack pointer is in the guard. The main
            # thread's lies where the loader wanted it.
            for address in (thread.sp, 0 if thread.main else thread.tcb):
                place = self.find(address)
                if place is None or not place.writable or place.path:
                    continue
                if found.setdefault(place.start, thread) is not thread:
                    twice.add(place.start)
        for start in twice:
            del found[start]
        return found

    def is_canonical(self, address: int) -> bool:
        """Whether the processor accepts the address at all (x86-64: 48 bits, sign-extended)."""
        if not self._canonical:
            return True
        return not _CANONICAL_TOP <= address < (1 << 64) - _CANONICAL_TOP

    def name(self, mapping: Mapping) -> str:
        """What the mapping is, in a few words: `[heap]`, `data of libc.so.6`, `the stack of
        thread 12 (worker)`, `anonymous memory`. Escaped: printable ASCII only."""
        path = mapping.path
        if path == b"[stack]":
            return "the main thread's stack"
        if path == b"[heap]":
            return "the heap"
        if path.startswith(b"["):
            return _plain(path)
        if not path:
            owner = self.owner(mapping)
            if owner is not None:
                return f"the stack of thread {owner.tid}" + (
                    f" ({owner.name})" if owner.name else ""
                )
            return "anonymous memory"
        base = _plain(path.rpartition(b"/")[2] or path)
        if mapping.perms.startswith(b"?"):
            return f"a part of {base}"
        if mapping.executable:
            return f"the code of {base}"
        if mapping.writable:
            return f"the data of {base}"
        return f"read-only data of {base}" if mapping.readable else f"a reserved part of {base}"

    def path(self, mapping: Mapping) -> str:
        """The path of a file's mapping (its last 400 bytes), escaped: printable ASCII only."""
        path = mapping.path
        return _HIDDEN.sub(lambda m: b"\\x%02x" % m.group()[0], path[-400:]).decode("ascii")

    def where(self, address: int) -> str:
        """Where the address lies, as the end of a sentence: `in the heap`, `24 bytes past the
        end of the heap`, `not mapped, 3 bytes before the start of …`, `not mapped`."""
        place = self.find(address)
        if place is not None:
            return f"in {self.name(place)}{permission_words(place)}"
        if not self.is_canonical(address):
            return "an impossible (non-canonical) address"
        below, above = self.below(address), self.above(address)
        past = address - below.end if below else None
        before = above.start - address if above else None
        if below and past is not None and past < NEAR and (before is None or past <= before):
            far = f"{count_bytes(past)} past" if past else "right behind"
            return f"not mapped, {far} the end of {self.name(below)}"
        if above and before is not None and before < NEAR:
            return f"not mapped, {count_bytes(before)} before the start of {self.name(above)}"
        return "not mapped"


def permission_words(mapping: Mapping) -> str:
    """What the mapping forbids, in brackets with a space before; empty for writable memory."""
    if mapping.perms.startswith(b"?") or mapping.writable:
        return ""
    if mapping.executable:
        return "" if mapping.readable else " (execute only)"
    if mapping.path[:1] == b"/":
        return ""  # the name says it
    return " (read only)" if mapping.readable else " (no access)"


def count_bytes(count: int) -> str:
    """`1 byte`, `24 bytes`, `12 KiB` or `8 MiB` for whole larger amounts."""
    if count >= 1 << 20 and count % (1 << 20) == 0:
        return f"{count >> 20} MiB"
    if count >= 1 << 12 and count % 1024 == 0:
        return f"{count >> 10} KiB"
    return f"{count} byte" if count == 1 else f"{count} bytes"


def _plain(name: bytes) -> str:
    return _HIDDEN.sub(lambda m: b"\\x%02x" % m.group()[0], name[-80:]).decode("ascii")
