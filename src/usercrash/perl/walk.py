"""From an interpreter to its calls, as caller() tells them (pp_ctl.c, dopopto_sub_at).

PL_curinterp → PL_curcop (the statement that runs) and PL_curstackinfo → stacks of contexts,
one for each level that C code entered anew (sort, tie, overload, signal handlers), innermost
first. A context of a sub, a format or an eval is a frame; the statement that called it stands in
`blk_oldcop`.
"""

from __future__ import annotations

import time
from _struct import Struct

from ..interpreter_calls import MAX_MODULES, MOST, Found, Frame, Walked, is_place, word_at
from ..model.types import TYPE_CHECKING
from .layout import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..interpreter_calls import Read, Symbol

INTERPRETER = b"PL_curinterp"
_SIZE, _VERSION = b"PL_interp_size", (b"PL_revision", b"PL_version", b"PL_subversion")
MAIN, EVAL = b"(main program)", b"(eval)"
_WORD, _INT, _HALF = Struct("<Q"), Struct("<i"), Struct("<H")
_MAX_LEVELS = 1000
_BLOCK = 256  # contexts that are read at once
_MAX_CONTEXTS = 200_000  # of one level
_ALL_CONTEXTS = 400_000  # of all levels: they may share theirs
_MAX_NAME = 512
_MAX_FILE = 1024
_TYPE = 0x0F  # CXTYPEMASK
_OP_TYPE = 0x1FF
_UTF8 = 1  # HVhek_UTF8
_LEVEL_MAIN = 1  # PERLSI_MAIN


def is_perl(path: bytes) -> bool:
    """Whether a module's name is that of an interpreter."""
    base = path.rpartition(b"/")[2]
    return base.startswith((b"libperl.so", b"perl5.")) or base == b"perl"


def known(path: bytes, address: int, version: tuple[int, int, int], size: int) -> Found:
    """An interpreter whose structure is of this version and size."""
    return Found(path, address, version, size, TABLES.get((version[:2], size)))


def find(read: Read, modules: Iterable[tuple[bytes, int]], symbol: Symbol) -> Found | None:
    """The interpreter among `modules` (path, start address), None if there is none that runs."""
    named = [module for module in modules if is_perl(module[0])]
    for path, start in sorted(named, key=lambda one: b"libperl" not in one[0])[:MAX_MODULES]:
        place = symbol(start, INTERPRETER)
        if not place:
            continue
        numbers = [read(symbol(start, name), 1) for name in _VERSION]
        size = read(symbol(start, _SIZE), 2)
        address = read(place, 8)
        if len(size) == 2 and len(address) == 8 and all(numbers):
            major, minor, patch = (number[0] for number in numbers)
            where = _WORD.unpack(address)[0]
            return known(path, where, (major, minor, patch), _HALF.unpack(size)[0])
    return None


def walk(read: Read, found: Found, most: int = MOST, seconds: float = 0.0) -> Walked | None:
    """The calls of the interpreter's main thread, at most so many, and what can be read in so many
    seconds (0: no bound); None where its structures are not as they should be, or it runs
    nothing."""
    if found.layout is None or not is_place(found.address):
        return None
    return _Walk(read, found.layout, found.address, most, seconds).run()


class _Level:
    """A struct stackinfo: its contexts and how many there are, and the level around it."""

    __slots__ = ("address", "contexts", "kind", "last", "most", "previous")

    def __init__(self, address: int, data: bytes, at: dict[str, int]) -> None:
        self.address = address
        self.last = _INT.unpack_from(data, at["si_cxix"])[0]
        self.most = _INT.unpack_from(data, at["si_cxmax"])[0]
        self.kind = _INT.unpack_from(data, at["si_type"])[0]
        self.contexts = _WORD.unpack_from(data, at["si_cxstack"])[0]
        self.previous = _WORD.unpack_from(data, at["si_prev"])[0]


