"""The report without names."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from usercrash.capture.plain_report import escape, plain_report
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.model.event import CrashEvent
from usercrash.model.notes import Note, NoteLog
from usercrash.model.snapshot import ElfNote, Load, Snapshot
from usercrash.model.types import Pid, Tid

EVIL = b"x\n\x1b[2J\xe2\x80\xae\xff\\n\x07"


def prstatus(tid: int, **registers: int) -> ElfNote:
    values = [registers.get(name, 0) for name in ARCH.prstatus_registers]
    desc = bytearray(336)
    struct.pack_into("<h", desc, 12, 11)
    struct.pack_into("<i", desc, 32, tid)
    struct.pack_into("<27Q", desc, 112, *values)
    return ElfNote(b"CORE", 1, bytes(desc))


def snapshot(facts: dict[bytes, bytes], machine: int = 62) -> Snapshot:
    event = CrashEvent("core_pattern", 5, Pid(7), Tid(7), 11, 1, EVIL)
    notes = [prstatus(7, rip=0x401234, rsp=0x7000), prstatus(8, rip=0x402000)]
    loads = [
        Load(0x6000, struct.pack("<512Q", *range(512))),
        Load(0x7000, b"\x34\x12\x40" + bytes(61)),
    ]
    return Snapshot(
        event, machine, 2, notes, loads, facts, [], NoteLog([Note("stage", "what\n", "why")])
    )


def test_it_says_what_is_known() -> None:
    facts = {
        b"comm": b"demo\n", b"exe": b"/bin/demo", b"cmdline": b"demo\0--now\0",
        b"maps": b"00401000-00403000 r-xp 00001000 08:01 17 /bin/demo\n",
        b"status": b"Name:\tdemo\nUid:\t1\t1\t1\t1\n", b"fd/10": b"/tmp/b", b"fd/2": b"/tmp/a",
        b"task/8/comm": b"worker\n",
    }  # fmt: skip
    text = plain_report(snapshot(facts)).decode()
    for part in (
        "demo (pid 7, thread 7): SIGSEGV", "rip      0000000000401234  /bin/demo+0x1234",
        "0000000000007000  0000000000401234  /bin/demo+0x1234", "8 worker pc 0x402000",
        "command line: demo --now", "Uid: 1 1 1 1", "  2: /tmp/a\n  10: /tmp/b",
        "stage: what\\x0a: why",
    ):  # fmt: skip
        assert part in text, part


def test_nothing_imitates_its_lines() -> None:
    names = (b"comm", b"exe", b"cwd", b"cmdline", b"fd/1", b"fd/\n", b"cgroup", b"@hostname")
    facts = dict.fromkeys(names, EVIL + b"\n\nProcess:\n")
    text = plain_report(snapshot(facts)).decode()
    assert text.split("\n").count("Process:") == 1
    assert all(character == "\n" or character.isprintable() for character in text)


def test_an_unknown_architecture_and_nothing_at_all() -> None:
    assert b"Registers: none" in plain_report(snapshot({}, machine=0xFFFF))
    empty = Snapshot(CrashEvent("x", 0, Pid(1), Tid(0), 0), 0, 0, [], [], {}, [], NoteLog())
    assert b"nothing is missing" in plain_report(empty)


def test_escape() -> None:
    assert escape("ü plain".encode()) == "ü plain"
    assert escape(EVIL) == "x\\x0a\\x1b[2J\\xe2\\x80\\xae\\xff\\\\n\\x07"


@given(st.binary(max_size=100))
def test_escape_gives_one_printable_line_and_loses_nothing(raw: bytes) -> None:
    text = escape(raw)
    assert text.isprintable()
    assert "".join(text.split("\n")) == text


@given(st.dictionaries(
    st.sampled_from([b"maps", b"status", b"cmdline", b"comm", b"fd/1", b"limits", b"cgroup"]),
    st.binary(max_size=200),
))  # fmt: skip
def test_any_facts(facts: dict[bytes, bytes]) -> None:
    text = plain_report(snapshot(facts)).decode()
    assert all(character == "\n" or character.isprintable() for character in text)
