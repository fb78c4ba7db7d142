"""Layouts that an interpreter describes itself: the forms of 3.13 to 3.15, and what is no such."""

from __future__ import annotations

import json
import lzma
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cpython.keep_cores import KEPT
from tests.support.analysed import analyse
from usercrash.cpython.find import find, identify
from usercrash.cpython.layout import _FORMS, COOKIE, Layout, by_debug_offsets, by_version
from usercrash.cpython.objects import Objects
from usercrash.cpython.tables import TABLES
from usercrash.cpython.walk import walk

RUNTIME = 0x10000
FREE_THREADED = Path(__file__).parent / "free_threaded.json"
HEAD = 2048  # where the list of interpreters is put

Read = Callable[[int, int], bytes]


def kept() -> tuple[Read, int, list[list[object]]]:
    """The memory of the core of 3.13, its runtime, what was told of its stack."""
    image = analyse(lzma.decompress((KEPT / "3.13.generator.core.xz").read_bytes())).image
    runtime = int(image.facts[b"@cpython"].split()[0], 16)
    told = json.loads((KEPT / "3.13.generator.json").read_text())
    return image.read, runtime, next(iter(told.values()))


def as_314(read: Read, runtime: int, form: tuple[str, ...]) -> Read:
    """The same process as if it were of 3.14: described in this form, code pointers tagged."""
    source = _FORMS[3, 13][0]
    words = struct.unpack(f"<{len(source)}Q", read(runtime + 16, 8 * len(source)))
    values = dict(zip(source, words, strict=True)) | {"runtime_interpreters": HEAD, "": 24}
    head = COOKIE + struct.pack("<Q", 0x030E00F0)
    head += struct.pack(f"<{len(form)}Q", *(values[name] for name in form))
    interpreters = read(runtime + dict(zip(source, words, strict=True))["runtime_interpreters"], 8)
    memory = head.ljust(HEAD, b"\0") + interpreters + bytes(64)
    walked = walk(read, identify(read, b"", runtime))
    assert walked is not None
    tagged = {frame.address for thread in walked.threads for frame in thread.frames}

    def patched(address: int, size: int) -> bytes:
        if RUNTIME <= address < RUNTIME + len(memory):
            return memory[address - RUNTIME :][:size]
        data = bytearray(read(address, size))
        for frame in tagged:  # f_executable is the first word
            if address <= frame < address + len(data):
                data[frame - address] |= 1
        return bytes(data)

    return patched


@pytest.mark.parametrize("number", range(len(_FORMS[3, 14])))
def test_314(number: int) -> None:
    read, runtime, told = kept()
    changed = as_314(read, runtime, _FORMS[3, 14][number])
    found = identify(changed, b"python", RUNTIME)
    assert found.layout is not None and found.layout.name == "3.14.0"
    walked = walk(changed, found)
    assert walked is not None and walked.notes == []
    frames = [
        [frame.code.name.decode(), frame.code.file.decode()]
        for frame in walked.threads[0].frames
        if frame.code is not None
    ]
    assert frames == [row[:2] for row in told]


def test_versions_that_are_not_known() -> None:
    read, runtime, _ = kept()
    for version in (0x031000F0, 0x030F00F0, 0x030C00F0, 0x040D00F0):
        head = COOKIE + struct.pack("<Q", version)

        def changed(address: int, size: int, head: bytes = head) -> bytes:
            return head[:size] if address == runtime else read(address, size)

        assert by_debug_offsets(changed, runtime) is None
        assert identify(changed, b"libpython3.13.so", runtime).layout is None
    assert by_version(0x030D00F0) is None and by_version(0x02070000) is None
    assert by_version(0x030B0000) is not None


@pytest.mark.parametrize("minor", sorted(_FORMS))
def test_tables_are_what_interpreters_say(minor: tuple[int, int]) -> None:
    """Of each interpreter that describes itself: the table that the compiler made from its headers
    says the same of all that both have."""
    name = f"{minor[0]}.{minor[1]}.generator.core.xz"
    image = analyse(lzma.decompress((KEPT / name).read_bytes())).image
    layout = by_debug_offsets(image.read, int(image.facts[b"@cpython"].split()[0], 16))
    assert layout is not None and layout.minor == minor
    common = layout.at.keys() & TABLES[minor].keys()
    assert len(common) > 40
    assert {field: layout.at[field] for field in common} == {
        field: TABLES[minor][field] for field in common
    }


@pytest.mark.parametrize("minor", sorted(_FORMS))
def test_the_free_threaded_build(minor: tuple[int, int]) -> None:
    """Its headers, compiled with Py_GIL_DISABLED, make this description of itself; objects begin
    with 32 bytes there, and what it does not say is as the compiler has it, too."""
    words = json.loads(FREE_THREADED.read_text())[f"{minor[0]}.{minor[1]}"]
    memory = COOKIE + struct.pack(f"<{len(words)}Q", *words)
    layout = by_debug_offsets(lambda at, size: memory[at : at + size], 0)
    assert layout is not None and layout.free_threaded and layout.minor == minor
    at = layout.at
    assert (at["object_type"], at["object_size"], at["str_state"]) == (24, 32, 48)
    assert (at["exception_arguments"], at["dict_used"]) == (40, 32)
    raised = (136, 144) if minor == (3, 15) else (112, 120)
    assert (at["thread_raised"], at["thread_handled"]) == raised
    assert (at["handled_value"], at["handled_previous"]) == (0, 8)
    state = (0x60 if minor == (3, 13) else 0x1800) | 1 << (2 if minor == (3, 13) else 8)
    text = bytearray(at["str_ascii"]) + b"name"
    struct.pack_into("<Q", text, at["object_type"], STR)
    struct.pack_into("<Q", text, at["str_length"], 4)
    struct.pack_into("<I", text, at["str_state"], state)
    found = Objects(described(layout, bytes(text)), layout).text(TEXT)
    assert found is not None and found.decode() == "name"


