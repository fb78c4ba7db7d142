"""Every build of the corpus run to its death, and its crashing thread seen by us and by others."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

from usercrash.report import Frame, Report, Thread

from .compare import Difference, differences, names_follow
from .corpus import Recipe
from .oracle import OracleFrame, eu_stack_frames, gdb_frames
from .tail_calls_proved import proved

SECONDS = 60
EQUAL, BETTER, WORSE, DIFFERS = "equal", "better", "worse", "differs"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an oracle shows of a build beside us; `kinds` of differences there are (compare.py),
    each with our and their names."""

    recipe: Recipe
    oracle: str
    word: str
    kinds: tuple[str, ...]
    examples: tuple[str, ...]


def _allow_cores() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def die(exe: Path, cores: Path) -> Path:
    """Run it to its death while the kernel writes cores to `cores`/core.PID; gives the core."""
    process = subprocess.Popen(
        [exe], preexec_fn=_allow_cores, cwd=exe.parent, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={"GOTRACEBACK": "crash", "PATH": os.environ["PATH"]},
    )  # fmt: skip
    status = process.wait(SECONDS)
    core = cores / f"core.{process.pid}"
    if status >= 0 or not core.exists():
        raise RuntimeError(f"{exe.name} did not crash (wait status {status}), or left no core")
    return core


def chain_holds(recipe: Recipe, functions: Sequence[str | None]) -> bool:
    """Whether these are what the recipe's program must have on its stack; of one without names,
    whether there are as many frames as its chain at least has."""
    if recipe.named:
        return names_follow(functions, recipe.chain)
    return len(functions) >= recipe.real_frames


def judge(recipe: Recipe, exe: Path, core: Path, report: Report) -> list[Verdict]:
    """gdb's and eu-stack's view of the crashing thread beside our report's."""
    thread = report.threads[0]
    gdb = gdb_frames(core, exe).get(thread.tid, [])
    try:
        eu_stack = eu_stack_frames(core, exe).get(thread.tid, [])
    except RuntimeError:  # it finds no thread at all
        eu_stack = []
    concluded = [
        frame for at, frame in enumerate(thread.frames)
        if frame.trust == "tail-call" and not proved(thread.frames, at, gdb)
    ]  # fmt: skip
    return [
        _beside_gdb(recipe, thread, gdb, concluded),
        _beside_eu_stack(recipe, thread, eu_stack, concluded),
    ]


def _beside_gdb(
    recipe: Recipe, thread: Thread, frames: list[OracleFrame], concluded: list[Frame]
) -> Verdict:
    """`concluded` are our tail-call frames for which there is no proof: differences, too."""
    found = [one for one in differences(thread, frames) if one.kind != "alias"]
    found += [Difference("ours", str(one.function), "", one.index) for one in concluded]
    theirs = [frame.name for frame in frames if frame.kind != "tailcall"]
    kinds = tuple(sorted({one.kind for one in found}))
    word = _word(recipe, thread, theirs, differs=bool(found))
    return Verdict(recipe, "gdb", word, kinds, tuple(map(str, found[:4])))


def _beside_eu_stack(
    recipe: Recipe, thread: Thread, frames: list[OracleFrame], concluded: list[Frame]
) -> Verdict:
    """By addresses: it tells inlined functions by their pc alone, and one frame may stand there
    twice. It knows no tail-call frames; ours are passed over but those without proof."""
    ours = [
        int(frame.pc, 16) for frame in thread.frames
        if not frame.inline and (frame.trust != "tail-call" or frame in concluded)
    ]  # fmt: skip
    theirs = [pc for pc, _ in groupby(frame.pc for frame in frames)]
    kinds = []
    if set(theirs) - set(ours):
        kinds.append("theirs")
    if set(ours) - set(theirs):
        kinds.append("ours")
    names = [frame.name for frame in frames]
    word = _word(recipe, thread, names, differs=bool(kinds))
    return Verdict(recipe, "eu-stack", word, tuple(kinds), ())


def _word(recipe: Recipe, thread: Thread, theirs: Sequence[str | None], *, differs: bool) -> str:
    mine = chain_holds(recipe, [frame.function for frame in thread.frames])
    other = chain_holds(recipe, theirs)
    if mine != other:
        return BETTER if mine else WORSE
    return WORSE if not mine else DIFFERS if differs else EQUAL


def matches(recipe: Recipe, pattern: str) -> bool:
    """Whether a recipe is one of `compiler/mode`, both with wildcards; several with spaces."""
    return any(fnmatchcase(recipe.id, one) for one in pattern.split())
