"""Readable names of D, Ada and Fortran, against c++filt and against real programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.build import need

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.dwarf.debug_info import DwarfFile
from usercrash.analysis.symbols.debug_reader import DebugReader
from usercrash.analysis.symbols.demangle import demangle
from usercrash.analysis.symbols.line_tables import LineTable

D_NAMES = [
    "_D3std5stdio7writelnFxAyaZv", "_Dmain", "_D3foo3bar3bazFiAyaZi",
    "_D3app5outerFiZ5innerMFZv", "_D3app__T3maxTiTlZQjFNaNbNiNfilZl",
    "_D2rt3aaA2AA5emptyMxFNaNbNdNiZb", "_D3app__T4PairTiZQi3sumMFNaNbNiNfZi",
    "_D2rt4util7utility__T8_ComplexTdZQm11__xopEqualsMxFKxSQCaQCaQBy__TQBtTdZQBzZb",
    # whole names as arguments of templates: of a variable, a function, one that stands in another
    "_D2pk2d2__T2alS_DQpQo4globiZQrFNaNbNiNfZv",
    "_D2pk2d2__T1SS_DQoQn2gfFiZvZQr1fFNaNbNiNfZv",
    "_D2dd__T7DerivedS_DQr__T5outerVAyaa5_68656c6c6fZ__T5innerTiZQjFiZ9__lambda2FNaNbNiiZiZQDa2go"
    "MxFiZi",
    # what a function is, by a reference back to its type
    "_D3std3xml__T3seqS_DQsQq10checkSpaceFNaNfKAyaZvS_DQBwQBv14checkAttributeQBkZQClQBr",
    # values: long, ubyte, char, bool, numbers of floating point, lists, a structure, null
    "_D2pk2d2__T2tiVlN5ZQiFNaNbNiNfZv", "_D2pk2d2__T2tuVhi3ZQiFNaNbNiNfZv",
    "_D2pk2d2__T2tcVai120ZQkFNaNbNiNfZv", "_D2pk2d2__T2tbVbi1ZQiFNaNbNiNfZv",
    "_D2pk2d2__T2tfVde18P0ZQkFNaNbNiNfZv", "_D2pk2d2__T2tfVdeN8PN3ZQmFNaNbNiNfZv",
    "_D2pk2d2__T2tfVdeNANZQkFNaNbNiNfZv", "_D2pk2d2__T2tfVdeNINFZQlFNaNbNiNfZv",
    "_D2pk2d2__T2taVAiA2i1i2ZQmFNaNbNiNfZv", "_D2pk2d2__T2thVHAyaiA1a1_61i1ZQtFNaNbNiNfZv",
    "_D2pk2d2__T2tpVSQpQo1PS2i1a1_71ZQvFNaNbNiNfZv", "_D2pk2d2__T2tnVPinZQiFNaNbNiNfZv",
    "_D3std8parallel__T4lazyTykVki4294967295ZQwFNaNbNdNiNfZyk",
]  # fmt: skip
ADA_NAMES = [
    "pkg__proc", "pkg__proc__2", "pkg__child__proc", "ada__text_io__put_line",
    "system__os_lib__get_file_names", "pkg__Oadd", "foo__Oconcat__3", "pkg__inner___elabs",
    "pkg___elabb", "pkg__workerTKB", "pkg__prot__writeN", "pkg__prot__writeP", "pkg__t__e_E5s",
    "pkg__pX", "pkg__pXnb", "pkg__taskTK__inner",
]  # fmt: skip


def _filt(style: str, names: list[str]) -> list[str]:
    command = [need("c++filt", "binutils"), "-s", style, *names]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_d_names_against_cxxfilt() -> None:
    assert [demangle(name) for name in D_NAMES] == _filt("dlang", D_NAMES)
    kind = "_D2rt5tlsgc14processGCMarksFNbPvMDFNbQhZiZv"
    assert demangle(kind) == "rt.tlsgc.processGCMarks(void*, scope int delegate(void*))"
    assert demangle("_D3app3oneFZ") == "_D3app3oneFZ" or demangle("_D3app3oneFZ") == "app.one()"


def test_ada_names_against_cxxfilt() -> None:
    assert [demangle(name, "ada") for name in ADA_NAMES] == _filt("gnat", ADA_NAMES)
    assert demangle("h__p__deep__inner.1", "ada") == "h.p.deep.inner"
    # what c++filt does not know (a task, a block, a second operation of that name)
    assert demangle("pkg__workerTB", "ada") == "pkg.worker"
    assert demangle("main__B_2__inner", "ada") == "main.inner"
    assert demangle("pkg__prot__writeP__2", "ada") == "pkg.prot.write"


@pytest.mark.parametrize(
    ("mangled", "language", "name"),
    [
        ("__shapes_MOD_area", "", "shapes::area"),
        ("__shapes_MOD_area", "fortran", "shapes::area"),
        ("outer_", "fortran", "outer"),
        ("MAIN__", "fortran", "main program"),
        ("shapes_mp_area_", "fortran", "shapes::area"),
        ("_QMshapesParea", "fortran", "shapes::area"),
    ],
)
def test_fortran_names(mangled: str, language: str, name: str) -> None:
    assert demangle(mangled, language) == name


@pytest.mark.parametrize(
    "name",
    ["outer_", "g__free", "foo__bar", "pkg__proc__2", "MAIN__", "_Do", "_DYNAMIC", "_Dfoo",
     "Parea", "_QUEUE", "main.main", "runtime.gopanic", "main.Map[go.shape.int]",
     "PyEval_EvalFrameDefault", "a_mp_b"],
)  # fmt: skip
def test_names_of_c_and_go_stay(name: str) -> None:
    assert demangle(name) == demangle(name, "c") == name


@given(st.text(alphabet="0123456789QZTFMNxyDAPS_abiv", max_size=60))
def test_any_text(tail: str) -> None:
    for language in ("", "ada", "fortran", "d"):
        assert demangle("_D" + tail, language)
        assert demangle("_D3app3one" + tail, language)
        assert demangle("_ada_" + tail, language)


ADA = """\
procedure H is
   package P is function "+" (A, B : String) return Integer; procedure Deep (X : Integer); end P;
   package body P is
     function "+" (A, B : String) return Integer is begin return A'Length + B'Length; end "+";
     procedure Deep (X : Integer) is
       procedure Inner is begin if X + ("a" + "b") > 3 then raise Program_Error; end if; end Inner;
     begin Inner; end Deep;
   end P;
