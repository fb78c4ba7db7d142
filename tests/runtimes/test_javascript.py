"""JavaScript frames by the names that V8 leaves for perf."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from msgspec import convert

from tests.runtimes.keep_logs import HERE
from tests.support.commands import settings
from tests.support.run_verb import reports, run
from usercrash.analysis.report_parts.javascript_stacks import JavaScriptStacks
from usercrash.report import Frame, Report


def frame(index: int, name: str | None, module: str | None = None) -> Frame:
    return Frame(
        index=index, pc="0x1000", function=name, linkage_name=None, offset=4, module=module,
        module_offset=None, build_id=None, source=None, inline=False, trust="frame-pointer",
    )  # fmt: skip


def rows(*names: str | None, total: int = 0) -> list[tuple[str, str, str]]:
    frames = [frame(index, name) for index, name in enumerate(names)]
    stacks = JavaScriptStacks(1 << 20).of(frames, total or len(frames))
    return [(one.function, one.file, one.detail) for stack in stacks for one in stack.frames]


@pytest.mark.parametrize(
    ("name", "function", "file", "detail"),
    [
        ("JS:~sell /srv/my shop.js:3:18", "sell", "/srv/my shop.js", "from line 3, interpreted"),
        ("JS:*sell /s.js:3:18", "sell", "/s.js", "from line 3, compiled by TurboFan"),
        ("JS:^ /s.js:31:1", "(anonymous)", "/s.js", "from line 31, compiled by Sparkplug"),
        ("JS:+get a node:internal/x:3:1", "get", "a node:internal/x",
         "from line 3, compiled by Maglev"),
        ("LazyCompile:~inner /s.js:1", "inner", "/s.js", "from line 1, interpreted"),
        ("LazyCompile:*f file:///srv/s.mjs:12:9", "f", "file:///srv/s.mjs",
         "from line 12, compiled by TurboFan"),
        ("Eval:~ /s.js:1:1", "(anonymous)", "/s.js", "from line 1, interpreted"),
    ],
)  # fmt: skip
def test_names(name: str, function: str, file: str, detail: str) -> None:
    assert rows(name) == [(function, file, detail)]


@pytest.mark.parametrize(
    "name",
    [None, "Builtin:CEntry", "JS:", "JS:~", "JS:~f", "JS:~f /s.js", "js::compiled loop",
     "py::work:/x.py", "BytecodeHandler:Call"],
)  # fmt: skip
def test_other_names(name: str | None) -> None:
    assert rows(name) == []


def test_only_code_that_lies_in_no_file() -> None:
    one = frame(0, "JS:~f /s.js:1:1", module="/usr/bin/node")
    assert JavaScriptStacks(1 << 20).of([one], 1) == []


def test_bounds() -> None:
    frames = [frame(index, f"JS:~f{index} /s.js:1:1") for index in range(9)]
    (stack,) = JavaScriptStacks(1 << 20).of(frames, 300)
    assert [one.native for one in stack.frames] == [*range(9)]
    assert stack.end == "only the native frames that are shown were looked at"
    (stack,) = JavaScriptStacks(700).of(frames, 9)
    assert 0 < len(stack.frames) < 9 and stack.end


@pytest.mark.skipif(shutil.which("node") is None, reason="no Node.js on this machine")
def test_a_real_one(tmp_path: Path) -> None:
    """Its own trace, which process.abort() writes, is the oracle."""
    place = tmp_path / "place"
    place.mkdir()
    settings(tmp_path)
    flags = ["--perf-basic-prof-only-functions", "--interpreted-frames-native-stack"]
    done = run(place, "node", *flags, str(HERE / "shop.js"))
    (report,) = (convert(one, Report) for one in reports(place))
    Path(f"/tmp/perf-{report.process.pid}.map").unlink()
    text = done.stderr.decode().partition("JavaScript stack trace")[2]
    told = re.findall(r"^\d+: (?:(\S+) \()?([^\s()]+):\d+:\d+\)?$", text, re.M)
    (stack,) = report.threads[0].interpreted
    assert stack.language == "javascript"
    assert [(one.function, one.file) for one in stack.frames] == [
        (function or "(anonymous)", file) for function, file in told
    ]
    assert [one.function for one in stack.frames[:2]] == ["inner", "middle"]
    assert all(one.native is not None for one in stack.frames)
