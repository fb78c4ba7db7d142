"""What Node.js says of its end in a diagnostic report, and whose word counts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from tests.runtimes.keep_logs import HERE
from tests.runtimes.test_java import facts_of as facts_of_java
from tests.support.build import need
from tests.support.commands import settings
from tests.support.run_verb import reports, run
from usercrash.analysis.facts.node_report import parse_node_report
from usercrash.analysis.report_parts.node_report import FACT, NodeEnd
from usercrash.capture import own_files
from usercrash.capture.node_report import find_node_reports, is_node, read_node_report
from usercrash.model.event import CrashEvent
from usercrash.model.notes import NoteLog
from usercrash.model.types import Pid, Tid
from usercrash.report import Cause, Report, Signal

HEADER = {
    "reportVersion": 4, "event": "Exception", "trigger": "API",
    "dumpEventTimeStamp": "1795873500000", "processId": 7, "threadId": 0,
    "nodejsVersion": "v20.1.2",
}  # fmt: skip
STACK = {
    "message": "TypeError: größe\n1",
    "stack": [
        "at inner (/srv/my shop (2)/a.js:1:27)", "at  ([eval]:3:9)", "at /srv/b.js:4:5",
        "at new Laden [as x] (node:internal/timers:581:17)", "at nowhere (<anonymous>)",
    ],
}  # fmt: skip
ABORT = Signal(number=6, name="SIGABRT", code=-6, code_name="SI_TKILL")


def text_of(pid: int = 7, *, compact: bool = False, **header: object) -> bytes:
    """A report as Node.js writes it."""
    rest = {"nativeStack": [{"pc": "0x1"}], "environmentVariables": {"TOKEN": "secret"}}
    heap = {"usedMemory": 33_400_000, "memoryLimit": 71_300_000, "heapSpaces": {}}
    parts = {
        "header": HEADER | {"processId": pid} | header,
        "javascriptStack": STACK, "javascriptHeap": heap,
    }  # fmt: skip
    if compact:
        return json.dumps(parts | rest, separators=(",", ":")).encode()
    return b"\n" + json.dumps(parts | rest, indent=2, ensure_ascii=False).encode() + b"\n"


# --- what it says ---


class Image:
    """A core, as far as a NodeEnd asks: it was heard of so many seconds after the report."""

    def __init__(self, data: bytes, after: float = 0.5) -> None:
        self.facts = {FACT: data}
        self.notes = NoteLog()
        moment = int((1795873500 + after) * 1e9)
        self.event = CrashEvent(source="test", time_ns=moment, pid=Pid(7), tid=Tid(7), signal=6)


def end_of(after: float = 0.5, **header: object) -> NodeEnd:
    data = text_of(**header).partition(b'"nativeStack"')[0].rstrip()[:-1] + b"}"  # type: ignore[arg-type]
    return NodeEnd(Image(data, after))  # type: ignore[arg-type]


def test_an_error_that_was_reported_before() -> None:
    """Its stack is not the thread's."""
    end = end_of()
    assert end.stacks() == []
    known = Cause(kind="null-pointer", summary="null pointer", details=["a"])
    found = end.cause(known, ABORT)
    assert (found.kind, found.summary) == ("null-pointer", "null pointer")
    assert found.details[:3] == [
        "a", "Node.js reported (API, 0.5 s before): TypeError: größe 1",
        "at inner (/srv/my shop (2)/a.js:1:27)",
    ]  # fmt: skip
    assert end.cause(known, None) is known