begin P.Deep (4); end H;
"""
FORTRAN = """\
module shapes
contains
 subroutine area(x)
  integer :: x
  if (x > 3) call abort()
 end subroutine
end module
program main
 use shapes
 call area(4)
 call inside(3)
contains
 subroutine inside(y)
  integer :: y
  print *, y
 end subroutine
end program
"""
D = """\
module app;
struct Pair(T) { T a, b; T sum() { return a + b; } }
int outer(int n) { int inner(int k) { return k / n; } return inner(4); }
class K { int go(string s) { return cast(int) s.length + outer(0); } }
void main() { auto p = Pair!int(1, 2); auto k = new K; k.go("abc"); assert(p.sum() == 4); }
"""
RUST = """\
mod inside { pub trait Say { fn say(&self) -> usize; }
  impl<T: Clone> Say for Vec<T> { #[inline(never)] fn say(&self) -> usize { self.clone().len() } } }
use inside::Say;
fn main() { let v = vec![1u8, 2]; let f = |x: usize| x + v.say(); println!("{}", f(3)); }
"""
PROGRAMS = [
    ("gnatmake", "gnat", "h.adb", ADA, ["-q", "-g", "h.adb", "-o", "program"],
     {"h.p.deep", "h.p.deep.inner", 'h.p."+"', "h"}),
    ("gfortran", "gfortran", "f.f90", FORTRAN, ["-g", "f.f90", "-o", "program"],
     {"shapes::area"}),
    ("gdc", "gdc", "app.d", D, ["-g", "app.d", "-o", "program"],
     {"app.outer(int)", "inner", "app.K.go(immutable(char)[])",
      "app.Pair!(int).Pair.sum()"}),
    ("rustc", "rustc", "r.rs", RUST, ["-g", "r.rs", "-o", "program"], {"r::main"}),
    ("rustc", "rustc", "r.rs", RUST,
     ["-g", "-Csymbol-mangling-version=v0", "r.rs", "-o", "program"], {"r::main"}),
]  # fmt: skip


def _functions(elf: ElfFile) -> set[tuple[bytes, int]]:
    text = elf.section(b".text")
    assert text is not None
    places = range(text.address, text.address + text.size, 4)
    return {found for place in places if (found := elf.symbols.find(place)) is not None}


@pytest.mark.parametrize(
    ("compiler", "package", "file", "source", "flags", "expected"), PROGRAMS,
    ids=["ada", "fortran", "d", "rust", "rust-v0"],
)  # fmt: skip
def test_a_program_of_each_language(
    tmp_path: Path, compiler: str, package: str, file: str, source: str, flags: list[str],
    expected: set[str],
) -> None:  # fmt: skip
    """By a SymCache and by our own reader alike."""
    (tmp_path / file).write_text(source)
    command = [need(compiler, package), *flags]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    elf = ElfFile((tmp_path / "program").read_bytes())
    words = (b"h__", b"_ada_h", b"shapes", b"_D3app", b"1r", b"main")
    starts = {start for name, start in _functions(elf) if any(word in name for word in words)}
    reader = DebugReader(DwarfFile(elf))
    table = LineTable.convert(elf.without_symbols())
    first = next(row.vaddr for row in elf.program_headers if row.type == 1)
    for lookup, bias in ((reader.lookup, 0), (table.lookup, first)):
        found = {
            demangle(line.name, line.language)
            for address in starts for line in lookup(address - bias)
        }  # fmt: skip
        assert expected <= found, sorted(found)
