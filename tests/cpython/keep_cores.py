"""Makes the cores in tests/cpython/kept anew: `python -m tests.cpython.keep_cores`.

For each CPython that is installed here: what the walk reads of a process that stands in a scene,
as a core, and beside it what the interpreter said of its threads. The process's other memory is
left out: what is kept is made of scenes.py alone.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import struct
import tempfile
from pathlib import Path

from tests.support.coremaker import make_core, prstatus
from tests.support.pythons import SCENES as SOURCE
from tests.support.pythons import Row, found_in, interpreters, standing
from usercrash.capture.interpreters import FACT, Interpreters, fact_of
from usercrash.cpython.find import identify
from usercrash.cpython.walk import walk
from usercrash.elf.headers import PT_LOAD
from usercrash.model import minicore
from usercrash.model.event import SOURCE_DEBUGGER, CrashEvent
from usercrash.model.notes import NoteLog
from usercrash.model.snapshot import ElfNote
from usercrash.model.types import Pid, Tid

KEPT = Path(__file__).parent / "kept"
SCENES = ("generator", "exception")


class _Memory:
    """A process's memory as Interpreters wants it."""

    def __init__(self, read: object) -> None:
        self._read = read

    def read(self, address: int, size: int) -> bytes:
        return self._read(address, size)  # type: ignore[operator, no-any-return]

    def remembered(self, address: int, size: int) -> bytes:
        return b""


def core_of(version: str, scene: str) -> tuple[bytes, dict[int, list[Row]]]:
    """The core and the stacks of a scene."""
    with (
        tempfile.TemporaryDirectory(prefix="kept-") as place,
        standing(interpreters()[version], scene, source=_copy(place)) as process,
    ):
        found = found_in(process)
        taken = Interpreters(_Memory(process.read), NoteLog())  # type: ignore[arg-type]
        assert found.layout is not None
        found = identify(taken.read, found.path, found.runtime, found.layout.version)
        walked = walk(taken.read, found, (process.pid, 0))
        assert walked is not None
        found.path = b"/usr/bin/python" + version.encode()
        loads = [(PT_LOAD, 6, address, data, len(data)) for address, data in taken.pieces([])]
        event = CrashEvent(SOURCE_DEBUGGER, 0, Pid(process.pid), Tid(process.pid), 0)
        facts = minicore.encode_table({FACT: fact_of(found)})
        notes = [
            _registers(process.pid, walked.threads[-1].pthread),
            ElfNote(minicore.OWNER, minicore.NT_EVENT, minicore.encode_table(event.to_fields())),
            ElfNote(minicore.OWNER, minicore.NT_FACTS, facts),
        ]
        return make_core(notes, loads), process.stacks


def _copy(place: str) -> Path:
    """The scenes under a name that says nothing of this machine."""
    return Path(shutil.copy(SOURCE, place))


def _registers(tid: int, pointer: int) -> ElfNote:
    note = prstatus(tid, 0)
    desc = bytearray(note.desc)
    struct.pack_into("<Q", desc, 112 + 21 * 8, pointer)  # fs_base
    return ElfNote(note.owner, note.type, bytes(desc))


def main() -> None:
    """Keep all versions that there are."""
    os.environ.clear()
    os.environ["PATH"] = "/usr/bin:/bin"
    KEPT.mkdir(exist_ok=True)
    for version in interpreters():
        for scene in SCENES:
            core, stacks = core_of(version, scene)
            name = f"{version}.{scene}"
            (KEPT / f"{name}.core.xz").write_bytes(lzma.compress(core, preset=9))
            (KEPT / f"{name}.json").write_text(json.dumps(stacks, indent=1) + "\n")


if __name__ == "__main__":
    main()