def test_a_fatal_error() -> None:
    """It has the stack of the thread itself, and is the cause where no better one is known."""
    end = end_of(trigger="FatalError", event="no more goods")
    (stack,) = end.stacks()
    assert (stack.language, stack.version, stack.end) == ("javascript", "20.1.2", "")
    assert [(one.function, one.file, one.line) for one in stack.frames] == [
        ("inner", "/srv/my shop (2)/a.js", 1), ("(anonymous)", "[eval]", 3),
        ("(anonymous)", "/srv/b.js", 4), ("new Laden [as x]", "node:internal/timers", 581),
        ("nowhere (<anonymous>)", "", None),
    ]  # fmt: skip
    plain = Cause(kind="abort", summary="abort() called by x", reason="abort")
    found = end.cause(plain, ABORT)
    assert (found.reason, found.certainty) == ("javascript-fatal", "likely")
    assert found.summary == "Node.js ended itself: no more goods"
    better = Cause(kind="abort", summary="an assertion", reason="assertion")
    assert end.cause(better, ABORT).summary == "an assertion"
    fault = Signal(number=11, name="SIGSEGV", code=1, code_name="SEGV_MAPERR")
    assert end.cause(plain, fault).summary == plain.summary


def test_no_memory() -> None:
    end = end_of(trigger="OOMError", event="heap out of memory")
    found = end.cause(Cause(kind="abort", summary="abort()", reason="abort"), ABORT)
    assert (found.reason, found.summary) == (
        "javascript-memory", "Node.js ended itself: heap out of memory"
    )  # fmt: skip
    assert found.details[0] == "V8's heap: 33.4 MB in use, at most 71.3 MB"


@pytest.mark.parametrize("after", [61.0, -6.0])
def test_one_of_another_moment(after: float) -> None:
    known = Cause(kind="abort", summary="abort()")
    end = end_of(after, trigger="FatalError")
    assert end.cause(known, ABORT) is known and end.stacks() == []


@pytest.mark.parametrize("number", [10**400, 1 << 64, -1])
def test_numbers_that_no_heap_has(number: int) -> None:
    """JSON bounds none, and the file may be anybody's."""
    heap = b'"usedMemory":%d,"memoryLimit":1' % number
    text = text_of(compact=True, trigger="OOMError").partition(b'"usedMemory"')[0]
    end = NodeEnd(Image(text + heap + b"}}"))  # type: ignore[arg-type]
    found = Cause(kind="abort", summary="abort()", reason="abort")
    assert end.report is None and end.cause(found, ABORT) is found


@given(st.data())
def test_damaged_reports(data: st.DataObject) -> None:
    text = text_of(compact=True)
    start = data.draw(st.integers(0, len(text)))
    cut = text[:start] + data.draw(st.binary(max_size=40)) + text[start + 20 :]
    found = parse_node_report(cut)
    assert found is None or isinstance(found.seconds, float)
    assert parse_node_report(b"[" * 100_000) is None


# --- which file ---


def facts_of(**more: bytes) -> dict[bytes, bytes]:
    maps = b"400000-500000 r-xp 00000000 08:01 7 /usr/bin/node\n"
    return facts_of_java(**({"maps": maps} | more))


def read(facts: dict[bytes, bytes]) -> bytes:
    proc = os.open("/proc/self", os.O_RDONLY)
    before = len(os.listdir("/proc/self/fd"))
    found = find_node_reports(proc, facts)
    assert len(os.listdir("/proc/self/fd")) == before + len(found)
    try:
        return read_node_report(found, facts)
    finally:
        for fd in (proc, *found):
            os.close(fd)


