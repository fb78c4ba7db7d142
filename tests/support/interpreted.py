"""Interpreters in memory: processes that stand still in a scene, and what is read from them."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from usercrash.capture.collect import collect
from usercrash.capture.interpreters import dynamic_of
from usercrash.capture.link_map import find_symbol
from usercrash.capture.live import LiveTarget
from usercrash.config import Config
from usercrash.interpreter_calls import Found, Walked
from usercrash.isolated_analysis import Material, View, analyse_isolated
from usercrash.pipeline import snapshot_core
from usercrash.report import InterpretedStack, Report, from_json

Row = tuple[str, str, int]
Kept = dict[tuple[int, int], bytes]
Read = Callable[[int, int], bytes]
Find = Callable[[Read, list[tuple[bytes, int]], Callable[[int, bytes], int]], Found | None]


@contextmanager
def telling(command: Sequence[str]) -> Iterator[tuple[int, list[Row]]]:
    """The pid of a process that stands still when it has told its own stack, and what it told:
    name, file and line of each call, innermost first."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        rows = []
        while (line := process.stdout.readline().decode()) != "end\n":
            assert line, f"{command} has ended"
            name, file, number = line.removesuffix("\n").split("\t")
            rows.append((name, file, int(number)))
        yield process.pid, rows
    finally:
        process.kill()
        process.communicate()


class Memory:
    """A process's memory; what was read stays in `kept`."""

    def __init__(self, pid: int) -> None:
        self._fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        self.kept: Kept = {}

    def read(self, address: int, size: int) -> bytes:
        try:
            data = os.pread(self._fd, size, address)
        except (OSError, OverflowError):
            data = self._piecewise(address, size)
        self.kept[address, size] = data
        return data

    def _piecewise(self, address: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            at = address + len(data)
            try:
                data += os.pread(self._fd, min(size - len(data), 4096 - at % 4096), at)
            except (OSError, OverflowError):
                break
        return data


def found_in(pid: int, read: Read, find: Find) -> Found:
    """The interpreter of a process, as a language's own `find` finds it."""
    modules = []
    for line in Path(f"/proc/{pid}/maps").read_bytes().splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[2] == b"00000000":
            modules.append((fields[5], int(line.partition(b"-")[0], 16)))

    def symbol(start: int, name: bytes) -> int:
        bias, dynamic = dynamic_of(read(start, 4096), start)
        return find_symbol(read, bias, dynamic, name) if dynamic else 0

    found = find(read, modules, symbol)
    assert found is not None
    return found


def taken(pid: int) -> Report:
    """The report that the minicore alone gives."""
    target = LiveTarget.stop(pid)
    try:
        snapshot = collect(target)
    finally:
        target.close()
    core = snapshot_core(snapshot)
    for file in snapshot.files:
        if file.fd >= 0:
            os.close(file.fd)
    done = analyse_isolated(Material("a" * 32, core, by_path=True), Config(), View())
    os.close(core)
    return from_json(done.json)


def of_kept(kept: Kept) -> Read:
    return lambda address, size: kept.get((address, size), b"")


def rows_of(stack: InterpretedStack) -> list[Row]:
    return [(one.function, one.file, one.line or 0) for one in stack.frames]


def survives_loss_and_damage(
    walk: Callable[[Read], Walked | None], kept: Kept, names: list[bytes], others: set[bytes]
) -> None:
    """Of memory that lacks a piece frames or names are missing, none is another one (but for
    `others`, and names without what they belong to); damage raises nothing."""
    for lost in kept:
        left = {key: data for key, data in kept.items() if key != lost}
        walked = walk(of_kept(left))
        if walked is not None:
            assert walked.end or len(walked.frames) == len(names)
            for frame, name in zip(walked.frames, names, strict=False):
                assert frame.name in {name, b"", name.rpartition(b"::")[2], *others}
    chance = random.Random(5)
    for _ in range(300):
        bad = dict(kept)
        for key in chance.sample(sorted(bad), 3):
            data = bytearray(bad[key])
            if data:
                data[chance.randrange(len(data))] = chance.randrange(256)
            bad[key] = bytes(data)
        walk(of_kept(bad))
