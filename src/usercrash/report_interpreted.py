"""The part of the report that tells of interpreters: their own stacks (see report)."""

from __future__ import annotations

import msgspec


class Fold(msgspec.Struct, frozen=True, kw_only=True):
    """A cycle of a recursion: `length` frames from index `start` stand there `times` times
    in a row (frames that the limits left out included)."""

    start: int
    length: int
    times: int


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable, its value as the language writes it; what is not written out is described in
    angle brackets. Of native frames also its `type` as the language writes it, its `kind`
    ("parameter", "local" or "static") and, where there is no value, why (`gap`)."""

    name: str
    value: str
    type: str = ""
    kind: str = ""
    gap: str | None = None


class InterpretedFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame of an interpreter's own stack. `line` is None where it is not known. `entry`: the
    native loop that runs it, and those before it up to the last such frame, was entered for it.
    `native` is the `index` of that loop's native frame in `Thread.frames`, None where it is not
    known for sure. `detail`: what else the language's runtime says of it. `file` is empty where it
    says none."""

    index: int
    function: str
    file: str
    line: int | None
    entry: bool = False
    native: int | None = None
    variables: list[Variable] = []
    detail: str = ""


class InterpretedException(msgspec.Struct, frozen=True, kw_only=True):
    """An exception that is on its way, or (`handled`) that the program deals with. `text` is its
    first argument, if that is text."""

    type: str
    text: str | None = None
    handled: bool = False


class InterpretedStack(msgspec.Struct, frozen=True, kw_only=True):
    """What a thread runs in an interpreter, innermost frame first. As with native frames, `frames`
    may be fewer than `frames_total`. `end` says why there are no more (empty: it is the whole
    stack); `interpreter` is the number of the interpreter, 0 for the main one; `holds_lock`: this
    thread has the interpreter's lock (Python's GIL, Ruby's GVL). `thread` is what the runtime calls
    it."""

    language: str  # "python", "java", "javascript", "perl", "php", "ruby"
    version: str
    frames: list[InterpretedFrame]
    frames_total: int = 0
    folds: list[Fold] = []
    end: str = ""
    interpreter: int = 0
    holds_lock: bool = False
    exception: InterpretedException | None = None
    thread: str = ""


class Interpreter(msgspec.Struct, frozen=True, kw_only=True):
    """An interpreter in the process: the file that has it, the numbers of its (sub-)interpreters,
    its threads, and whether it was about to end."""

    language: str  # "python", "java", "perl", "php", "ruby"
    version: str
    module: str
    interpreters: list[int] = []
    threads: int = 0
    finalizing: bool = False
