"""What HotSpot, the Java virtual machine, says of its end in hs_err_pidN.log.

The text is that of VMError::report (src/hotspot/share/utilities/vmError.cpp) and
frame::print_on_error (…/runtime/frame.cpp) of OpenJDK; lines that are of no known form are
passed over. It is the process's own word: nothing rests on it but what it says itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_MAX_LINES = 4000
_MAX_FRAMES = 2000
_MAX_WORDS = 400
# A method: its name, and what stands in and behind its brackets has none: else a line of brackets
# could be divided in endless ways.
_METHOD = rb"(\S+)\(([^\s()]*)\)([^\s()]+)"
_NUMBERS = re.compile(rb"pid=(\d{1,10}), tid=(\d{1,10})$")
_SIGNAL = re.compile(rb"#  (SIG[A-Z0-9+]{1,12}) \(0x[0-9a-f]+\) at pc=(0x[0-9a-f]{1,16}), ")
_THREAD = re.compile(rb'Current thread(?: \(0x[0-9a-f]+\))?: +(\w+) "(.*)" *(?:daemon )?\[(\w*), ')
_VERSION = re.compile(rb"# Java VM: .*?\(([0-9][^,)]*)")
_ADDRESS = re.compile(rb"siginfo: si_signo: \d+ \(SIG\w+\), si_code: -?\d+ \((\w+)\)(?:.*"
                      rb"si_addr: (0x[0-9a-f]{1,16}))?")  # fmt: skip
_INTERPRETED = re.compile(rb"j  " + _METHOD + rb"\+(\d{1,6})(?: (\S+))?$")
_COMPILED = re.compile(
    rb"J +\d+(%?) +(?:(c1|c2|jvmci) +)?" + _METHOD + rb"(?: (\S+))? \(\d+ bytes\)"
    rb" @ (0x[0-9a-f]{1,16})"
)
_STUB = re.compile(rb"v  ~(\S+)(?: (0x[0-9a-f]{1,16}))?")
_NATIVE = re.compile(rb"[CV]  \[(.{1,255})\+(0x[0-9a-f]{1,16})\](?:  (.*))?$")
_CALL_STUB = "StubRoutines::call_stub"
_BASE = {
    "B": "byte", "C": "char", "D": "double", "F": "float", "I": "int", "J": "long", "S": "short",
    "Z": "boolean", "V": "void",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class JavaFrame:
    """A Java method, or (`stub`) a piece of code that the machine has made for itself. `bytecode`
    is the index in the method's code where it is interpreted, `compiler` "c1" or "c2" where it is
    compiled; `module` is NAME@VERSION; `pc` 0 where it is not told."""

    function: str
    stub: bool = False
    bytecode: int | None = None
    compiler: str = ""
    module: str = ""
    pc: int = 0

    @property
    def entry(self) -> bool:
        """Whether native code entered Java here."""
        return self.stub and self.function == _CALL_STUB


@dataclass(frozen=True, slots=True)
class NativeFrame:
    """A frame in a library, by its file's name and the distance from where it is loaded."""

    library: str
    offset: int


@dataclass(slots=True)
class HsErr:
    """One such file. `title` is its first line that says what happened, `message` the one below it
    where it is not a signal; `signal` and `code` are names, of a signal only, `pc` and `address`
    numbers; `java` are the Java frames, innermost first, `stack` those among native ones."""

    pid: int = 0
    tid: int = 0
    title: str = ""
    message: str = ""
    signal: str = ""
    code: str = ""
    pc: int = 0
    address: int | None = None
    version: str = ""
    problem: str = ""  # the problematic frame
    thread: str = ""  # kind, name and state of the thread
    java: list[JavaFrame] = field(default_factory=list)
    stack: list[JavaFrame | NativeFrame] = field(default_factory=list)
    cut: bool = False  # there were more Java frames than are here


