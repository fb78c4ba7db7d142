"""Every kind of crash, in a core that gdb wrote: the frames that gdb sees in it.

Where ours differ, the table below says why.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.support.analysed import Analysed, Group, analyse, their_groups
from tests.support.build import build, programs
from tests.support.gcore import core_of
from tests.support.oracle import gdb_frames

PROGRAMS = [
    "abort/dynamic", "abort/static", "assertion", "bus", "call_garbage/heap",
    "call_garbage/non-canonical", "call_garbage/unmapped", "call_null", "divide", "double_free",
    "handler/altstack", "handler/same-stack", "inlined/dwarf4", "inlined/no-debug", "inlined/o0",
    "inlined/o2", "noncanonical", "noreturn", "null_chain/compressed-debug", "null_chain/debug",
    "null_chain/debug-frame-only", "null_chain/frame-pointer-only", "null_chain/no-debug",
    "null_chain/no-eh-frame-hdr", "null_chain/nopie", "null_chain/o2", "null_chain/static",
    "null_chain/static-pie", "null_chain/static-stripped", "null_chain/stripped",
    "overflow/main", "overflow/worker", "python_ctypes", "readonly", "shared/bindnow",
    "shared/debug", "smash", "trap", "uncaught", "worker/debug", "worker/static",
]  # fmt: skip

LIMIT = 1000  # frames compared of one stack

# A name that gdb has otherwise, by the name that we have, and why.
NAMES = {
    "twice<shop::serve::<lambda>>": "gdb adds the namespaces around an inlined function without a"
    " linkage name (GCC writes none for anonymous namespaces); symbolic gives its own name only",
    "shop::serve::<lambda>::operator": "our name is the linkage name, gdb's only the last part",
}


class Crash:
    def __init__(self, ours: Analysed, theirs: dict[int, list[Group]]) -> None:
        self.ours = ours
        self.theirs = theirs


@pytest.fixture(scope="module", params=PROGRAMS)
def crash(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Crash:
    built = build(programs()[request.param])
    core = core_of(built, tmp_path_factory.mktemp("core"))
    theirs = gdb_frames(core, built.exe, LIMIT)
    core_data = analyse(core)
    core.unlink()
    return Crash(core_data, {tid: their_groups(frames) for tid, frames in theirs.items()})


def _per_thread(crash: Crash, look: Callable[[list[Group], list[Group], str], None]) -> None:
    assert len(crash.ours.image.threads) == len(crash.theirs)
    for number, thread in enumerate(crash.ours.image.threads):
        stack = crash.ours.stack(number)
        theirs = crash.theirs[thread.tid]
        look(crash.ours.groups(stack, LIMIT), theirs[:LIMIT], stack.end)


def test_same_pcs(crash: Crash) -> None:
    def look(ours: list[Group], theirs: list[Group], end: str) -> None:
        assert [hex(pc) for pc, _ in ours] == [hex(pc) for pc, _ in theirs], end
        assert end == "end of stack"

    _per_thread(crash, look)


def test_same_names(crash: Crash) -> None:
    def look(ours: list[Group], theirs: list[Group], end: str) -> None:
        for (pc, mine), (_, other) in zip(ours, theirs, strict=True):
            assert len(mine) == len(other), hex(pc)
            for name, wanted in zip(mine, other, strict=True):
                assert name == wanted or name in NAMES, hex(pc)

    _per_thread(crash, look)


def test_nothing_is_odd(crash: Crash) -> None:
    image = crash.ours.image
    assert [str(note) for note in image.notes] == []
    for module in crash.ours.modules:
        assert module.elf is not None, module.path
        assert module.frames is not None
        assert module.frames.problems == [], module.path


def test_the_crashing_thread_is_first(crash: Crash) -> None:
    first = crash.ours.image.threads[0]
    assert int.from_bytes(first.siginfo[:4], "little") == first.signal != 0
