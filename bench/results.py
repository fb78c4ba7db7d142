"""What one run of the bench has found; kept as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median, quantiles

import msgspec

from usercrash.errors import UsercrashError

VERSION = 4
FLOOR = "no dump"
SOCKET, PIPE, COLD = "usercrash, socket", "usercrash, pipe", "usercrash, no workers"
MINICOREDUMPER = "minicoredumper"


class Load(msgspec.Struct, frozen=True):
    """What crashes."""

    megabytes: int
    threads: int

    @property
    def memory(self) -> str:
        size = self.megabytes
        return f"{size} MB" if size < 1024 else f"{size // 1024} GB"

    @property
    def name(self) -> str:
        return f"{self.memory}, {self.threads:,} thread{'s' if self.threads > 1 else ''}"


class Series(msgspec.Struct):
    """One collector on one load: milliseconds of each run from the fault to the return of the
    parent's wait (`hold`) and to the complete report; `size` of what it kept on disk, in bytes.
    `absent` says why there are none; `spent` is in seconds."""

    collector: str
    load: Load
    hold: list[float] = []
    report: list[float] = []
    size: int = 0
    absent: str = ""
    spent: float = 0.0


class Burst(msgspec.Struct):
    """Many crashes as fast as `parallel` parents can make them.

    `alone` and `hold` in milliseconds: of such a process by itself, and in the burst. `seconds`
    from the first fault to the last return of wait, `done` to the last record. `known` of the
    crashes are known to the collector, `kept` have a complete record (ours: an analysed report).
    """

    collector: str
    crashes: int
    parallel: int
    pipe_limit: int = 0
    shipped: bool = True  # whether that limit is the collector's own
    seconds: float = 0.0
    alone: list[float] = []
    hold: list[float] = []
    known: int = 0
    kept: int = 0
    done: float = 0.0
    absent: str = ""

    @property
    def rate(self) -> float:
        return self.crashes / self.seconds if self.seconds else 0.0

    @property
    def name(self) -> str:
        return self.collector if self.shipped else f"{self.collector}, {self.pipe_limit}"


class Idle(msgspec.Struct):
    """Memory (PSS, MB) of our server with all its children: at rest, and at rest after a burst."""

    workers: int
    at_rest: float
    after_burst: float


class Live(msgspec.Struct):
    """One way to report a live process: ms that it stood still, ms until the report was there."""

    tool: str
    pause: list[float] = []
    total: list[float] = []


class Stacks(msgspec.Struct):
    """Stacks of one core. Milliseconds of our walk over all of its threads, the first time
    (`first`) and with its rows known (`again`), and of whole programs (`whole`, by tool);
    microseconds for the names of one frame (`naming`)."""

    what: str
    frames: int = 0
    first: list[float] = []
    again: list[float] = []
    naming: list[float] = []
    whole: dict[str, list[float]] = {}


class Explanation(msgspec.Struct):
    """Milliseconds, run by run, of warm analyses of one minicore: the whole without variables
    (`total`), and of it what explains (`plain`); what explains, with variables."""

    what: str
    total: list[float] = []
    plain: list[float] = []
    with_variables: list[float] = []


class Results(msgspec.Struct):
    """All of it. `load` is the machine's load average before, `minutes` what the run took."""

    machine: str = ""
    date: str = ""
    load: float = 0.0
    minutes: float = 0.0
    versions: list[str] = []
    version: int = VERSION
    crashes: list[Series] = []
    bursts: list[Burst] = []
    idle: list[Idle] = []
    live: list[Live] = []
    stacks: list[Stacks] = []
    explanation: list[Explanation] = []
    absent: list[str] = []

    def loads(self) -> list[Load]:
        """In the order in which they were measured."""
        return list(dict.fromkeys(one.load for one in self.crashes))

    def of(self, load: Load) -> dict[str, Series]:
        """The series of a load by collector."""
        return {one.collector: one for one in self.crashes if one.load == load}


def encode(results: Results) -> bytes:
    """As JSON."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"


def decode(data: bytes) -> Results:
    """From JSON; UsercrashError if it is not what `encode` writes today."""
    try:
        results = msgspec.json.decode(data, type=Results)
    except msgspec.DecodeError as error:
        raise UsercrashError(f"not the results of a bench: {error}") from error
    if results.version != VERSION:
        raise UsercrashError(f"results of version {results.version}, not {VERSION}")
    return results


def middle(values: Sequence[float]) -> float | None:
    """The median; None of nothing."""
    return median(values) if values else None


def per_second(count: int, milliseconds: float | None) -> float | None:
    """How many a second; None where no time is known."""
    return count / milliseconds * 1e3 if milliseconds else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that so many percent do not exceed; None of nothing."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def spread(values: Sequence[float]) -> float | None:
    """The distance of the quartiles; None of fewer than two values."""
    if len(values) < 2:
        return None
    low, _, high = quantiles(values, n=4, method="inclusive")
    return high - low


def over_floor(rows: dict[str, Series], collector: str) -> float | None:
    """Median hold above that of a death without a dump, in ms."""
    floor = middle(rows[FLOOR].hold) if FLOOR in rows else None
    hold = middle(rows[collector].hold) if collector in rows else None
    return None if floor is None or hold is None else hold - floor


def names(series: Iterable[Series]) -> list[str]:
    """The collectors in their order."""
    return list(dict.fromkeys(one.collector for one in series))
