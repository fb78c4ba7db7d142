"""What every view promises, whatever a report holds: nothing that steers a terminal, nothing
foreign at the beginning of a line, no line too wide."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support import sample_reports
from tests.support.sample_frames import APP, frame

from usercrash.render.frames import short_functions
from usercrash.render.layout import Paper, clean, columns, duration, moment, size, wrap
from usercrash.render.screen import render_screen
from usercrash.render.text import render_stacks, render_text
from usercrash.render.variables import call_words
from usercrash.render.words import thread_stacks
from usercrash.report import (
    Cause,
    Fingerprint,
    Frame,
    InterpretedFrame,
    InterpretedStack,
    Map,
    MemoryBlock,
    NoteEntry,
    Report,
    System,
    Variable,
    Waiting,
    to_json,
)

# How the lines begin that are ours.
_OURS = re.compile(
    r"\s|$|=+$|-+$|#\d+( |$)|(py|--)  |Crash of |State of |Stacks of |Stack of thread |"
    r"Report |Source of (#|py |--)|"
    r"Equal crashes have the fingerprint|"
    r"\d+ threads with the same stack|Thread|[0-9a-f]+-[0-9a-f]+|--->( |$)|note: |"
    r"(Why|Call|Warning|Signal|Program|Command|Unit|When|User|Note)( |$)|Cause$|"
    r"Variables$|Registers of |Code around |"
    r"Kernel log, |Journal, |Memory near |Stack memory|Other threads|Kernel stacks|"
    r"Process$|Arguments$|Limits \(|"
    r"Environment$|Auxiliary vector|Open files|Modules|Memory map|Notes: |"
    r"(Name|Ids|Executable|Directory|Root|Users|Groups|Capabilities|Security|Started|Ran|State|"
    r"Threads|Memory|OOM score|Container|Traced by|Noticed|Host|Kernel|Boot|Host ran|Cgroup)( |$)"
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def views(report: Report, width: int) -> list[str]:
    return [
        render_text(report, width=width),
        render_text(report, first_screen_only=True, width=width),
        render_stacks(report, width=width),
    ]


def check(text: str, width: int) -> None:
    assert text.endswith("\n")
    for line in text[:-1].split("\n"):
        assert line.isprintable(), line
        assert columns(line) <= width, line
        assert _OURS.match(line) or _OURS.match(line + " "), line


@pytest.mark.parametrize("width", [40, 48, 80, 200])
@pytest.mark.parametrize("name", sample_reports.ALL)
def test_samples(name: str, width: int) -> None:
    for text in views(sample_reports.ALL[name](), width):
        check(text, width)


def first_lines(report: Report, width: int) -> list[str]:
    """The lines of the first screen: never more than 40, and what it is for is on it."""
    lines = render_text(report, first_screen_only=True, width=width)[:-1].split("\n")
    assert len(lines) <= 40, "\n".join(lines)
    assert lines[0].startswith(("Crash of", "State of"))
    assert any(line.strip("=") == "" for line in lines[1:9])
    assert any(line.startswith("Report") for line in lines[-8:])
    return lines


@pytest.mark.parametrize("width", [40, 48, 80, 200])
@pytest.mark.parametrize("name", sample_reports.ALL)
def test_first_screen_is_one(name: str, width: int) -> None:
    lines = first_lines(sample_reports.ALL[name](), width)
    assert any(line.startswith("Stack of thread ") for line in lines)
    if width == 80 and name in ("null_pointer", "overflow", "live"):
        assert "..." not in "".join(line[-4:] for line in lines), "nothing need be cut here"


def test_source_on_the_first_screen_if_there_is_room() -> None:
    """Five lines; three, or none, where facts and frames need the room."""
    report = sample_reports.null_pointer()
    marked = " --> 44          sum += at->value;"
    lines = first_lines(report, 80)
    at = lines.index(marked)
    assert lines[at - 3] == "Source of #1 list_sum+0x2c at /srv/shelfd/src/list.c:44"
    assert [line[:7] for line in lines[at - 2 : at + 3]] == [
        "     42", "     43", " --> 44", "     45", "     46",
    ]  # fmt: skip
    frames = report.threads[0].frames
    threads = [msgspec.structs.replace(report.threads[0], frames=frames * 3), *report.threads[1:]]
    assert marked in first_lines(msgspec.structs.replace(report, threads=threads), 80)
    crowded = msgspec.structs.replace(report, handled_signals=report.handled_signals * 9)
    process = msgspec.structs.replace(report.process, cmdline=["/bin/long", "word " * 900])
    notes = [NoteEntry(stage="modules", what=f"--exe {n} {APP}", why=APP * 3) for n in range(3)]
    circles = [[4242, 4243, 4245]] * 3
    crowded = msgspec.structs.replace(
        crowded, process=process, threads=threads, notes=notes, deadlocks=circles, complete=False
    )
    lines = first_lines(crowded, 80)
    assert marked not in lines and any(line.startswith("#0  list_next") for line in lines)
    assert "         in 6 more handlers" in lines


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    st.sampled_from([*sample_reports.ALL]),
    st.lists(st.integers(0, 60), min_size=7, max_size=7),
    st.sampled_from(["word ", "x", sample_reports.FAKE, "漢字 ", "a/b/"]),
    st.sampled_from([40, 80, 120]),
)
def test_a_first_screen_of_anything(name: str, counts: list[int], text: str, width: int) -> None:
    report = sample_reports.ALL[name]()
    rich = sample_reports.null_pointer()
    handled, circles, words, frames, details, notes, doubts = counts
    first = rich.threads[0]
    waiting = Waiting(number=202, call="futex", arguments=[], kind="lock", summary=text * words)
    first = msgspec.structs.replace(
        first, frames=first.frames * (frames // 4), name=text * words, stack_end=text * words,
        waiting=waiting,
    )  # fmt: skip
    assert rich.cause is not None
    module = msgspec.structs.replace(rich.modules[0], forced=True, path="/" + text * words)
    report = msgspec.structs.replace(
        report,
        threads=[first, *report.threads],
        handled_signals=rich.handled_signals * handled,
        deadlocks=[[4244, 4242, 4243]] * circles,
        process=msgspec.structs.replace(
            rich.process, cmdline=[text] * words * 9, unit=text * words
        ),
        cause=msgspec.structs.replace(
            rich.cause, summary=text * words, details=[text * words] * details
        ),
        notes=[NoteEntry(stage="modules", what=f"--exe {n}", why=text) for n in range(notes)],
        modules=[module] * (doubts % 3),
        excerpts=[
            msgspec.structs.replace(one, file="/" + text * words) for one in rich.excerpts
        ] * (doubts % 2),
        complete=doubts > 30,
    )  # fmt: skip
    first_lines(report, width)


def _replace(value: object, texts: list[str], at: list[int]) -> object:
    """The structure with all of its texts but numbers replaced in turn."""
    if isinstance(value, dict):
        return {key: _replace(one, texts, at) for key, one in value.items()}
    if isinstance(value, list):
        return [_replace(one, texts, at) for one in value]
    if isinstance(value, str) and not re.fullmatch(r"0x[0-9a-f]+|[0-9a-f]*", value):
        at[0] += 1
        return texts[at[0] % len(texts)]
    return value


TEXT = st.text(max_size=150) | st.sampled_from(
    [sample_reports.FAKE, "漢字" * 60, "e\u0301" * 90, " " * 100 + "x", "/" + "p" * 300, "a b\tc"]
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(st.lists(TEXT, min_size=1, max_size=7), st.sampled_from([40, 80]))
def test_any_texts(texts: list[str], width: int) -> None:
    for make in sample_reports.ALL.values():
        plain = msgspec.to_builtins(make())
        report = msgspec.convert(_replace(plain, texts, [0]), Report)
        for text in views(report, width):
            check(text, width)
        first_lines(report, width)
        assert to_json(report)


@pytest.mark.parametrize("part", ["first", "full", "stacks"])
@pytest.mark.parametrize("name", sample_reports.ALL)
def test_colours_change_no_word(name: str, part: str) -> None:
    report = sample_reports.ALL[name]()
    plain = render_screen(report, part=part, color=False)
    coloured = render_screen(report, part=part, color=True)
    assert "\x1b[1;31m" in coloured or part == "stacks"
    lines = _ANSI.sub("", coloured).split("\n")
    assert [line.rstrip() for line in lines] == plain.split("\n")


def test_clean() -> None:
    assert clean("a b") == "a b"
    assert (
        clean("\x1b[2J\n\u202e\u2028\x85\U000e0001")
        == "\\x1b[2J\\x0a\\u202e\\u2028\\x85\\U000e0001"
    )
    assert clean("ключ 漢") == "ключ 漢"


def test_wrap() -> None:
    paper = Paper(40)
    paper.line("word " * 20, indent=4)
    assert all(columns("".join(s.text for s in line)) <= 40 for line in paper.lines)
    assert wrap((), 80, 4) == [()]
    paper = Paper(40)
    paper.fixed_then("head ", "漢" * 30, 8)
    assert all(columns("".join(s.text for s in line)) <= 40 for line in paper.lines)


def test_words() -> None:
    assert duration(0.351) == "0.35 s" and duration(75) == "1 min 15 s"
    assert duration(90000) == "1 day 1 h" and duration(11000) == "3 h 3 min"
    assert size(512) == "512 bytes" and size(1536) == "1.5 KiB"
    assert moment("2026-03-01T03:02:01.5+01:00") == "2026-03-01 03:02:01 +01:00"
    assert moment("x\n") == "x\\x0a"
    assert short_functions("a::b(int (*)(int)) const+0x4") == [
        "a::b(int (*)(int)) const+0x4",
        "a::b(...)+0x4",
        "a::b+0x4",
    ]
    assert short_functions("operator<(A, B)")[1:] == ["operator<(...)", "operator<"]
    assert short_functions("f(int) const (.part.0)+0x4")[1:] == [
        "f(int) const+0x4", "f(...)+0x4", "f+0x4",
    ]  # fmt: skip
    of_lambda = "auto f(std::vector<int>&)::'lambda'(auto&)::operator()<int>(auto&) const"
    assert short_functions(of_lambda)[-1] == "f::{lambda}::operator()"
    unnamed = "int* (anonymous namespace)::Box<int>::get() const+0x8"
    assert short_functions(unnamed)[-1] == "(anonymous namespace)::Box::get+0x8"
    assert short_functions("main+0x4") == ["main+0x4"]


@pytest.mark.parametrize(
    ("order", "size", "line"),
    [
        ("little", 8, "   0000000000001000  1716151413121110 ----------------"),
        ("big", 8, "   0000000000001000  1011121314151617 ----------------"),
        ("little", 4, "   00001000  13121110 17161514 -------- 1f1e1d1c  ................"),
        ("big", 4, "   00001000  10111213 14151617 -------- 1c1d1e1f  ................"),
    ],
)
def test_memory_is_shown_in_the_words_of_the_process(order: str, size: int, line: str) -> None:
    report = sample_reports.ALL["null_pointer"]()
    block = MemoryBlock(
        label="x", address="0x1000", center="0x2000", gaps=[[8, 4]],
        data=bytes(range(0x10, 0x20)).hex(),
    )  # fmt: skip
    system = System(byte_order=order, address_bytes=size)
    text = render_text(msgspec.structs.replace(report, memory=[block], system=system))
    assert line in text


def test_what_the_stack_lacks_is_on_the_first_screen() -> None:
    report = sample_reports.null_pointer()
    thread = report.threads[0]
    frame = msgspec.structs.replace(thread.frames[0], function=None, module="/opt/\x1bprog")
    notes = [
        NoteEntry(stage="core", what="some notes", why="the file is cut short"),
        NoteEntry(stage="modules", what="/opt/\x1bprog", why="refused: its build-id is 12, not 34"),
        NoteEntry(stage="modules", what="/lib/libc.so.6", why="refused: of no matter here"),
        NoteEntry(stage="modules", what="--exe /o", why="refused: it is for another machine"),
    ]
    threads = [msgspec.structs.replace(thread, frames=[frame, *thread.frames[1:]])]
    screen = render_screen(
        msgspec.structs.replace(report, threads=threads, notes=notes), part="first", width=100
    )
    warnings = [line for line in screen.splitlines() if line.startswith("Warning")]
    assert warnings == [
        "Warning  the core is cut short: memory, and with it frames, may be missing",
        "Warning  --exe /o is not used: it is for another machine",
        r"Warning  no names from /opt/\x1bprog: refused: its build-id is 12, not 34",
    ]
    assert "Warning" not in render_screen(report, part="first", width=100)


def test_a_stack_that_a_missing_file_ends_says_so() -> None:
    """A file below a sysroot, of a function that memory names."""
    report = sample_reports.null_pointer()
    frame = msgspec.structs.replace(report.threads[0].frames[0], module="/lib/a.so")
    notes = [
        NoteEntry(stage="modules", what="/root/lib/a.so", why="No such file or directory"),
        NoteEntry(stage="modules", what="/root/lib/b.so", why="No such file or directory"),
    ]
    thread = msgspec.structs.replace(
        report.threads[0], frames=[frame], stack_end="no CFI for 0x1 in /lib/a.so"
    )
    changed = msgspec.structs.replace(report, threads=[thread], notes=notes)
    screen = render_screen(changed, part="first", width=100)
    warnings = [line for line in screen.splitlines() if line.startswith("Warning")]
    assert warnings == ["Warning  no call frames from /root/lib/a.so: No such file or directory"]


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("shop::Cart::add(shop::Item const&, int) const", "shop::Cart::add(node = null)"),
        ("shop::Less::operator()(int)", "shop::Less::operator()(node = null)"),
        ("main.(*Server).Serve", "main.(*Server).Serve(node = null)"),
    ],
)
def test_a_call_has_its_arguments_once(function: str, words: str) -> None:
    report = sample_reports.null_pointer()
    thread = report.threads[0]
    frame = msgspec.structs.replace(thread.frames[0], function=function)
    threads = [msgspec.structs.replace(thread, frames=[frame, *thread.frames[1:]])]
    text = render_text(msgspec.structs.replace(report, threads=threads), first_screen_only=True)
    assert f"Call     {words}" in text.splitlines()


def parameter(name: str, value: str) -> Variable:
    return Variable(kind="parameter", name=name, type="int", value=value)


def call_of(*frames: Frame, first: int, native: int | None = None) -> str:
    """The call on the first screen of a report with these frames."""
    report = sample_reports.null_pointer()
    stacks = []
    if native is not None:
        inner = InterpretedFrame(index=0, function="pay", file="a.py", line=1, native=native)
        stacks = [InterpretedStack(language="python", version="3.11", frames=[inner])]
    thread = msgspec.structs.replace(report.threads[0], frames=list(frames), interpreted=stacks)
    mark = Fingerprint(version=1, key="0" * 16, sort="SIGSEGV", frames=[], first=first)
    return call_words(msgspec.structs.replace(report, threads=[thread], fingerprint=mark))


def test_a_call_is_no_librarys_and_no_interpreters() -> None:
    replace = msgspec.structs.replace
    get = replace(frame(0, "boost::get(X*)", source=("/usr/include/boost/get.hpp", 9), inline=True),
                  variables=[parameter("p", "0x8")])  # fmt: skip
    bare = frame(
        1, "shop::all()::{lambda()#1}::operator()() const", source=("a.cc", 3), inline=True
    )
    bare = replace(bare, variables=[parameter("__closure", "0x7ffe00001000")])
    invoke = replace(get, index=2, function="std::__invoke<X>(X)")
    outer = replace(frame(3, "shop::all(int, char const*)", source=("a.cc", 7)),
                    variables=[parameter("count", "3"),
                               parameter("name", '0x55d0c0a01000 "oak"'),
                               parameter("text", '0x55d0c0a01008 → "elm"'),
                               parameter("list", "0x55d0c0a01010 → {1, 2}")])  # fmt: skip
    words = 'shop::all(count = 3, name = "oak", text = "elm", list = 0x55d0c0a01010)'
    assert call_of(get, bare, invoke, outer, first=1) == words
    assert call_of(get, bare, invoke, outer, first=0) == "boost::get(p = 0x8)"
    assert call_of(get, bare, invoke, outer, first=1, native=1) == ""
    lost = [parameter("count", "<optimized out>")]
    assert call_of(replace(outer, index=0, variables=lost), first=0) == ""


@pytest.mark.parametrize(
    ("ending", "outer", "words"),
    [
        (30, 30, "#0 #1 ... #29 #30 #31 #32 #33 #34 #35 #36 #37 ... #59"),
        (30, 3, "#0 #1 ... #22 #23 #24 #25 #26 #27 #28 #29 #30 #31 #32"),
        (6, 30, "#0 #1 #2 #3 #4 #5 #6 #7 #8 #9 #10 #11 ... #35"),
    ],
)
def test_of_a_long_end_the_programs_functions_are_shown(
    ending: int, outer: int, words: str
) -> None:
    """`outer` functions of the program called what ended it, which takes `ending` frames."""
    report = sample_reports.null_pointer()
    names = [f"raise_{at}" for at in range(ending)] + ["shop::serve(int)"]
    names += [f"caller_{at}" for at in range(outer - 1)]
    frames = [frame(at, name) for at, name in enumerate(names)]
    thread = msgspec.structs.replace(report.threads[0], frames=frames, folds=[])
    mark = Fingerprint(version=1, key="0" * 16, sort="", frames=["shop::serve"], first=ending)
    cause = Cause(kind="abort", summary="abort() called", reason="abort")
    crash = msgspec.structs.replace(
        report, threads=[thread], fingerprint=mark, cause=cause, excerpts=[]
    )
    lines = render_text(crash, first_screen_only=True).splitlines()
    shown = [line.split()[0] for line in lines if line.startswith(("#", "    ..."))]
    assert " ".join(shown) == words
    hidden = sum(int(line.split()[1]) for line in lines if line.startswith("    ..."))
    assert hidden + sum(word[0] == "#" for word in shown) == len(frames)


def test_marks_do_not_cover_other_lines() -> None:
    assert clean("e" + 5 * "\u0301" + "x") == "e" + 5 * "\u0301" + "x"
    assert clean("e" + 7 * "\u0301" + "x") == "e" + 5 * "\u0301" + 2 * "\\u0301" + "x"
    assert clean("\u20dd" * 6) == 5 * "\u20dd" + "\\u20dd"  # (a circle around the one before)
    once = clean("\x1b" + 900 * "\u0301")
    assert clean(once) == once and once.startswith("\\x1b")


def test_stacks_of_threads_have_names_in_the_map() -> None:
    """Where one thread's stack pointer lies above a guard; elsewhere nothing is claimed."""
    base = sample_reports.null_pointer()
    rows = [
        ("0x1000", "0x2000", "---p"), ("0x2000", "0x9000", "rw-p"),
        ("0x9000", "0xa000", "---p"), ("0xa000", "0xf000", "rw-p"), ("0x20000", "0x30000", "rw-p"),
    ]  # fmt: skip
    maps = [Map(start=start, end=end, permissions=access, offset="0x0", path="")
            for start, end, access in rows]  # fmt: skip
    points = {1: "0x8ff0", 2: "0xb000", 3: "0xb800", 4: "0x20008", 5: "0x1008"}
    threads = [
        msgspec.structs.replace(
            base.threads[0], tid=tid,
            frames=[msgspec.structs.replace(base.threads[0].frames[0], sp=sp)],
        )
        for tid, sp in points.items()
    ]  # fmt: skip
    report = msgspec.structs.replace(base, maps=maps, threads=threads)
    assert thread_stacks(report) == {"0x2000": "stack of thread 1"}
    assert "2000-9000 rw-p        0 stack of thread 1\n" in render_text(report)
