"""The watching process of `usercrash run` speaks for what makes reports, where that cannot."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest

from usercrash.config import Config
from usercrash.live import watcher
from usercrash.live.watcher import Watcher, Wishes


@pytest.mark.parametrize("waited", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, 0])
def test_a_reporter_that_is_killed(
    number: int, monkeypatch: pytest.MonkeyPatch, *, waited: bool
) -> None:
    """As for want of memory: without a word nobody would know that there was a crash. It may end
    after the program itself, whose end closes the descriptors."""
    said: list[str] = []
    snapshot = SimpleNamespace(files=[])
    held = SimpleNamespace(add_to=lambda snapshot, relay: None, close=lambda: None)
    told, tell = os.pipe()
    monkeypatch.setattr(watcher, "say", said.append)
    monkeypatch.setattr(watcher, "HeldStderr", lambda proc: held)
    monkeypatch.setattr(watcher, "snapshot_of", lambda target, limits, lives: snapshot)
    monkeypatch.setattr(watcher, "_report", lambda *_: os.kill(os.getpid(), number))
    monkeypatch.setattr(Watcher, "_quiet_at_end", lambda self: said.append("quiet"))
    watching = Watcher(Config(), Wishes("", False, "/"), tell, None)
    watching._main = 77
    target = SimpleNamespace(proc=-1, event=SimpleNamespace(pid=77))
    watching._crashed(target)  # type: ignore[arg-type]
    (child,) = watching._reporters
    if waited:
        watching._wait_for_reporter()
    watching._ended(77, -11)
    assert ("quiet" in said) == waited
    watching._ended(child, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    words = ["no report of process 77, or not all: what makes it was ended by SIGKILL"]
    assert said == [*(words if number else []), "quiet"]
    assert os.read(told, 1) == b""
    os.close(told)