def name_of(number: int = 1, pid: int = 0) -> str:
    return f"report.20261128.134043.{pid or os.getpid()}.0.{number:03}.json"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(own_files, "SECONDS", 60.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("compact", [False, True])
def test_the_last_one_in_its_directory(place: Path, *, compact: bool) -> None:
    """Without the environment, which follows."""
    assert read(facts_of()) == b""
    for number in (1, 2, 3):
        (place / name_of(number)).write_bytes(
            text_of(os.getpid(), compact=compact, event=f"number {number}")
        )
    (place / name_of(9, pid=1)).write_bytes(text_of(1))
    found = read(facts_of())
    assert json.loads(found)["header"]["event"] == "number 3"
    assert b"secret" not in found and b"nativeStack" not in found
    (place / name_of(3)).write_bytes(text_of(os.getpid(), event="cut")[:300])
    assert json.loads(read(facts_of()))["header"]["event"] == "number 2"


def test_where_its_options_say(place: Path) -> None:
    (place / "logs").mkdir()
    (place / "logs" / name_of()).write_bytes(text_of(os.getpid()))
    assert read(facts_of()) == b""
    absolute = b"node\0--report-directory=" + os.fsencode(place) + b"/logs\0a.js\0"
    assert read(facts_of(cmdline=absolute))
    assert read(facts_of(cmdline=b"node\0--report-directory\0./logs\0a.js\0"))
    assert read(facts_of(environ=b"A=b\0NODE_OPTIONS=--inspect --report-dir=logs\0"))
    assert read(facts_of(cmdline=b"node\0--report-dir=../logs\0")) == b""
    assert read(facts_of(cmdline=b"node\0--report-dir=" + os.fsencode(name_of()) + b"\0")) == b""
    (place / "mine.json").write_bytes(text_of(os.getpid()))
    assert read(facts_of(cmdline=b"node\0--report-filename=mine.json\0a.js\0"))
    assert read(facts_of(cmdline=b"node\0--report-filename=logs/../mine.json\0")) == b""


def test_what_may_be_anothers(place: Path) -> None:
    path = place / name_of()
    path.write_bytes(text_of(os.getpid()))
    assert read(facts_of())
    status = facts_of()[b"status"].partition(b"\n")[2]
    assert read(facts_of(status=b"Uid:\t9\t9\t9\t9\n" + status)) == b""
    os.utime(path, (0, 0))  # before it began
    assert read(facts_of()) == b""
    os.utime(path, (time.time(),) * 2)
    os.link(path, place / "second")
    assert read(facts_of()) == b""
    (place / "second").unlink()
    path.write_bytes(text_of(os.getpid() + 1))
    assert read(facts_of()) == b""
    path.write_bytes(b"root:*:19000\n" + text_of(os.getpid()))
    assert read(facts_of()) == b""


def test_no_link_and_no_pipe(place: Path) -> None:
    path = place / name_of()
    real = place / "real"
    real.write_bytes(text_of(os.getpid()))
    path.symlink_to(real)
    assert read(facts_of()) == b""
    path.unlink()
    os.mkfifo(path)
    assert read(facts_of()) == b""


def test_what_is_node() -> None:
    assert is_node(facts_of()[b"maps"])
    assert is_node(b"7f0000000000-7f0000001000 r-xp 0 08:01 7 /usr/lib/libnode.so.108\n")
    assert not is_node(b"400000-500000 r-xp 00000000 08:01 7 /usr/bin/node_exporter\n")


# --- the real one ---


def native_module(place: Path) -> Path:
    """The module that ends Node.js."""
    module = place / "fatal.node"
    command = [need("gcc", "gcc"), "-shared", "-fPIC", "-o", str(module), str(HERE / "fatal.c")]
    subprocess.run(command, check=True)
    return module


SELLS = [("inner", 4), *[("verkaufe", 9)] * 3, ("(anonymous)", 15)]


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js on this machine")
@pytest.mark.parametrize("kind", ["fatal", "memory", "error"])
def test_a_real_one(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    settings(tmp_path)
    module = native_module(tmp_path)
    flags = ["--report-on-fatalerror", "--max-old-space-size=20"]
    run(place, "node", *flags, str(HERE / "sell.js"), kind, str(module))
    (report,) = (convert(one, Report) for one in reports(place))
    assert report.cause is not None and report.cause.kind == "abort"
    words = "\n".join([report.cause.summary, *report.cause.details])
    assert [one.language for one in report.interpreters] == ["javascript"]
    stacks = report.threads[0].interpreted
    if kind == "fatal":
        assert report.cause.summary == "Node.js ended itself: no more goods: größe 3"
        (stack,) = stacks
        assert [(one.function, one.line) for one in stack.frames[:5]] == SELLS
        assert stack.frames[0].file == str(HERE / "sell.js")
        return
    assert stacks == []
    if kind == "memory":
        assert report.cause.reason == "javascript-memory"
        assert "JavaScript heap out of memory" in words and "V8's heap: " in words
    else:
        assert "s before): TypeError: größe error" in words
        assert f"at inner ({HERE / 'sell.js'}:6:9)" in words
