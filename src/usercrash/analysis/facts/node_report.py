"""What Node.js says of itself in a diagnostic report (lib/internal/process/report.js,
src/node_report.cc; reportVersion 3 to 5 have these fields)."""

from __future__ import annotations

from typing import Annotated

import msgspec

_Bytes = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]  # JSON has numbers of any length
TRIGGERS_OF_AN_END = ("FatalError", "OOMError")  # Node.js aborts when it has written the report
_NO_STACK = "No stack."


class Header(msgspec.Struct, frozen=True):
    """`event` is what happened in words, or a signal's name; `trigger` of which kind it was."""

    event: str
    trigger: str
    processId: int
    dumpEventTimeStamp: str
    nodejsVersion: str = ""


class Stack(msgspec.Struct, frozen=True):
    """The stack of the error that was reported: `message`, and lines of `at …`."""

    message: str = ""
    stack: list[str] = []


class Heap(msgspec.Struct, frozen=True):
    """V8's heap, in bytes."""

    usedMemory: _Bytes = 0
    memoryLimit: _Bytes = 0


class NodeReport(msgspec.Struct, frozen=True):
    """The head of a report."""

    header: Header
    javascriptStack: Stack = Stack()
    javascriptHeap: Heap = Heap()

    @property
    def message(self) -> str:
        """What the error says, in one line; empty where there was none."""
        text = self.javascriptStack.message
        return "" if text == _NO_STACK else " ".join(text.split())

    @property
    def calls(self) -> list[str]:
        """The calls of the error's stack, innermost first, as Node.js writes them."""
        lines = (line.strip() for line in self.javascriptStack.stack)
        return [line for line in lines if line.startswith("at ")]

    @property
    def seconds(self) -> float:
        """When it was written, since 1970."""
        text = self.header.dumpEventTimeStamp
        return int(text) / 1000 if text.isascii() and text.isdigit() and len(text) < 16 else 0.0


def parse_node_report(data: bytes) -> NodeReport | None:
    """The report, None where it is of no known form."""
    try:
        return msgspec.json.decode(data, type=NodeReport)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