def test_exceptions_where_only_some_of_their_places_are_known() -> None:
    """3.15 says where a raised exception is, the table where a handled one is: that counts only
    where both agree about threads."""
    image = analyse(lzma.decompress((KEPT / "3.15.exception.core.xz").read_bytes())).image
    runtime = int(image.facts[b"@cpython"].split()[0], 16)
    at = runtime + 16 + 8 * _FORMS[3, 15][0].index("thread_raised")

    def changed(address: int, size: int) -> bytes:
        data = bytearray(image.read(address, size))
        if address <= at < address + len(data):
            data[at - address : at - address + 8] = struct.pack("<Q", 8)
        return bytes(data)

    whole = walk(image.read, identify(image.read, b"", runtime))
    assert whole is not None and whole.threads[0].exception is not None
    walked = walk(changed, identify(changed, b"", runtime))
    assert walked is not None and walked.threads[0].exception is None
    assert len(walked.threads[0].frames) == len(whole.threads[0].frames) > 0


STR, TYPE, TEXT = 0x1000, 0x2000, 0x3000  # where `str`, `type` and a text of it lie


def described(layout: Layout, text: bytes) -> Read:
    """Memory that has these three objects."""
    memory = bytearray(TEXT) + text
    at = layout.at
    for kind, name in ((STR, b"str"), (TYPE, b"type")):
        struct.pack_into("<Q", memory, kind + at["object_type"], TYPE)
        struct.pack_into("<Q", memory, kind + at["type_name"], kind + 512)
        memory[kind + 512 : kind + 512 + len(name)] = name
    return lambda address, size: bytes(memory[address : address + size])


OLD = {
    "3.8": {b"PyCode_NewWithPosOnlyArgs"},
    "3.9": {b"PyCode_NewWithPosOnlyArgs", b"PyFrame_GetBack"},
    "3.10": {b"PyCode_NewWithPosOnlyArgs", b"PyFrame_GetBack", b"PyModule_AddObjectRef"},
}


@pytest.mark.parametrize("version", OLD)
def test_versions_without_a_number(version: str) -> None:
    """An interpreter in a program of any name: its functions tell which one it is. Structures of
    one of these versions make sense as another's, with other lines."""
    image = analyse(lzma.decompress((KEPT / f"{version}.generator.core.xz").read_bytes())).image
    runtime = int(image.facts[b"@cpython"].split()[0], 16)

    def found(functions: set[bytes]) -> tuple[str, str]:
        one = find(image.read, [(b"/srv/python3.7-shop", 0x1000)],
                   lambda start, name: runtime if name in functions else 0)  # fmt: skip
        assert one is not None
        return (one.layout.name if one.layout else "", one.why)

    assert found({b"_PyRuntime", *OLD[version]}) == (version, "")
    assert found({b"_PyRuntime"}) == ("", "its version is not known")


def test_names() -> None:
    assert [Layout(version, {}).name for version in (0x03090000, 0x030B02F0, 0x030E00C2)] == [
        "3.9", "3.11.2", "3.14.0rc2"
    ]  # fmt: skip


# What the table has by other names, or not at all.
OWN_WORDS = {
    "free_threaded": 0, "gil": 0, "gil_holder": 8, "gil_locked": 16, "tuple_size": 16,
    "bytes_size": 16, "str_compact_end": 64,
}  # fmt: skip


@given(st.data())
def test_any_offsets(data: st.DataObject) -> None:
    """What is believed fits: nothing is read outside of its structure."""
    minor = data.draw(st.sampled_from([*_FORMS]))
    form = data.draw(st.sampled_from(_FORMS[minor]))
    version = minor[0] << 24 | minor[1] << 16 | 0xF0
    base = TABLES[minor] | OWN_WORDS
    words = [base.get(name, 8) for name in form]
    changes = data.draw(st.integers(0, 4))
    for _ in range(changes):
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(
            st.one_of(st.integers(0, 512), st.integers(0, (1 << 64) - 1))
        )
    memory = COOKIE + struct.pack("<Q", version) + struct.pack(f"<{len(form)}Q", *words)
    layout = by_debug_offsets(lambda at, size: memory[at : at + size], 0)
    assert layout is not None or changes
    if layout is not None:
        at = layout.at
        assert (
            max(at[name] for name in at if name.startswith("code_") and name != "code_size")
            == (at["code_instructions"])
        )
        assert all(at[name] < 1 << 20 for name in at)
