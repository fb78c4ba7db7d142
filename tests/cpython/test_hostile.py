"""Structures that no interpreter has, made to keep whoever follows them for long."""

from __future__ import annotations

from usercrash.cpython.find import Found
from usercrash.cpython.layout import by_version
from usercrash.cpython.walk import Limits, walk

VERSION = 0x030C00F0
RUNTIME, INTERPRETER, THREAD, LOOP, FRAMES = 0x100000, 0x200000, 0x300000, 0x400000, 0x10000000
OF_A_LOOP = 3  # FRAME_OWNED_BY_CSTACK


def test_frames_of_nothing_but_loops() -> None:
    """They are no frames of the program's, of which there may be so many."""
    layout = by_version(VERSION)
    assert layout is not None
    at = layout.at
    words = {
        RUNTIME + at["runtime_interpreters"]: INTERPRETER,
        INTERPRETER + at["interp_threads"]: THREAD,
        THREAD + at["thread_interp"]: INTERPRETER,
        THREAD + at["thread_cframe"]: LOOP,
        LOOP + at["cframe_frame"]: FRAMES,
    }
    asked: set[int] = set()

    def read(address: int, size: int) -> bytes:
        data = bytearray(size)
        if address >= FRAMES:
            asked.add(address)
            for frame in range(address, address + size - at["frame_owner"], 4096):
                where = frame - address
                data[where + at["frame_owner"]] = OF_A_LOOP
                previous = where + at["frame_previous"]
                data[previous : previous + 8] = (frame + 4096).to_bytes(8, "little")
        for place in range(address, address + size - 7, 8):
            if place in words:
                data[place - address : place - address + 8] = words[place].to_bytes(8, "little")
        return bytes(data)

    walked = walk(
        read, Found(b"python3", RUNTIME, layout, ""), limits=Limits(first=100, others=100)
    )
    assert walked is not None
    assert [thread.end for thread in walked.threads] == ["only 0 frames were read"]
    assert 100 < len(asked) < 1000
