"""Why gdb or eu-stack shows another stack than we do, for each build of the corpus."""

from __future__ import annotations

from .corpus_document import Reason
from .corpus_run import BETTER, EQUAL

REASONS: list[Reason] = [
    Reason(
        "musl-gcc/*", "gdb", BETTER,
        "Debian's musl has no call frame information. gdb goes by the frame pointer, through "
        "addresses that are no code. We follow musl's code to its returns: all frames are there.",
    ),
    Reason(
        "musl-gcc/*", "eu-stack", BETTER,
        "Debian's musl has no call frame information: eu-stack's stack ends in it.",
    ),
    Reason(
        "*/split-dwarf*", "eu-stack", BETTER,
        "eu-stack names no inlined functions where the debug information is in files of its own.",
    ),
    Reason(
        "rustc/*", "gdb", EQUAL,
        "The same frames. gdb names methods by the number of their `impl` block and closures by "
        "their environment, we by the type, as the linker's names have it.",
    ),
    Reason(
        "rustc/*", "eu-stack", BETTER,
        "The same addresses. eu-stack leaves out inlined functions.",
    ),
    Reason(
        "g++/*", "gdb", BETTER,
        "The same frames. Of a lambda that is inlined gdb shows `operator()`, we the function "
        "around it, too.",
    ),
    Reason(
        "go/*", "gdb", BETTER,
        "gdb does not get beyond Go's signal trampoline, or goes on by what lies on the stack. Our "
        "stack goes to `runtime.goexit`; what the fault interrupted is named by where it stood.",
    ),
    Reason(
        "go/*", "eu-stack", BETTER,
        "eu-stack ends at Go's signal trampoline.",
    ),
    Reason(
        "clang/* gcc/lto g++/*", "eu-stack", BETTER,
        "The same addresses. eu-stack leaves out inlined functions.",
    ),
]  # fmt: skip
