"""What one report may take."""

from __future__ import annotations

from dataclasses import dataclass, field

from .unwinding.unwind import UnwindLimits


@dataclass(frozen=True, slots=True)
class AssembleLimits:
    """What one report may take: `seconds` for all stacks together, `frame_bytes` of JSON and
    text for all frames; of each stack the `first_frames` and the `last_frames` are kept.
    `variables`: the values of an interpreter's local variables are shown, if they were captured;
    `native_variables`: those of the crashing thread's native frames."""

    threads: int = 4000
    first_frames: int = 200
    last_frames: int = 56
    frame_bytes: int = 6 << 20
    seconds: float = 10.0
    variables: bool = False
    native_variables: bool = True
    crashing: UnwindLimits = field(default_factory=lambda: UnwindLimits(frames=200_000))
    others: UnwindLimits = field(
        default_factory=lambda: UnwindLimits(frames=2000, total=20_000, seconds=0.5)
    )
