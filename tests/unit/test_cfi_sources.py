"""Where call frame information comes from: compressed sections, separate debug files, tables that
lie; and files laid out in every way that linkers know."""

from __future__ import annotations

import struct
import subprocess
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.build import need
from tests.support.gcore import gcore_at_fault

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.core.module_files import FileProviders
from usercrash.analysis.core.modules import Module
from usercrash.analysis.dwarf.call_frames import CallFrames
from usercrash.analysis.dwarf.cfi import FrameSection, Row
from usercrash.analysis.dwarf.frame_index import EhFrameHdr, FrameTable
from usercrash.analysis.symbols.debug_files import separate_elf

SOURCE = """
static int table[4];
__attribute__((noinline)) int third(int n, int *where) { *where = n; return n + table[n & 3]; }
__attribute__((noinline)) int second(int n) { volatile int kept[9]; kept[n & 7] = n;
    return third(n + kept[n & 7], (int *)(long)(n - n)) + kept[1]; }
__attribute__((noinline)) int first(int n) { return second(n * 2) + 1; }
int main(int c, char **v) { (void)v; return first(c) & 1; }
"""
NO_EH_FRAME = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-exceptions")
LIBC = Path("/usr/lib/x86_64-linux-gnu/libc.so.6")


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def _built(place: Path, *flags: str, name: str = "program") -> Path:
    source = place / "program.c"
    source.write_text(SOURCE)
    program = place / name
    _run(need("gcc", "gcc"), "-g", "-O1", "-fomit-frame-pointer", "-o", program, source, *flags)
    return program


def _rows(elf: ElfFile, functions: dict[str, int]) -> list[Row | None]:
    frames = CallFrames(elf, None, 0, lambda address, size: b"")
    return [frames.row(start + at) for start in functions.values() for at in range(0, 24, 4)]


def _functions(elf: ElfFile) -> dict[str, int]:
    table = elf.symbols
    found = {}
    for start in table._starts:
        name = table.find(start)
        if name is not None and name[0] in (b"first", b"second", b"third", b"main"):
            found[name[0].decode()] = start
    assert len(found) == 4
    return found


def test_compressed_debug_frame(tmp_path: Path) -> None:
    plain = _built(tmp_path, *NO_EH_FRAME)
    elf = ElfFile(plain.read_bytes())
    functions = _functions(elf)
    wanted = _rows(elf, functions)
    assert sum(row is not None for row in wanted) > 12
    for kind in ("zlib", "zlib-gnu", "zstd"):
        packed = tmp_path / kind
        _run(need("objcopy", "binutils"), f"--compress-debug-sections={kind}", plain, packed)
        smaller = ElfFile(packed.read_bytes())
        section = smaller.debug_section(b"frame")
        assert section is not None
        assert (section.name == b".zdebug_frame") == (kind == "zlib-gnu")
        assert section.size != elf.debug_section(b"frame").size  # type: ignore[union-attr]
        assert _rows(smaller, functions) == wanted, kind


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_damaged_compression_reads_as_empty(kind: int) -> None:
    from usercrash.analysis.binary.inflation import inflate

    assert inflate(memoryview(b"\x28\xb5\x2f\xfd" + b"\xff" * 40), kind, 1000) == b""


def test_frames_from_a_separate_debug_file(tmp_path: Path) -> None:
    program = _built(tmp_path, *NO_EH_FRAME, "-Wl,--build-id=none")
    elf = ElfFile(program.read_bytes())
    wanted = _rows(elf, _functions(elf))
    objcopy, debug = need("objcopy", "binutils"), tmp_path / "program.debug"
    _run(objcopy, "--only-keep-debug", program, debug)
    stripped = tmp_path / "stripped"
    _run(objcopy, "--strip-all", f"--add-gnu-debuglink={debug}", program, stripped)
    bare = ElfFile(stripped.read_bytes())
    assert bare.debug_section(b"frame") is None
    asked: list[int] = []

    def find() -> ElfFile | None:
        asked.append(1)
        module = Module(str(stripped).encode(), 0, 0, 0, [], elf=bare)
        return separate_elf(module)

    frames = CallFrames(bare, None, 0, lambda address, size: b"", debug_file=find)
    functions = _functions(elf)
    found = [frames.row(start + at) for start in functions.values() for at in range(0, 24, 4)]
    assert found == wanted
    assert asked == [1]


def test_both_tables_say_the_same(tmp_path: Path) -> None:
    """Assemblers write both from the same directives."""
    source = tmp_path / "program.c"
    source.write_text('__asm__(".cfi_sections .eh_frame, .debug_frame");' + SOURCE)
    program = tmp_path / "both"
    _run(need("gcc", "gcc"), "-g", "-O2", "-o", program, source)
    elf = ElfFile(program.read_bytes())
    section = elf.debug_section(b"frame")
    assert section is not None
    other = FrameTable(FrameSection(elf.contents(section), 0, debug_frame=True))
    frames = CallFrames(elf, None, 0, lambda address, size: b"")
    for start in _functions(elf).values():
        for pc in range(start, start + 16):
            assert frames.row(pc) == other.row(pc), hex(pc)


# --- headers that lie ---