def parse_hs_err(data: bytes) -> HsErr | None:
    """What the text says; None where it does not say whose it is. Never raises."""
    found = HsErr()
    lines = data.split(b"\n")[:_MAX_LINES]
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else b""
        if line.startswith(b"#"):
            _head(found, line, following)
        elif line.startswith(b"Current thread") and (match := _THREAD.match(line)):
            kind, name, state = (_text(one) for one in match.groups())
            found.thread = f'{kind} "{name}", {state}' if state else f'{kind} "{name}"'
        elif line.startswith(b"Native frames:"):
            _frames(found.stack, lines[number + 1 :])
        elif line.startswith(b"Java frames:"):
            mixed: list[JavaFrame | NativeFrame] = []
            found.cut = _frames(mixed, lines[number + 1 :])
            found.java = [one for one in mixed if isinstance(one, JavaFrame)]
        elif line.startswith(b"siginfo:") and (match := _ADDRESS.match(line)):
            found.code = _text(match[1])
            found.address = int(match[2], 16) if match[2] else None
    if not found.java:
        found.java = [one for one in found.stack if isinstance(one, JavaFrame)]
    return found if found.pid else None


def _head(found: HsErr, line: bytes, following: bytes) -> None:
    """A line of the head, which is a comment."""
    if not found.pid and (match := _NUMBERS.search(line)):
        found.pid, found.tid = int(match[1]), int(match[2])
        found.title = _text(line[: match.start()].strip(b"#, "))
        if signal := _SIGNAL.match(line):
            found.signal, found.pc = _text(signal[1]), int(signal[2], 16)
        elif following.startswith(b"#  "):
            found.message = _text(following[3:])
    elif line.startswith(b"# Java VM:") and (match := _VERSION.match(line)):
        found.version = _text(match[1])
    elif line.startswith(b"# Problematic frame:"):
        found.problem = _text(following.removeprefix(b"# "))


def _frames(into: list[JavaFrame | NativeFrame], lines: list[bytes]) -> bool:
    """Adds the frames up to the first line that is none; True if there are said to be more."""
    for line in lines[:_MAX_FRAMES]:
        frame = _frame(line)
        if frame is None:
            if line[:3] in (b"C  ", b"V  ", b"A  ", b"J  ", b"j  ", b"v  "):
                continue  # (a native frame in no library)
            return line.startswith(b"...")
        into.append(frame)
    return len(lines) > _MAX_FRAMES


def _frame(line: bytes) -> JavaFrame | NativeFrame | None:
    if match := _NATIVE.match(line):
        return NativeFrame(_text(match[1]), int(match[2], 16))
    if match := _INTERPRETED.match(line):
        name, arguments, _, bytecode, module = match.groups()
        return JavaFrame(
            method(_text(name), _text(arguments)), bytecode=int(bytecode), module=_text(module)
        )
    if match := _COMPILED.match(line):
        _, compiler, name, arguments, _, module, pc = match.groups()
        return JavaFrame(
            method(_text(name), _text(arguments)), compiler=_text(compiler) or "compiled",
            module=_text(module), pc=int(pc, 16),
        )  # fmt: skip
    if match := _STUB.match(line):
        return JavaFrame(_text(match[1]), stub=True, pc=int(match[2] or b"0", 16))
    return None


def _text(data: bytes | None) -> str:
    return (data or b"").strip()[:_MAX_WORDS].decode("utf-8", "backslashreplace")


def method(name: str, arguments: str) -> str:
    """`Shop.sell(int, String)` of a method's name and the descriptors of its arguments (JVM
    specification, 4.3); as they stand where they make no sense."""
    types = []
    rest = arguments
    while rest:
        inner = rest.lstrip("[")
        dimensions = len(rest) - len(inner)
        if inner[:1] == "L" and ";" in inner:
            path, _, rest = inner[1:].partition(";")
            words = path.rpartition("/")[2].rpartition(".")[2]
        elif inner[:1] in _BASE:
            words, rest = _BASE[inner[0]], inner[1:]
        else:
            return f"{name}({arguments})"
        types.append(words + "[]" * dimensions)
    return f"{name}({', '.join(types)})"
