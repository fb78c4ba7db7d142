"""Where Python was, in the words about a cause."""

from __future__ import annotations

from usercrash.analysis.report_parts.python_place import with_python_place
from usercrash.report import (
    Cause,
    Frame,
    InterpretedFrame,
    InterpretedStack,
    Interpreter,
    Thread,
)

PYTHON = "/usr/bin/python3.11"
INTERPRETERS = [
    Interpreter(language="python", version="3.11.2", module=PYTHON, interpreters=[0], threads=1,
                finalizing=False)
]  # fmt: skip


def cause(summary: str, kind: str = "abort") -> Cause:
    return Cause(kind=kind, summary=summary, details=["One."])


def native(index: int, module: str, offset: str, function: str | None = None) -> Frame:
    return Frame(
        index=index, pc="0x1000", function=function, linkage_name=function, offset=None,
        module=module, module_offset=offset, build_id=None, source=None, inline=False, trust="cfi",
    )  # fmt: skip


def stack(
    function: str, at: int | None, language: str = "python", file: str = "/srv/shop/sorter.py"
) -> InterpretedStack:
    frame = InterpretedFrame(index=0, function=function, file=file, line=5, entry=True, native=at)
    return InterpretedStack(
        language=language, version="3.11.2", interpreter=0, frames=[frame], frames_total=1,
        folds=[], end="", holds_lock=True, exception=None,
    )  # fmt: skip


def thread(*stacks: InterpretedStack) -> Thread:
    frames = [
        native(0, "/lib/libc.so.6", "0x8000", "abort"),
        native(1, PYTHON, "0x4f"),
        native(2, PYTHON, "0x4f2"),
        native(3, PYTHON, "0x100", "_PyEval_EvalFrameDefault"),
        native(4, PYTHON, "0x777"),
    ]
    return Thread(tid=1, name="", crashed=True, registers={}, stack_end="", frames=frames,
                  frames_total=5, folds=[], kernel_stack=[], state="",
                  interpreted=list(stacks))  # fmt: skip


def found(words: str, *stacks: InterpretedStack, kind: str = "abort") -> tuple[str, list[str]]:
    result = with_python_place(cause(words, kind), thread(*stacks), INTERPRETERS)
    return result.summary, result.details


def test_a_nameless_place_in_the_interpreter() -> None:
    sorter = stack("Sorter.crash", 3)
    assert found("abort() called by python3.11+0x4f", sorter) == (
        "abort() called by Sorter.crash at sorter.py:5", ["One."]
    )  # fmt: skip
    assert found("by python3.11+0x4f2: text", sorter)[0] == "by Sorter.crash at sorter.py:5: text"
    package = stack("string_at", 3, file="/usr/lib/python3.11/ctypes/__init__.py")
    assert found("by python3.11+0x4f", package)[0] == "by string_at at ctypes/__init__.py:5"


def test_other_places_stay() -> None:
    """A number that only begins the same, what called the loop, what has a name."""
    for words in ("by python3.11+0x4f27", "by python3.11+0x777", "by abort", "a text of 0x4f"):
        assert found(words, stack("Sorter.crash", 3)) == (
            words, ["Python was in Sorter.crash at /srv/shop/sorter.py:5.", "One."]
        )  # fmt: skip
    # Not among the native frames: none of these is known to have been called by it.
    assert found("by python3.11+0x4f", stack("Sorter.crash", None))[0] == "by python3.11+0x4f"


def test_the_stack_that_was_entered_last() -> None:
    inner, outer = stack("inner", 1), stack("outer", 3)
    for stacks in ((inner, outer), (outer, inner)):
        assert found("words", *stacks)[1][0].startswith("Python was in inner at")


def test_nothing_is_said_where_it_is_not_sure() -> None:
    for stacks in (
        (),
        (stack("inner", None), stack("outer", 3)),
        (stack("deeper", 1, "perl"), stack("outer", 3)),
    ):
        assert found("words", *stacks) == ("words", ["One."])
    assert found("words", stack("Sorter.crash", 3), kind="none") == ("words", ["One."])


def test_a_long_name_is_not_repeated() -> None:
    words = found("words", stack("x" * 300, 3))[1][0]
    assert words == "Python was in a function at /srv/shop/sorter.py:5."