class _Walk:
    def __init__(
        self, read: Read, layout: dict[str, int], address: int, most: int, seconds: float
    ) -> None:
        self._read = read
        self._at = layout
        self._address = address
        self._most = most
        self._until = time.monotonic() + seconds if seconds else 0.0
        self._left = _ALL_CONTEXTS
        self._walked = Walked()
        self._place = (b"", 0)  # of the statement that runs in the frame that comes next
        self._names: dict[int, bytes] = {}
        self._files: dict[int, bytes] = {}

    def run(self) -> Walked | None:
        at = self._at
        place = self._statement(self._word(self._address + at["curcop"]))
        level = self._level(self._word(self._address + at["curstackinfo"]))
        if place is None or level is None:
            return None
        self._place = place
        seen: set[int] = set()
        while level is not None and level.address not in seen and len(seen) < _MAX_LEVELS:
            seen.add(level.address)
            if not self._calls(level):
                return self._walked
            level = self._level(level.previous)
        self._walked.end = "a stack of its contexts is damaged"
        return self._walked

    def _level(self, address: int) -> _Level | None:
        """The struct stackinfo at an address; None where there is none."""
        at = self._at
        size = at["si_type"] + 4
        data = self._read(address, size) if is_place(address) else b""
        if len(data) < size:
            return None
        level = _Level(address, data, at)
        stack = _WORD.unpack_from(data, at["si_stack"])[0]
        known = -1 <= level.last <= level.most <= _MAX_CONTEXTS and is_place(level.contexts)
        return level if known and self._kind(stack) == at["sv_av"] else None

    def _calls(self, level: _Level) -> bool:
        """Adds the calls of a level; whether there is another one to look at. `end` says what was
        amiss."""
        walked = self._walked
        inner = len(walked.frames)
        for context in self._contexts(level):
            frame = self._frame(context, self._place)
            if frame is None:
                continue
            count = len(walked.frames)
            if count >= self._most:
                walked.end = f"only {count:,} frames were read"
                return False
            walked.frames.append(frame)
            if frame.entry and frame.name != EVAL:
                walked.runs.append(count + 1)
            caller = self._statement(_WORD.unpack_from(context, self._at["cx_oldcop"])[0])
            if caller is None:
                walked.end = "the statement of a caller is damaged"
                return False
            self._place = caller
        if walked.end:
            return False
        if level.kind == _LEVEL_MAIN:
            walked.frames.append(Frame(MAIN, self._place, entry=True))
            walked.runs.append(len(walked.frames))
            return False
        last = walked.runs[-1] if walked.runs else 0
        rest = [one for one in walked.frames[max(last, inner) :] if not one.entry]
        if rest or last <= inner:  # the block of a sort, code in a pattern: run without a call
            walked.runs.append(len(walked.frames))
            if rest:
                walked.frames[-1].entry = True
        return True

    def _contexts(self, level: _Level) -> Iterator[bytes]:
        """The contexts of a level, innermost first; sets `end` where they are not there."""
        size = self._at["cx_size"]
        count = level.last + 1
        while count:
            if self._left <= 0 or self._late():  # (most contexts may be of no call)
                self._walked.end = f"only {len(self._walked.frames):,} frames were read"
                return
            start = max(count - _BLOCK, 0)
            self._left -= count - start
            data = self._read(level.contexts + start * size, (count - start) * size)
            if len(data) < (count - start) * size:
                self._walked.end = "its contexts are not in memory"
                return
            for number in range(count - start - 1, -1, -1):
                yield data[number * size : (number + 1) * size]
            count = start

    def _late(self) -> bool:
        return bool(self._until) and time.monotonic() > self._until

    def _frame(self, context: bytes, place: tuple[bytes, int]) -> Frame | None:
        """The call that a context is of; None for one of a loop or a block."""
        at = self._at
        kind = context[at["cx_type"]] & _TYPE
        entry = not _WORD.unpack_from(context, at["cx_retop"])[0]
        if kind == at["cx_eval"]:
            return Frame(EVAL, place, entry)
        if kind not in (at["cx_sub"], at["cx_format"]):
            return None
        if kind == at["cx_sub"] and context[at["cx_type"]] & at["cx_fake"]:
            return None  # code in a pattern stands there as another call of its sub
        return Frame(self._name(_WORD.unpack_from(context, at["cx_cv"])[0]), place, entry)

    def _statement(self, address: int) -> tuple[bytes, int] | None:
        """File and line of a COP; None if there is none at the address."""
        at = self._at
        data = self._read(address, at["cop_size"]) if is_place(address) else b""
        if len(data) < at["cop_size"]:
            return None
        kind = _HALF.unpack_from(data, at["cop_type"])[0] & _OP_TYPE
        known = (at["op_nextstate"], at["op_dbstate"])
        if kind == 0:  # OP_NULL: such an op keeps what it was (op_null() in op.c)
            kind = _WORD.unpack_from(data, at["op_targ"])[0]
        if kind not in known and address != self._address + at["compiling"]:
            return None
        line = _INT.unpack_from(data, at["cop_line"])[0]
        file = _WORD.unpack_from(data, at["cop_file"])[0]
        if file not in self._files:
            text, end, _ = self._read(file, _MAX_FILE).partition(b"\0") if file else (b"", b"", b"")
            self._files[file] = text if end else b""
        return self._files[file], max(line, 0)

    # --- names ---

    def _name(self, cv: int) -> bytes:
        if cv not in self._names:
            self._names[cv] = self._named(cv)
        return self._names[cv]

    def _named(self, cv: int) -> bytes:
        """`Package::name` of a sub, as CvGV or CvNAME_HEK has it; b"" where it has none."""
        at = self._at
        if self._kind(cv) not in (at["sv_cv"], at["sv_fm"]):
            return b""
        body = self._word(cv + at["sv_any"])
        flags = self._read(body + at["cv_flags"], 4)
        if not is_place(body) or len(flags) < 4:
            return b""
        where = self._word(body + at["cv_gv"])
        if _INT.unpack(flags)[0] & at["cv_named"]:
            return self._joined(self._word(body + at["cv_stash"]), where)
        if self._kind(where) != at["sv_gv"]:
            return b""
        own = self._word(self._word(where + at["sv_u"]) + at["gp_egv"])
        body = self._word((own if self._kind(own) == at["sv_gv"] else where) + at["sv_any"])
        return self._joined(self._word(body + at["gv_stash"]), self._word(body + at["gv_name"]))

    def _joined(self, stash: int, name: int) -> bytes:
        at = self._at
        own = self._key(name)
        if not own or self._kind(stash) != at["sv_hv"]:
            return own
        flags = _INT.unpack(self._read(stash + at["sv_flags"], 4))[0]
        aux = self._word(stash + at["sv_any"]) + at["hv_aux"]
        if not flags & at["hv_ook"]:
            return own
        text = self._word(aux)
        count = self._read(aux + at["hv_name_count"], 4)
        if any(count):
            text = self._word(text)
        package = self._key(text)
        return package + b"::" + own if package else own

    def _key(self, address: int) -> bytes:
        """The text of a HEK, in UTF-8."""
        at = self._at
        length = self._read(address + at["hek_length"], 4) if address else b""
        size = _INT.unpack(length)[0] if len(length) == 4 else 0
        if not 0 < size <= _MAX_NAME:
            return b""
        data = self._read(address + at["hek_key"], size + 2)
        if len(data) < size + 2:
            return b""
        text = data[:size]
        return text if data[size + 1] & _UTF8 else text.decode("latin-1").encode()

    def _kind(self, address: int) -> int:
        """The type of a Perl value, -1 where there is none."""
        flags = self._read(address + self._at["sv_flags"], 4) if is_place(address) else b""
        return flags[0] if len(flags) == 4 else -1

    def _word(self, address: int) -> int:
        return word_at(self._read, address)
