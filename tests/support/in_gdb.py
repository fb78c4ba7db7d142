"""Runs inside gdb: prints every thread's frames as one line of JSON after `USERCRASH `.

Arguments by the convenience variables of gdb: $limit, frames for each thread.
"""

from __future__ import annotations

import json

import gdb  # type: ignore[import-untyped]

KINDS = {
    gdb.NORMAL_FRAME: "normal",
    gdb.INLINE_FRAME: "inline",
    gdb.TAILCALL_FRAME: "tailcall",
    gdb.SIGTRAMP_FRAME: "signal",
}


def describe(frame: gdb.Frame) -> dict[str, object]:
    function = frame.function()
    line = frame.find_sal()
    return {
        "pc": frame.pc(),
        "name": frame.name(),
        "linkage_name": function.linkage_name if function is not None else None,
        "kind": KINDS.get(frame.type(), "other"),
        "line": line.line if line.symtab is not None else 0,
    }


def frames_of(thread: gdb.InferiorThread, limit: int) -> tuple[list[dict[str, object]], str]:
    thread.switch()
    found: list[dict[str, object]] = []
    try:
        frame = gdb.newest_frame()
        while frame is not None and frame.is_valid() and len(found) < limit:
            found.append(describe(frame))
            frame = frame.older()
    except gdb.error as error:
        return found, str(error)
    return found, ""


threads = []
for thread in gdb.selected_inferior().threads():
    frames, error = frames_of(thread, int(gdb.convenience_variable("limit")))
    # A core of several threads names them by ptid; an old gdb has the id in either place.
    threads.append({"tid": thread.ptid[1] or thread.ptid[0], "frames": frames, "error": error})
print("USERCRASH " + json.dumps(threads))
