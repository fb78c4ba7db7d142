"""What the runtimes of a process wrote into files of their own: which of them there are is asked
while the process is held, and they are read when it has been let go.

perf_map (names of code made at run time), hs_err (Java) and node_report (Node.js) know where to
look, and by which rules such a file is believed (own_files).
"""

from __future__ import annotations

import os

from ..model.types import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.notes import NoteLog
    from .facts import Facts


class RuntimeFiles:
    """The files of one process; `attempt` runs a stage and turns what fails into a note."""

    def __init__(
        self, facts: Facts, notes: NoteLog, attempt: Callable[[Callable[[], None]], object]
    ) -> None:
        self._facts = facts
        self._table = facts.table
        self._maps = facts.table.get(b"maps", b"")
        self._notes = notes
        self._try = attempt
        self._perf_map = -1
        self._hs_err: list[int] = []
        self._node_reports: list[int] = []

    def find(self) -> None:
        """Look the files up, while the process is held."""
        for stage in (self._find_perf_map, self._find_java_error, self._find_node_reports):
            self._try(stage)

    def read(self) -> None:
        """Take what was found as the facts @perf_map, @hs_err and @node_report, and close the
        files: to be called when the process has been let go."""
        if self._perf_map >= 0:
            self._try(self._perf_names)
        if self._hs_err:
            self._try(self._java_error)
        if self._node_reports:
            self._try(self._node_report)
        for fd in (self._perf_map, *self._hs_err, *self._node_reports):
            if fd >= 0:
                os.close(fd)

    def _find_perf_map(self) -> None:
        if self._facts.elsewhere():
            from .perf_map import find_perf_map

            self._perf_map = find_perf_map(self._facts.thread, self._table)

    def _find_java_error(self) -> None:
        if b"/libjvm.so" in self._maps:
            from .hs_err import find_hs_err

            self._hs_err = find_hs_err(self._facts.thread, self._table)

    def _find_node_reports(self) -> None:
        if b"node" in self._maps:
            from .node_report import find_node_reports, is_node

            if is_node(self._maps):
                self._node_reports = find_node_reports(self._facts.thread, self._table)

    def _perf_names(self) -> None:
        from .perf_map import FACT, MAX_BYTES, read_perf_map

        data = read_perf_map(self._perf_map, self._table)
        if data:
            self._table[FACT] = data
        if len(data) >= MAX_BYTES:
            self._notes.add("process", "its perf map", f"cut after {MAX_BYTES} bytes")

    def _java_error(self) -> None:
        from .hs_err import FACT, read_hs_err

        data = read_hs_err(self._hs_err, self._table)
        if data:
            self._table[FACT] = data

    def _node_report(self) -> None:
        from .node_report import FACT, read_node_report

        data = read_node_report(self._node_reports, self._table)
        if data:
            self._table[FACT] = data