def _tables() -> tuple[FrameSection, bytearray, int]:
    elf = ElfFile(LIBC.read_bytes())
    section, segment = elf.section(b".eh_frame"), elf.eh_frame_hdr
    assert section is not None and segment is not None
    raw = bytearray(elf.view[segment.offset : segment.offset + segment.filesz])
    return FrameSection(elf.contents(section), section.address), raw, segment.vaddr


def _some_pcs() -> list[int]:
    section, raw, address = _tables()
    header = EhFrameHdr(bytes(raw), address)
    pcs = []
    for number in range(0, header.count, 97):
        found = section.fde(header._entries[number] + address - section.address)
        pcs.append(found.start + 1)
    return pcs


@pytest.mark.parametrize("damage", ["unsorted", "shifted", "foreign", "cut"])
def test_a_header_that_lies_is_not_believed(damage: str) -> None:
    section, raw, address = _tables()
    wanted = [FrameTable(section).row(pc) for pc in _some_pcs()]
    assert all(wanted)
    rows = [raw[at : at + 8] for at in range(12, len(raw), 8)]
    if damage == "unsorted":
        rows.reverse()
    elif damage == "shifted":
        rows = [one[:4] + other[4:] for one, other in pairwise(rows)]
    elif damage == "foreign":
        rows = [one[:4] + struct.pack("<i", 12) for one in rows]
    else:
        rows = rows[: len(rows) // 2]
        raw[8:12] = struct.pack("<I", len(rows))
    header = EhFrameHdr(bytes(raw[:12]) + b"".join(map(bytes, rows)), address)
    table = FrameTable(section, header)
    found = [table.row(pc) for pc in _some_pcs()]
    if damage == "cut":  # nothing shows that rows are missing
        found, wanted = found[: len(found) // 2], wanted[: len(wanted) // 2]
    assert found == wanted


# --- layouts ---

LAYOUTS = {
    "separate code": ("-Wl,-z,separate-code",),
    "one segment for all": ("-Wl,-z,noseparate-code",),
    "not at the usual place": ("-no-pie", "-Wl,-Ttext-segment=0x30000000"),
    "linked high, loaded elsewhere": ("-pie", "-Wl,-Ttext-segment=0x40000000"),
    "huge pages": ("-Wl,-z,max-page-size=0x200000", "-Wl,-z,common-page-size=0x200000"),
    "lld": ("-fuse-ld=lld",),
    "lld with separate code": ("-fuse-ld=lld", "-Wl,-z,separate-code"),
    "static": ("-static",),
}


def _names(program: Path, place: Path) -> list[str]:
    core = gcore_at_fault([bytes(program)], place / "core")
    seen = analyse(core)
    stack = seen.stack()
    assert stack.complete, stack.end
    assert all(str(frame.trust) in ("context", "cfi") for frame in stack.frames)
    return seen.names(stack)[:4]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout(layout: str, tmp_path: Path) -> None:
    need("ld.lld", "lld")
    program = _built(tmp_path, *LAYOUTS[layout])
    assert _names(program, tmp_path) == ["third", "second", "first", "main"]


def test_patched_file(tmp_path: Path) -> None:
    """patchelf moves the program headers and adds a segment."""
    program = _built(tmp_path)
    _run(need("patchelf", "patchelf"), "--set-rpath", "/nowhere/" + "x" * 5000, program)
    assert _names(program, tmp_path) == ["third", "second", "first", "main"]


def test_file_without_section_headers(tmp_path: Path) -> None:
    """All that is left are the program headers: call frame information, dynamic symbols."""
    program = _built(tmp_path, "-rdynamic", "-Wl,-z,separate-code")
    data = bytearray(program.read_bytes())
    end = struct.unpack_from("<Q", data, 40)[0]
    data[40:48] = bytes(8)  # e_shoff
    data[58:64] = bytes(6)  # e_shentsize, e_shnum, e_shstrndx
    program.write_bytes(data[:end])
    assert _names(program, tmp_path) == ["third", "second", "first", "main"]


@pytest.mark.parametrize("hash_style", ["gnu", "sysv"])
def test_a_module_whose_file_is_gone(tmp_path: Path, hash_style: str) -> None:
    """Its memory has the call frame information and the dynamic symbols."""
    program = _built(tmp_path, "-rdynamic", f"-Wl,--hash-style={hash_style}")
    core = gcore_at_fault([bytes(program)], tmp_path / "core", full=True)
    seen = analyse(core, FileProviders([]))
    stack = seen.stack()
    assert {module.how for module in seen.modules} == {"memory"}
    assert seen.names(stack)[:4] == ["third", "second", "first", "main"]
    assert stack.complete, stack.end
    assert all(str(frame.trust) in ("context", "cfi") for frame in stack.frames)


def test_a_file_mapped_twice(tmp_path: Path) -> None:
    """The copy that is only read does not move the module that runs."""
    place = partial(_built, tmp_path)
    program = place(name="once")
    source = (tmp_path / "program.c").read_text()
    head = "#include <sys/mman.h>\n#include <fcntl.h>\n"
    extra = "int fd = open(v[0], 0); mmap(0, 1 << 16, PROT_READ, MAP_PRIVATE, fd, 0);"
    twice = tmp_path / "twice.c"
    twice.write_text(head + source.replace("(void)v;", extra))
    program = tmp_path / "twice"
    _run(need("gcc", "gcc"), "-g", "-O1", "-o", program, twice)
    assert _names(program, tmp_path) == ["third", "second", "first", "main"]
