"""What must stand in the report of a test program's crash, and in which ways gdb may differ."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from usercrash.report import Report, Thread

from .build import Program
from .compare import Difference, differences, follows
from .oracle import Stacks


@dataclass(frozen=True, slots=True)
class Explained:
    """A difference to gdb that is not ours to mend: where (program ids, a shell pattern), what
    (kind of difference; function in our report and in gdb's, shell patterns), why."""

    program: str
    kind: str
    ours: str
    theirs: str
    why: str


EXPLAINED = [
    Explained(
        "*", "alias", "*", "*",
        "several symbols stand at this address, as the file's symbol tables prove: without "
        "debug information either side may take another one (read, __libc_read)",
    ),
    Explained(
        "inlined/*", "wider", "shop::serve::<lambda>::operator*", "operator*",
        "gcc gives a lambda's function no linkage name: gdb shows the bare one of its entry, we "
        "the one of the symbol at its begin, or the functions around it",
    ),
    Explained(
        "worker/*-m32", "ours", "*", "",
        "a thread that is just making another: glibc's call frame information of clone3 ends "
        "before its system call, where gdb ends; we follow the code to its return",
    ),
]  # fmt: skip


def crashing(report: Report) -> Thread:
    """The one thread that crashed."""
    found = [thread for thread in report.threads if thread.crashed]
    assert len(found) == 1
    return found[0]


def unexplained(program: Program, report: Report, stacks: Stacks) -> list[str]:
    """Every difference to gdb that the table does not hold, thread by thread."""

    def explained(found: Difference) -> bool:
        return any(
            fnmatchcase(program.id, entry.program)
            and entry.kind == found.kind
            and fnmatchcase(found.ours, entry.ours)
            and fnmatchcase(found.theirs, entry.theirs)
            for entry in EXPLAINED
        )

    lines = []
    ours = {thread.namespace_tid or thread.tid: thread for thread in report.threads}
    if ours.keys() != stacks.keys():
        lines.append(f"threads: ours {sorted(ours)}, gdb's {sorted(stacks)}")
    for tid in ours.keys() & stacks.keys():
        for found in differences(ours[tid], stacks[tid]):
            if not explained(found):
                lines.append(f"thread {tid} {found}")
    return lines


def check_report(program: Program, report: Report) -> None:
    """What the program's comment says must stand in the report."""
    thread = crashing(report)
    assert report.complete
    assert follows(thread.frames, program.frames), [frame.function for frame in thread.frames]
    assert report.signal is not None and report.cause is not None
    assert report.signal.name == program.signal
    if program.code is not None:
        assert report.signal.code_name == program.code
    if program.cause is not None:
        assert report.cause.kind == program.cause, report.cause
    if program.reason is not None:
        assert report.cause.reason == program.reason, report.cause
    if program.message is not None:
        assert program.message in (report.cause.abort_message or "")
    if program.threads is not None:
        assert len(report.threads) == program.threads
