"""What a Java virtual machine says of its end, and whose word counts."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runtimes.keep_logs import KEPT
from usercrash.analysis.facts.hs_err import method, parse_hs_err
from usercrash.analysis.report_parts.java_stack import JavaStack
from usercrash.capture import own_files
from usercrash.capture.hs_err import FACT, find_hs_err, read_hs_err
from usercrash.report import Cause, Frame, InterpretedStack, Signal

LOGS = sorted(KEPT.glob("*.log"))
ORDER = [
    "jdk.internal.misc.Unsafe.putLong(Object, long, long)",
    "jdk.internal.misc.Unsafe.putLong(long, long)",
    "sun.misc.Unsafe.putLong(long, long)",
    "Shop.store(long)",
    *["Shop.order(int)"] * 4,
    "Shop.lambda$main$0()",
]


@pytest.mark.parametrize("version", ["java17", "java25"])
def test_a_thread(version: str) -> None:
    found = parse_hs_err((KEPT / f"{version}.thread.log").read_bytes())
    assert found is not None
    names = [frame.function for frame in found.java]
    assert names[: len(ORDER)] == ORDER
    assert names[-2:] == ["java.lang.Thread.run()", "StubRoutines::call_stub"]
    assert [frame.bytecode for frame in found.java[4:8]] == [5, 14, 14, 14]
    assert (found.signal, found.code, found.address) == ("SIGSEGV", "SEGV_MAPERR", 0)
    assert found.version.startswith(version.removeprefix("java") + ".0.")
    assert found.thread == 'JavaThread "order, [worker] "1"", _thread_in_vm'
    assert found.problem.rpartition("  ")[2].partition("+")[0] == "Unsafe_PutLong"
    assert found.title.startswith("SIGSEGV (0xb) at pc=0x") and not found.cut


@pytest.mark.parametrize("version", ["java17", "java25"])
def test_native_and_compiled_methods(version: str) -> None:
    native = parse_hs_err((KEPT / f"{version}.native.log").read_bytes())
    assert native is not None
    assert [frame.function for frame in native.java[:4]] == [
        "Shop.poke(long)", *["Shop.call(int, long[])"] * 3,
    ]  # fmt: skip
    compiled = parse_hs_err((KEPT / f"{version}.compiled.log").read_bytes())
    assert compiled is not None
    inner = compiled.java[0]
    assert (inner.function, inner.compiler, inner.pc) == (
        "Shop.sumOnce(long, int)", "c2", compiled.pc
    )  # fmt: skip


def test_errors_of_other_kinds() -> None:
    head = "#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n"
    text = "#  Internal Error (debug.cpp:362), pid=7, tid=9\n#  fatal error: out of heap\n#\n"
    found = parse_hs_err((head + text).encode())
    assert found is not None and (found.pid, found.tid, found.signal) == (7, 9, "")
    assert (found.title, found.message) == (
        "Internal Error (debug.cpp:362)", "fatal error: out of heap"
    )  # fmt: skip
    memory = "#\n# There is insufficient memory for the Java Runtime Environment to continue.\n"
    memory += "#  Out of Memory Error (os_linux.cpp:2895), pid=7, tid=9\n#\n"
    found = parse_hs_err(memory.encode())
    assert found is not None and found.title == "Out of Memory Error (os_linux.cpp:2895)"


def test_descriptors() -> None:
    assert method("a.B.c", "") == "a.B.c()"
    assert method("a.B.c", "[[ILjava/util/Map$Entry;[Ljava/lang/String;ZBCSFD") == (
        "a.B.c(int[][], Map$Entry, String[], boolean, byte, char, short, float, double)"
    )
    for bad in ("[", "Ljava/lang", "IX", "[V["):
        assert method("a", bad) == f"a({bad})"


@given(st.integers(0, 5), st.data())
def test_damaged_files(number: int, data: st.DataObject) -> None:
    text = LOGS[number].read_bytes()
    start = data.draw(st.integers(0, len(text)))
    cut = text[:start] + data.draw(st.binary(max_size=40)) + text[start + 20 :]
    found = parse_hs_err(cut[: data.draw(st.integers(0, len(cut)))])
    assert found is None or found.pid > 0


# --- among the native frames ---


class Place:
    """A core with one thread, and the modules of a machine, as far as a JavaStack asks."""

    class _Thread:
        tid = 0

    class _Module:
        def __init__(self, path: bytes, start: int) -> None:
            self.path, self.start = path, start

    class _Notes(list[tuple[str, str, str]]):
        def add(self, *note: str) -> None:
            self.append((note[0], note[1], note[2]))

    def __init__(self, log: Path, tid: int = 0) -> None:
        data = log.read_bytes()
        error = parse_hs_err(data)
        assert error is not None
        self.error = error
        self.facts = {FACT: data}
        self.notes = self._Notes()
        self._Thread.tid = tid or error.tid
        self.threads = [self._Thread()]
        self.modules = [
            self._Module(b"/opt/lib/libjvm.so", 0x7F0000000000),
            self._Module(b"/opt/lib/libjli.so", 0x7E0000000000),
        ]

    def stack(self) -> JavaStack:
        return JavaStack(self, self.modules)  # type: ignore[arg-type]

    def entry(self) -> int:
        """The pc in the function that called Java."""
        at = next(n for n, one in enumerate(self.error.stack) if getattr(one, "entry", False))
        return 0x7F0000000000 + getattr(self.error.stack[at + 1], "offset", 0)


def frame(index: int, pc: int, module: str | None = "/opt/lib/libjvm.so") -> Frame:
    return Frame(
        index=index, pc=f"{pc:#x}", function=None, linkage_name=None, offset=None, module=module,
        module_offset=None, build_id=None, source=None, inline=False, trust="cfi",
    )  # fmt: skip


def natives(stack: InterpretedStack) -> list[int | None]:
    return [one.native for one in stack.frames]


def test_each_frame_beside_its_code() -> None:
    place = Place(KEPT / "java17.thread.log")
    made = [frame(1 + n, 0x5000 + n, None) for n in range(len(place.error.java))]
    outer = frame(1 + len(made), place.entry())
    (stack,) = place.stack().of([frame(0, 0x7F0000000001), *made, outer])
    assert natives(stack) == [one.index for one in made]
    # frames that the unwinder did not find: all stand before the one that entered Java
    (stack,) = place.stack().of([frame(0, 0x7F0000000001), *made[2:], outer])
    assert set(natives(stack)) == {outer.index}
    # a stack that ends at the first of them
    (stack,) = place.stack().of([frame(0, 0x7F0000000001), made[0]])
    assert natives(stack) == [1] + [None] * (len(made) - 1)
    (stack,) = place.stack().of([frame(0, 0x7F0000000001), *made[:2]])
    assert set(natives(stack)) == {None}


def test_compiled_code_is_known_by_its_address() -> None:
    place = Place(KEPT / "java17.compiled.log")
    (stack,) = place.stack().of([frame(0, place.error.java[0].pc, None)])
    assert natives(stack) == [0, None, None]
    (stack,) = place.stack().of([frame(0, place.error.java[0].pc + 1, None)])
    assert natives(stack) == [None] * 3


def test_the_file_of_another_thread_is_not_believed() -> None:
    place = Place(KEPT / "java17.thread.log", tid=1)
    stack = place.stack()
    assert stack.error is None and stack.of([]) == []
    assert [note[0] for note in place.notes] == ["java"]


def test_the_cause() -> None:
    signal = Signal(number=6, name="SIGABRT", code=-6, code_name="SI_TKILL")
    plain = Cause(kind="abort", summary="abort() called", reason="abort")
    stack = Place(KEPT / "java17.native.log").stack()
    found = stack.cause(plain, signal)
    assert found.reason == "java-signal" and found.certainty == "likely"
    assert found.summary == (
        "the Java virtual machine caught SIGSEGV at address 0x8 in C [libpoke.so+0x10f9] "
        "store+0x0, and aborted"
    )
    known = Cause(kind="null-pointer", summary="null pointer", details=["a"])
    found = stack.cause(known, signal)
    assert (found.kind, found.summary) == ("null-pointer", "null pointer")
    assert found.details[0] == "a" and found.details[1].startswith("the Java virtual machine")
    other = Signal(number=11, name="SIGSEGV", code=1, code_name="SEGV_MAPERR")
    assert stack.cause(plain, other) is plain


# --- which file ---


def facts_of(**more: bytes) -> dict[bytes, bytes]:
    """This process as a Java virtual machine."""
    pid, uid = os.getpid(), os.getuid()
    status = b"Uid:\t%d\t%d\t0\t0\nNStgid:\t%d\n" % (uid, uid, pid)
    maps = b"7f0000000000-7f0000001000 r-xp 00000000 00:00 0 /opt/lib/libjvm.so\n"
    facts = {b"status": status, b"stat": Path("/proc/self/stat").read_bytes(), b"maps": maps}
    return facts | {name.encode(): value for name, value in more.items()}


def log_of(pid: int) -> bytes:
    own = parse_hs_err(LOGS[0].read_bytes())
    assert own is not None
    return LOGS[0].read_bytes().replace(b"pid=%d," % own.pid, b"pid=%d," % pid)


def read(facts: dict[bytes, bytes]) -> bytes:
    proc = os.open("/proc/self", os.O_RDONLY)
    found = find_hs_err(proc, facts)
    try:
        return read_hs_err(found, facts)
    finally:
        for fd in (proc, *found):
            os.close(fd)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(own_files, "SECONDS", 60.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_in_its_directory(place: Path) -> None:
    path = place / f"hs_err_pid{os.getpid()}.log"
    assert read(facts_of()) == b""
    more = b"\n\nRegisters:\nRAX=0x0\n"
    path.write_bytes(log_of(os.getpid()) + more)
    assert read(facts_of()) == log_of(os.getpid()) + b"\n"
    assert read(facts_of(maps=b"")) == b""


def test_where_its_options_say(place: Path) -> None:
    (place / "logs").mkdir()
    (place / "logs" / f"java%{os.getpid()}.txt").write_bytes(log_of(os.getpid()))
    absolute = b"java\0-XX:ErrorFile=" + os.fsencode(place) + b"/logs/java%%%p.txt\0Shop\0"
    relative = b"A=b\0JAVA_TOOL_OPTIONS=-Xmx1g -XX:ErrorFile=./logs/java%%%p.txt\0"
    assert read(facts_of(cmdline=absolute)) == log_of(os.getpid())
    assert read(facts_of(environ=relative)) == log_of(os.getpid())
    assert read(facts_of(cmdline=b"java\0-XX:ErrorFile=../x\0")) == b""


def test_what_may_be_anothers(place: Path) -> None:
    path = place / f"hs_err_pid{os.getpid()}.log"
    path.write_bytes(log_of(os.getpid()))
    assert read(facts_of())
    status = facts_of()[b"status"].partition(b"\n")[2]
    assert read(facts_of(status=b"Uid:\t9\t9\t9\t9\n" + status)) == b""
    os.utime(path, (0, 0))  # before it began
    assert read(facts_of()) == b""
    os.utime(path, (time.time(),) * 2)
    os.link(path, place / "second")
    assert read(facts_of()) == b""
    (place / "second").unlink()
    path.write_bytes(log_of(os.getpid() + 1))
    assert read(facts_of()) == b""
    path.write_bytes(b"root:*:19000\n pid=%d, tid=1\n" % os.getpid())
    assert read(facts_of()) == b""


def test_no_link_and_no_pipe(place: Path) -> None:
    path = place / f"hs_err_pid{os.getpid()}.log"
    real = place / "real"
    real.write_bytes(log_of(os.getpid()))
    path.symlink_to(real)
    assert read(facts_of()) == b""
    path.unlink()
    os.mkfifo(path)
    assert read(facts_of()) == b""


@pytest.mark.parametrize("beginning", ["j  ", "J 1 "])
def test_a_line_of_brackets(beginning: str) -> None:
    """There are endless ways to divide it; none of them is tried for long."""
    head = "#  Internal Error (a.cpp:1), pid=5, tid=5\nJava frames:\n"
    found = parse_hs_err(f"{head}{beginning}{'()' * 50_000}+1!\n".encode())
    assert found is not None
    assert found.java == []
