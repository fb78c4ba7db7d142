"""A share of the fuzzing, the same inputs each time; and that the fuzzer sees what it looks for."""

from __future__ import annotations

import signal
import subprocess
import sys
from random import Random

import pytest
from tests.fuzz import __main__ as fuzz
from tests.fuzz.targets import TARGETS, Target

from usercrash.errors import FormatError


def test_no_input_does_harm() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--count", "40000", "--seed", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no exception but our own, no hang" in done.stdout


def _bytes(random: Random) -> bytes:
    return random.randbytes(4)


def _with(monkeypatch: pytest.MonkeyPatch, error: type[Exception] | None) -> None:
    def run(data: bytes, random: Random) -> None:
        if error is not None:
            raise error("planted")
        while True:
            pass

    monkeypatch.setitem(TARGETS, "planted", Target(1, _bytes, run))


def test_a_foreign_exception_is_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _with(monkeypatch, IndexError)
    with pytest.raises(SystemExit):
        fuzz._run("planted", 1, range(5), False)
    assert "--target 'planted' --case 0" in capsys.readouterr().err
    _with(monkeypatch, FormatError)
    assert fuzz._run("planted", 1, range(5), False) == 0


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    _with(monkeypatch, None)
    monkeypatch.setattr(fuzz, "SECONDS", 0.02)
    before = signal.signal(signal.SIGVTALRM, fuzz._alarm)
    try:
        with pytest.raises(SystemExit):
            fuzz._run("planted", 1, range(1), False)
    finally:
        signal.signal(signal.SIGVTALRM, before)
