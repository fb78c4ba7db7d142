"""What the explanation costs a warm report: why it died, where numbers point, what threads wait
for, interpreters' stacks, variables, lines of the source.

Two programs die under `usercrash run`; their minicores are analysed again and again, each time in
a child of a process that has imported everything, as the server's children do.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import zstandard
from tests.support.kernel import COMMAND, SOURCES

from usercrash import isolated_analysis
from usercrash.analysis.assemble import assemble
from usercrash.analysis.core.image import CoreImage
from usercrash.analysis.core.modules import PathFiles, load_modules
from usercrash.analysis.limits import AssembleLimits
from usercrash.analysis.symbols import symcache
from usercrash.analysis.symbols.symbolizer import Symbolizer
from usercrash.cli import demo

from .results import Explanation

RUNS = 15
# The parts of a report that explain, by the words that its notes use for them; all else is
# stacks, names and lists.
PARTS = (
    "why it died", "where numbers point", "what they wait for", "handled signals",
    "what equal crashes have in common", "lines of the source",
    "Python stacks", "Python frames of a thread", "Perl and PHP stacks", "Perl and PHP frames",
    "its error file", "Java frames",
)  # fmt: skip
VARIABLES = "variables"


def measure_explanation(exe: Path, say: Callable[[str], None]) -> list[Explanation]:
    """Of a C program with nine threads (`exe`, the bench's own) and of a Python program."""
    isolated_analysis.preload()
    found: list[Explanation] = []
    victim = Path(demo.__file__).with_name("victim.py")
    cases = {
        "C, 9 threads": [str(exe), "10", "9", "0"],
        "Python, 4 threads": [sys.executable, str(victim)],
    }
    with tempfile.TemporaryDirectory(prefix="ucb-") as name:
        for what, words in cases.items():
            say(f"explanation: {what}")
            core = _minicore(Path(name) / f"{len(found)}", words)
            found.append(_measure(what, core, Path(name) / "cache"))
    return found


def _minicore(place: Path, words: list[str]) -> Path:
    """The raw minicore of a program that dies."""
    place.mkdir()
    config = place / "conf"
    config.write_text(f'[paths]\nreports = "{place}/none"\ncache = "{place}/cache"\n')
    subprocess.run(
        [sys.executable, "-c", COMMAND, "--config", config, "run", "--dir", place, "--", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        check=False, env={**os.environ, "PYTHONPATH": str(SOURCES)},
    )  # fmt: skip
    core = place / "core"
    packed = (place / "usercrash_00.core.zst").read_bytes()
    core.write_bytes(zstandard.ZstdDecompressor().decompressobj().decompress(packed))
    return core


def _measure(what: str, core: Path, cache: Path) -> Explanation:
    """Milliseconds of each run, whose medians the table takes; the first run makes the SymCaches
    and is not counted."""
    cache.mkdir(exist_ok=True)
    result = Explanation(what)
    for number in range(RUNS + 1):
        for variables in (False, True):
            times = _in_a_child(core, cache, variables, keep=number == 0 and not variables)
            if number == 0:
                continue
            explained = sum(seconds for part, seconds in times.items() if part in PARTS)
            if not variables:
                result.total.append(times["all"] * 1e3)
                result.plain.append(explained * 1e3)
            else:
                result.with_variables.append((explained + times.get(VARIABLES, 0.0)) * 1e3)
    return result


def _in_a_child(core: Path, cache: Path, variables: bool, keep: bool) -> dict[str, float]:
    """Seconds by part of one analysis; with `keep` what it converted is left in the cache."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(_analyse(core, cache, variables, keep)).encode())
        except Exception as error:
            sys.stderr.write(f"bench: {core}: {error!r}\n")
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        data = answer.read()
    os.waitpid(child, 0)
    if not data:
        raise RuntimeError(f"the analysis of {core} failed")
    times: dict[str, float] = json.loads(data)
    return times


def _analyse(core: Path, cache: Path, variables: bool, keep: bool) -> dict[str, float]:
    times: dict[str, float] = {}

    def took(what: str, seconds: float) -> None:
        times[what] = times.get(what, 0.0) + seconds

    begin = time.perf_counter()
    with core.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    image = CoreImage.open(data)
    modules = load_modules(image, PathFiles(image.notes))
    symbolizer = Symbolizer(str(cache), image.notes)
    limits = AssembleLimits(native_variables=variables)
    report = assemble(image, modules, symbolizer, "0" * 32, limits, took=took)
    times["all"] = time.perf_counter() - begin
    if not report.complete:
        raise RuntimeError(f"incomplete: {report.notes}")
    if keep:
        for module in symbolizer.wanted:
            if module.fd >= 0:
                symcache.publish(str(cache), os.fstat(module.fd), *symcache.make(module.fd))
    return times
