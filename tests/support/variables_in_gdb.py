"""Runs inside gdb: arguments and locals of the crashing thread's frames, as one line of JSON after
`USERCRASH `. Arguments by the convenience variables of gdb: $limit, frames.

A value is a list: ["number", n], ["float", text], ["char", n], ["bool", n], ["enum", n, text],
["pointer", address], ["reference", address, value], ["record", [[name, value] …]], ["array",
[value …]], ["chars", [n …]], ["gone"] for what is optimized out, ["error", words], ["other", text].
"""

from __future__ import annotations

import json
import re
import sys

import gdb  # type: ignore[import-untyped]

DEPTH = 6
ELEMENTS = 64
Value = list[object]


def read(value: gdb.Value, depth: int = 0) -> Value:
    try:
        return _read(value, depth)
    except gdb.error as error:
        words = str(error)
        return ["gone"] if "optimized out" in words else ["error", words]


def _read(value: gdb.Value, depth: int) -> Value:
    kind = value.type.strip_typedefs()
    if kind.code in (gdb.TYPE_CODE_REF, gdb.TYPE_CODE_RVALUE_REF):
        target = value.referenced_value()
        return ["reference", int(target.address), read(target, depth + 1)]
    if value.is_optimized_out:
        return ["gone"]
    if depth > DEPTH:
        return ["other", "deep"]
    printer = gdb.default_visualizer(value)
    if printer is not None:
        return _container(printer, depth)
    if kind.code in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        return ["record", list(_members(value, kind, depth))]
    if kind.code == gdb.TYPE_CODE_ARRAY:
        return _array(value, kind, depth)
    return _scalar(value, kind)


def _container(printer: object, depth: int) -> Value:
    """What libstdc++'s own printers make of its types."""
    kind, shown = type(printer).__name__, printer.to_string()  # type: ignore[attr-defined]
    if "String" in kind:
        text = shown.value() if hasattr(shown, "value") else shown
        if isinstance(text, str):
            return ["chars", list(text.strip('"').encode())]
        length = shown.length
        return ["chars", list(text.string("utf-8", length=length).encode())]
    if not hasattr(printer, "children"):
        return ["other", str(shown)]
    children = [read(gdb.Value(value), depth + 1) for _, value in printer.children()]
    if "Vector" in kind or "Map" in kind:
        return ["array", children]
    return children[0] if children else ["other", "none"]


def _members(value: gdb.Value, kind: gdb.Type, depth: int) -> list[Value]:
    found: list[Value] = []
    for field in kind.fields():
        name = field.name or ""
        if hasattr(field, "bitpos") and not name.startswith("_vptr"):
            shown = f"<{name}>" if field.is_base_class else name
            found.append([shown, read(value[field], depth + 1)])
    return found


def _is_char(kind: gdb.Type) -> bool:
    return kind.code == gdb.TYPE_CODE_CHAR or (
        kind.code == gdb.TYPE_CODE_INT and "char" in str(kind)
    )


def _array(value: gdb.Value, kind: gdb.Type, depth: int) -> Value:
    low, high = kind.range()
    target = kind.target().strip_typedefs()
    numbers = range(low, min(high, low + ELEMENTS - 1) + 1)
    if _is_char(target) and target.sizeof == 1:
        return ["chars", [int(value[number]) & 255 for number in numbers]]
    return ["array", [read(value[number], depth + 1) for number in numbers]]


def _scalar(value: gdb.Value, kind: gdb.Type) -> Value:
    if kind.code == gdb.TYPE_CODE_PTR:
        value.fetch_lazy()
        return ["pointer", int(value)] if "synthetic" not in str(value) else ["gone"]
    if kind.code == gdb.TYPE_CODE_BOOL:
        return ["bool", int(value)]
    if kind.code == gdb.TYPE_CODE_ENUM:
        return ["enum", int(value), str(value)]
    if _is_char(kind):
        return ["char", int(value)]
    if kind.code == gdb.TYPE_CODE_INT:
        return ["number", int(value)]
    shown = value.format_string(raw=True)
    if kind.code == gdb.TYPE_CODE_METHODPTR:
        found = re.search(r"\) (0x[0-9a-f]+)", shown)
        return ["pointer", int(found[1], 16)] if found else ["other", shown]
    return ["float" if kind.code == gdb.TYPE_CODE_FLT else "other", shown]


def variables(frame: gdb.Frame) -> list[Value]:
    found: list[Value] = []
    frame.select()
    try:
        block = frame.block()
    except RuntimeError:  # no debug information
        return found
    while block is not None:
        for symbol in block:
            if symbol.addr_class == gdb.SYMBOL_LOC_TYPEDEF or not (
                symbol.is_argument or symbol.is_variable
            ):
                continue
            try:
                value = read(frame.read_var(symbol, block))
            except (gdb.error, RuntimeError, ValueError) as error:
                value = ["error", str(error)]
            found.append([symbol.name, bool(symbol.is_argument), str(symbol.type), value])
        if block.function is not None:
            break
        block = block.superblock
    return found


def frames(most: int) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    frame = gdb.newest_frame()
    while frame is not None and len(found) < most:
        if frame.type() != gdb.TAILCALL_FRAME:
            found.append({"name": frame.name(), "variables": variables(frame)})
        frame = frame.older()
    return found


sys.path.insert(0, "/usr/share/gcc/python")
from libstdcxx.v6 import printers  # type: ignore[import-not-found] # noqa: E402

printers.register_libstdcxx_printers(None)
gdb.execute("set print repeats unlimited")
gdb.execute("set print symbol off")
print("USERCRASH " + json.dumps(frames(int(gdb.convenience_variable("limit")))))
