"""Programs of other languages die through the real kernel: their own frames are in the report."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.kernel.test_jit_names import allow_cores
from tests.runtimes.keep_logs import HERE, java_arguments
from tests.runtimes.test_node_report import SELLS, native_module
from tests.support.build import need
from tests.support.kernel import Installation, analyze

from usercrash.report import Report

pytestmark = pytest.mark.usefixtures("needs_kernel")

PERL = """\
sub fault { kill 'SEGV', $$; sleep 9 }
sub order { $_[0] ? order($_[0] - 1) : fault() }
order(2);
"""


RUBY = """\
require 'fiddle'
def poke = Fiddle::Pointer.new(0x10)[0, 4] = 'abcd'
def größe(left) = left.zero? ? poke : [left].each { |x| größe(x - 1) }
Thread.new { größe(2) }.join
"""


def rows(report: Report) -> list[tuple[str, int | None]]:
    (stack,) = report.threads[0].interpreted
    return [(one.function, one.line) for one in stack.frames]


def test_perl(tmp_path: Path) -> None:
    script = tmp_path / "order.pl"
    script.write_text(PERL)
    with Installation() as place:
        place.start_server()
        with place.receiving():
            process = subprocess.Popen(
                [need("perl", "perl"), str(script)], preexec_fn=allow_cores, cwd="/"
            )
            assert process.wait(60) == -signal.SIGSEGV
            found = place.wait_pid(process.pid)
        again = analyze(found.core)
    for report in (found.report, again):
        if report.interpreters:  # (a Perl whose layout is known)
            assert rows(report) == [
                ("main::fault", 1), *[("main::order", 2)] * 3, ("(main program)", 3)
            ]  # fmt: skip
    assert len(found.report.interpreters) == len(again.interpreters)


def test_ruby(tmp_path: Path) -> None:
    """As Ruby tells it itself, when it has caught the signal."""
    script = tmp_path / "poke.rb"
    script.write_text(RUBY)
    with Installation() as place:
        place.start_server()
        with place.receiving():
            process = subprocess.Popen(
                [need("ruby", "ruby"), str(script)], preexec_fn=allow_cores, cwd=tmp_path,
                stderr=subprocess.PIPE,
            )  # fmt: skip
            told = process.communicate(timeout=60)[1].decode()
            assert process.returncode == -signal.SIGABRT
            found = place.wait_pid(process.pid)
        again = analyze(found.core)
    backtrace = told.partition("-- Ruby level backtrace information")[2].partition("\n\n")[0]
    calls = re.findall(r"^(.*):(\d+):in `(.*)'$", backtrace, re.MULTILINE)[::-1]
    assert len(calls) == 10
    for report in (found.report, again):
        assert report.cause is not None and report.cause.kind == "null-pointer"
        if not report.interpreters:  # (a Ruby whose layout is not known)
            continue
        (stack,) = report.threads[0].interpreted
        place_of = ("", 0)
        shown = []
        for frame in reversed(stack.frames):
            place_of = (frame.file, frame.line or 0) if frame.file else place_of
            shown.append((place_of[0], str(place_of[1]), frame.function))
        assert shown[::-1] == calls
        assert all(frame.native is not None for frame in stack.frames)
        (main,) = (one for one in report.threads if one.tid == process.pid)
        assert [one.function for one in main.interpreted[0].frames] == ["join", "<main>"]
    assert len(found.report.interpreters) == len(again.interpreters)


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js on this machine")
def test_node(tmp_path: Path) -> None:
    """Its own report lies in a directory that only it may enter, and is kept in the minicore."""
    script, module = str(HERE / "sell.js"), str(native_module(tmp_path))
    with Installation() as place:
        place.start_server()
        with place.receiving():
            process = subprocess.Popen(
                ["node", "--report-on-fatalerror", script, "fatal", module],
                preexec_fn=allow_cores, cwd=tmp_path, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert process.wait(60) == -signal.SIGABRT
            found = place.wait_pid(process.pid)
        for file in tmp_path.glob("report.*.json"):
            file.unlink()
        again = analyze(found.core)
    for report in (found.report, again):
        assert rows(report)[: len(SELLS)] == SELLS
        assert report.cause is not None and report.cause.reason == "javascript-fatal"
        assert report.cause.summary == "Node.js ended itself: no more goods: größe 3"


@pytest.mark.skipif(shutil.which("javac") is None, reason="no Java on this machine")
def test_java(tmp_path: Path) -> None:
    """Its own directory is one that only it may enter."""
    source = str(HERE / "Shop.java")
    subprocess.run(
        ["javac", "-nowarn", "-d", str(tmp_path), source], check=True, capture_output=True
    )
    with Installation() as place:
        place.start_server()
        with place.receiving():
            process = subprocess.Popen(
                ["java", *java_arguments(tmp_path, "native")],
                preexec_fn=allow_cores, cwd=tmp_path, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            assert process.wait(60) == -signal.SIGABRT
            report = place.wait_pid(process.pid).report
    assert [name for name, _ in rows(report)][:2] == ["Shop.poke(long)", "Shop.call(int, long[])"]
    (stack,) = report.threads[0].interpreted
    assert stack.frames[0].native is not None
    assert report.threads[0].frames[stack.frames[0].native].module is None
    (interpreter,) = report.interpreters
    assert interpreter.language == "java" and interpreter.module.endswith("/libjvm.so")
    assert report.cause is not None and report.cause.kind == "null-pointer"
    assert any("the Java virtual machine caught SIGSEGV" in one for one in report.cause.details)
