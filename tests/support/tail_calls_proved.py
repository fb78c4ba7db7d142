"""Whether a tail call that a report concludes from debug information was really made: asked of gdb,
else of the machine code."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence

from usercrash.report import Frame

from .build import need
from .compare import plain_name
from .oracle import OracleFrame

_LEADS = re.compile(r"\s(call|jmp)\s+([0-9a-f]+) <(.+)>$")
_DIRECT = 5  # bytes of x86's call and jmp with a distance in themselves


def proved(frames: Sequence[Frame], at: int, gdb: Sequence[OracleFrame]) -> bool:
    """Whether the tail-call frame `frames[at]` is right: gdb has the same one, or the caller's
    code calls its function, which in its turn jumps to the one inside."""
    frame = frames[at]
    for other in gdb:
        if other.kind == "tailcall" and other.pc == int(frame.pc, 16):
            return plain_name(other.name) == plain_name(frame.function)
    caller, inside = frames[at + 1], frames[at - 1]
    return _leads(caller, frame) in ("call", "jmp") and _leads(frame, inside) == "jmp"


def _leads(frame: Frame, to: Frame) -> str:
    """How the instruction that ends at the frame's pc leads to the start of another's function;
    "" if it does not."""
    if frame.module is None or frame.module_offset is None:
        return ""
    end = int(frame.module_offset, 16)
    command = [need("objdump", "binutils"), "-d", f"--start-address={end - _DIRECT:#x}",
               f"--stop-address={end:#x}", frame.module]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = _LEADS.search(done.stdout.rstrip())
    if found is None:
        return ""
    how, target, name = found.groups()
    if name.endswith("@plt"):
        same = name.removesuffix("@plt") == (to.function or "").removeprefix("__GI_")
    else:
        same = to.module == frame.module and int(target, 16) == _start(to)
    return how if same else ""


def _start(frame: Frame) -> int | None:
    if frame.module_offset is None or frame.offset is None:
        return None
    return int(frame.module_offset, 16) - frame.offset
