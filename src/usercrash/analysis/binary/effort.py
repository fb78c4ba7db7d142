"""How much work the tables of all ELF files of one analysis may be.

Each table has a bound of its own, but a core may name thousands of files, and a file its tables a
thousand times. A step is about a microsecond: a section, a symbol, a note, a hundred bytes that
are searched. What there are no steps left for reads as absent.
"""

from __future__ import annotations

from .allowance import Allowance

ANALYSIS_STEPS = 12_000_000
SEARCHED_BYTES = 128  # in one step
NOT_READ = f"more than {ANALYSIS_STEPS // 1_000_000} million entries in all: some were not read"

_effort = Allowance("effort")
limit_effort = _effort.begin  # for this context
spend = _effort.take  # steps: whether there are so many
affordable = _effort.take_up_to  # how many of so many steps can be had
