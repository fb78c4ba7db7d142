"""Stacks of which memory or registers are missing, or lie: the walk ends, and invents nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.analysed import Analysed, analyse
from tests.support.build import build, programs
from tests.support.gcore import core_of

from usercrash.analysis.unwinding.unwind import unwind


def test_stack_that_was_not_captured(tmp_path: Path) -> None:
    ours = analyse(core_of(build(programs()["null_chain/debug"]), tmp_path))

    class NoStack:
        def read(self, address: int, size: int) -> bytes:
            return b"" if address > 0x7FFFFFFFE000 - (8 << 20) else ours.memory.read(address, size)

        def window(self, address: int) -> None:
            return None

    registers = ours.image.threads[0].registers
    stack = unwind(NoStack(), ours.modules, ours.image.arch, registers)
    assert stack.total == 1
    assert stack.end.startswith("no memory at 0x7ff")


def test_without_registers(tmp_path: Path) -> None:
    ours = analyse(core_of(build(programs()["null_chain/debug"]), tmp_path))
    stack = unwind(ours.memory, ours.modules, ours.image.arch, {})
    assert (stack.frames, stack.end) == ([], "no registers")


@pytest.fixture(scope="module", params=["null_chain/debug", "null_chain/frame-pointer-only"])
def some(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Analysed:
    return analyse(core_of(build(programs()[request.param]), tmp_path_factory.mktemp("core")))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_registers(some: Analysed, data: st.DataObject) -> None:
    """Whatever the registers hold: it ends, every caller lies in code, no frame stands twice."""
    real = some.image.threads[0].registers
    near = st.one_of(
        st.integers(0, (1 << 64) - 1),
        st.sampled_from(sorted(real.values())).flatmap(
            lambda value: st.integers(max(0, value - 256), value + 256)
        ),
        st.sampled_from([row.start for row in some.image.mappings]).flatmap(
            lambda start: st.integers(start, start + 8192)
        ),
    )
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(real)), near, max_size=5))
    stack = some.stack() if not changed else unwind(
        some.memory, some.modules, some.image.arch, {**real, **changed}
    )  # fmt: skip
    assert stack.end
    assert stack.total == len(stack.frames) < 2000
    assert len({(frame.pc, frame.sp) for frame in stack.frames}) == stack.total
    for frame in stack.frames[1:]:
        assert frame.exact or some.modules.executable(frame.pc - 1)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(damage=st.lists(st.tuples(st.integers(0, 600), st.integers(0, (1 << 64) - 1)), max_size=6),
       follow=st.booleans())  # fmt: skip
def test_damaged_stack(some: Analysed, damage: list[tuple[int, int]], follow: bool) -> None:
    """Whatever stands on the stack (also pointers into it): it ends."""
    sp = some.image.threads[0].registers["rsp"]
    found = some.image.window(sp)
    assert found is not None
    start, window = found
    changed = bytearray(window)
    for word, value in damage:
        at = sp - start + 8 * word
        if at + 8 <= len(changed):
            value = sp + value % 4096 if follow else value
            changed[at : at + 8] = value.to_bytes(8, "little")
    view = memoryview(bytes(changed))

    class Damaged:
        def read(self, address: int, size: int) -> bytes:
            if start <= address < start + len(view):
                return bytes(view[address - start : address - start + size])
            return some.memory.read(address, size)

        def window(self, address: int) -> tuple[int, memoryview] | None:
            return (start, view) if start <= address < start + len(view) else None

    stack = unwind(Damaged(), some.modules, some.image.arch, some.image.threads[0].registers)
    assert stack.end
    assert len({(frame.pc, frame.sp) for frame in stack.frames}) == stack.total < 2000
