"""Whole reports: of cores that gdb wrote (no facts at all), of cores made by hand, of garbage."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.analysed import analyse
from tests.support.build import build, programs
from tests.support.coremaker import make_core, prstatus, siginfo
from tests.support.gcore import core_of

from usercrash.analysis.assemble import assemble
from usercrash.analysis.instructions.disassembly import listing
from usercrash.analysis.limits import AssembleLimits
from usercrash.analysis.report_parts.cycles import Cycle, find_cycles
from usercrash.analysis.report_parts.memory import memory_block
from usercrash.elf.arch.x86_64 import ARCH
from usercrash.errors import FormatError
from usercrash.model import minicore
from usercrash.model.event import SOURCE_PIPE, CrashEvent
from usercrash.model.snapshot import ElfNote
from usercrash.model.types import Pid, Tid
from usercrash.render.text import render_text
from usercrash.report import Report, from_json, to_json

# Programs whose cause a core without siginfo's helpers and without facts must tell, too.
PLAIN = [
    "null_chain/debug", "null_chain/stripped", "call_null", "call_garbage/heap", "divide",
    "assertion", "double_free", "smash", "overflow/main", "overflow/worker", "handler/altstack",
    "noncanonical", "readonly", "trap", "uncaught", "worker/debug", "inlined/o2", "bus",
]  # fmt: skip


def report_of(core: Path | bytes, limits: AssembleLimits | None = None) -> Report:
    crash = analyse(core)
    return assemble(crash.image, crash.modules, crash.symbolizer, "0" * 32, limits)


@pytest.mark.parametrize("name", PLAIN)
def test_core_without_facts(name: str, tmp_path: Path) -> None:
    program = programs()[name]
    report = report_of(core_of(build(program), tmp_path))
    assert report.complete, report.notes
    assert report.signal is not None and report.signal.name == program.signal
    assert report.cause is not None and report.cause.kind == program.cause
    assert report.cause.certainty in ("certain", "likely")
    if program.message:
        assert program.message in (report.cause.abort_message or "")
    assert report.process.exe.endswith(report.process.comm[:15])
    assert report.process.uid is not None
    frames = [frame for frame in report.threads[0].frames if frame.source or frame.function]
    assert frames
    assert from_json(to_json(report)) == report
    assert "Crash of" in render_text(report)


def test_without_variables_the_rest_is_the_same(tmp_path: Path) -> None:
    """As configured, and in an analysis that must be careful."""
    core = core_of(build(programs()["null_chain/debug"]), tmp_path)
    bare = report_of(core, AssembleLimits(native_variables=False))
    assert bare.complete, bare.notes
    assert bare.cause is not None and bare.cause.kind == "null-pointer"
    assert not any(frame.variables for frame in bare.threads[0].frames)
    assert any(frame.variables for frame in report_of(core).threads[0].frames)


def test_recursion_is_folded_and_counted(tmp_path: Path) -> None:
    report = report_of(core_of(build(programs()["overflow/main"]), tmp_path))
    thread = report.threads[0]
    assert thread.frames_total > 1000 and len(thread.frames) <= 256
    assert len(thread.folds) == 1 and thread.folds[0].times > 1000
    assert thread.frames[-1].index == thread.frames_total - 1
    assert [frame.function for frame in thread.frames[-3:]][-1] == "_start"
    text = render_text(report, first_screen_only=True)
    assert "more times" in text and "main" in text


def test_handled_signal(tmp_path: Path) -> None:
    report = report_of(core_of(build(programs()["handler/altstack"]), tmp_path))
    assert [one.signal.name for one in report.handled_signals] == ["SIGUSR1"]
    index = report.handled_signals[0].frame
    frames = {frame.index: frame for frame in report.threads[0].frames}
    assert frames[index - 1].signal_frame
    assert "<signal handler called: SIGUSR1>" in render_text(report)


def test_inlined_functions_share_an_address(tmp_path: Path) -> None:
    report = report_of(core_of(build(programs()["inlined/o2"]), tmp_path))
    frames = report.threads[0].frames
    assert [frame.index for frame in frames] == list(range(len(frames)))
    inlined = [frame for frame in frames if frame.inline]
    assert inlined
    for frame in inlined:
        assert frames[frame.index + 1].pc == frame.pc


# --- cores made by hand ---


def minicore_of(facts: dict[bytes, bytes], threads: int = 1, signal: int = 11) -> bytes:
    event = CrashEvent(SOURCE_PIPE, 1_700_000_000_000_000_000, Pid(100), Tid(100), signal)
    notes = [prstatus(100, signal), siginfo(signal)]
    notes += [prstatus(101 + number, 0) for number in range(threads - 1)]
    notes += [
        ElfNote(minicore.OWNER, minicore.NT_EVENT, minicore.encode_table(event.to_fields())),
        ElfNote(minicore.OWNER, minicore.NT_FACTS, minicore.encode_table(facts)),
    ]
    return make_core(notes)


def test_live_dump() -> None:
    report = report_of(minicore_of({}, signal=0))
    assert report.signal is None and not report.threads[0].crashed
    assert report.cause is not None and report.cause.kind == "none"
    assert "which runs on" in render_text(report)


def test_huge_process_makes_a_bounded_report() -> None:
    bad = b"\xff\x01" * 2000
    maps = b"".join(
        b"%x-%x rw-p 00000000 08:01 5 /%s\n" % (n << 12, (n << 12) + 4096, bad[:3000])
        for n in range(1, 60_000)
    )
    facts = {b"maps": maps, b"environ": (b"A=" + bad + b"\0") * 600, b"cmdline": bad * 300}
    facts |= {b"fd/%d" % n: b"/" + bad for n in range(5000)}
    facts |= {b"fdinfo/%d" % n: b"pos:\t1\nflags:\t02\n" for n in range(5000)}
    facts |= {b"task/%d/comm" % n: b"\xff\n\x1b" for n in range(100, 3100)}
    facts |= {
        b"task/%d/stack" % n: (b"[<0>] " + b"\xff" * 300 + b"\n") * 64 for n in range(100, 3100)
    }
    facts |= {b"cgroup": b"\xff" * 60_000 + b"\n" * 100, b"limits": b"\xff\n" * 5000}
    report = report_of(minicore_of(facts, threads=3000))
    data, text = to_json(report), render_text(report)
    assert len(data) + len(text.encode()) < 16 << 20
    assert {note.stage for note in report.notes} >= {"report"}
    assert from_json(data) == report


def test_fault_address_in_a_long_map_is_kept() -> None:
    maps = b"".join(
        b"%x-%x rw-p 00000000 00:00 0\n" % (n << 13, (n << 13) + 4096) for n in range(1, 50_000)
    )
    event = CrashEvent(SOURCE_PIPE, 1, Pid(100), Tid(100), 11)
    info = struct.pack("<iiiiQ", 11, 0, 1, 0, (40_000 << 13) + 5000).ljust(128, b"\0")
    core = make_core([
        prstatus(100, 11), ElfNote(b"CORE", 0x53494749, info),
        ElfNote(minicore.OWNER, minicore.NT_EVENT, minicore.encode_table(event.to_fields())),
        ElfNote(minicore.OWNER, minicore.NT_FACTS, minicore.encode_table({b"maps": maps})),
    ])  # fmt: skip
    report = report_of(core)
    assert len(report.maps) <= 10_000
    assert any(row.start == hex(40_000 << 13) for row in report.maps)
    assert "between: 0x388 past the one" in render_text(report)


FACTS = st.dictionaries(
    st.sampled_from([
        b"maps", b"status", b"stat", b"cmdline", b"environ", b"cgroup", b"limits", b"fd/1",
        b"fdinfo/1", b"task/100/comm", b"task/100/stack", b"task/100/stat", b"@net/tcp",
        b"@net/unix", b"@sender_comm", b"exe", b"@uptime", b"@clk_tck",
    ]),
    st.binary(max_size=80)
    | st.sampled_from([
        b"0-ffffffffffffffffffff rwxp 0 0:0 0 [stack]\n", b"1000-2000 r-xp 0 0:0 0 /x\n",
        b"5000-1000 rw-p 0 0 0\n", b"socket:[1]", b"9" * 40,
    ]),
)  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(FACTS, st.sampled_from([0, 3, 5, 6, 8, 11, 31, 64]), st.integers(1, 4))
def test_any_facts(facts: dict[bytes, bytes], signal: int, threads: int) -> None:
    report = report_of(minicore_of(facts, threads, signal))
    assert report.complete, report.notes
    assert from_json(to_json(report)) == report
    assert render_text(report)


@cache
def _real_core() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        return core_of(build(programs()["null_chain/static"]), Path(place)).read_bytes()


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(st.lists(st.tuples(st.integers(0, 8000), st.integers(0, 255)), max_size=40))
def test_damaged_core(changes: list[tuple[int, int]]) -> None:
    data = bytearray(_real_core())
    for at, value in changes:
        data[at % len(data)] = value
    try:
        report = report_of(bytes(data))
    except FormatError:
        return
    assert report.complete, report.notes
    assert to_json(report) and render_text(report)


def test_a_failing_part_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a fault of ours\n")

    monkeypatch.setattr("usercrash.analysis.assemble.open_files", broken)
    report = report_of(minicore_of({}))
    assert not report.complete
    assert any("ValueError: a fault of ours" in note.why for note in report.notes)
    assert "incomplete" in render_text(report)


# --- the parts ---


def test_cycles() -> None:
    assert find_cycles([1, 2, 3]) == []
    assert find_cycles([9, *[1] * 10, 8]) == [Cycle(1, 1, 10)]
    assert find_cycles([9, *[1, 2, 3] * 5, 1, 8]) == [Cycle(1, 3, 5)]
    assert find_cycles([1, 1, 1]) == []  # too short to be worth a line
    assert find_cycles([*[1] * 9, 5, *[2, 3] * 9]) == [Cycle(0, 1, 9), Cycle(10, 2, 9)]


@given(st.lists(st.integers(0, 3), max_size=200))
def test_cycles_say_what_is_there(pcs: list[int]) -> None:
    end = 0
    for cycle in find_cycles(pcs):
        assert cycle.start >= end
        end = cycle.start + cycle.length * cycle.times
        assert end <= len(pcs)
        one = pcs[cycle.start : cycle.start + cycle.length]
        assert pcs[cycle.start : end] == one * cycle.times


def test_listing_meets_the_pc() -> None:
    code = b"\x55\x48\x89\xe5\x48\x83\xec\x10\x8b\x07\xc9\xc3"
    lines = listing(ARCH, code, 0x1000, 0x1008, 0x1000, 8, 2)
    assert [line.text for line in lines] == [
        "push rbp", "mov rbp, rsp", "sub rsp, 0x10", "mov eax, dword ptr [rdi]", "leave", "ret",
    ]  # fmt: skip
    assert listing(ARCH, code, 0x1000, 0x1008, None, 8, 2)[-3].address == 0x1008
    assert listing(ARCH, b"\x06\x06", 0x1000, 0x1000, None, 8, 2)[0].text == ""


def test_memory_with_gaps() -> None:
    known = {0x1010: b"a" * 16, 0x1028: b"b" * 24}

    def read(address: int, size: int) -> bytes:
        for start, data in known.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + size]
        return b""

    block = memory_block(read, "rax", 0x1020, "in the heap")
    assert block is not None
    data = bytes.fromhex(block.data)
    base = int(block.address, 16)
    assert data[0x1010 - base : 0x1020 - base] == b"a" * 16
    assert data[0x1028 - base : 0x1040 - base] == b"b" * 24
    missing = {at for start, length in block.gaps for at in range(start, start + length)}
    assert missing == {at for at in range(len(data)) if not read(base + at, 1)}
    assert memory_block(read, "rax", 0x9000, "") is None
