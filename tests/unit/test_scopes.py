"""Names of inlined functions that the linker has none for, with what is around them, as gdb has it:
by the SymCache and by our own reader."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.build import need
from tests.support.compare import differences
from tests.support.gcore import gcore_at_fault
from tests.support.oracle import gdb_frames
from tests.support.variables_compare import report_of

from usercrash.analysis.assemble import assemble

NESTED = r"""
#define IN inline __attribute__((always_inline))
static volatile int *hole;
namespace first { namespace {
template <typename T> struct Box { static IN int deep(T x) { *hole = x; return x + 1; } };
IN int hidden(int x) { return Box<long>::deep(x) + 1; }
} }
namespace first { inline namespace v2 { struct Shape { struct Part; int area(int x); }; } }
struct first::v2::Shape::Part { IN int take(int x) { return hidden(x) + 2; } };
union Either { int a; float b;
    IN int both(int x) { return first::v2::Shape::Part().take(x) + a; } };
IN int first::v2::Shape::area(int x) { Either e{x}; return e.both(x); }
namespace second {
__attribute__((noinline)) int outer(int x) {
    struct Local { IN int inside(int y) { return first::Shape().area(y) + 1; } };
    auto lambda = [&](int z) __attribute__((always_inline)) { return Local().inside(z) + x; };
    return lambda(x) + 1;
}
}
int main(int c, char **) { return second::outer(c) + 1; }
"""

WANTED = [
    "first::(anonymous namespace)::Box<long>::deep", "first::(anonymous namespace)::hidden",
    "first::v2::Shape::Part::take", "Either::both", "first::v2::Shape::area",
    "second::outer::Local::inside", "second::outer::{lambda}::operator()", "second::outer",
    "main",
]  # fmt: skip


@pytest.mark.parametrize("how", ["-gdwarf-4", "-gdwarf-5", "-gsplit-dwarf", "-gz=zlib"])
def test_scopes_of_inlined_functions(tmp_path: Path, how: str) -> None:
    source = tmp_path / "program.cc"
    source.write_text(NESTED)
    program = tmp_path / "program"
    subprocess.run(
        [need("g++", "g++"), "-g", how, "-O2", source, "-o", program], cwd=tmp_path, check=True
    )
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    ours = analyse(core)
    report = assemble(ours.image, ours.modules, ours.symbolizer, "0" * 32)
    frames = report.threads[0].frames
    names = [(frame.function or "").replace("(int)", "") for frame in frames]
    assert [name.replace("long int", "long") for name in names][: len(WANTED)] == WANTED
    oracle = gdb_frames(core, program)[ours.image.threads[0].tid]
    found = differences(report.threads[0], oracle)
    assert {one.kind for one in found} <= {"wider"}, list(map(str, found))
    assert not report.notes


ROWS_ONLY = """
static volatile int *hole;
__attribute__((noinline)) int fault(int x) {
    *hole = x;
    return x + 1; }
static inline int within(int x) { return fault(x) + 2; }
__attribute__((noinline)) int outer(int x) {
    return within(x) + 3; }
int main(int c, char **v) { (void)v;
    return outer(c) + 4; }
"""


@pytest.mark.parametrize("compressed", [False, True])
def test_lines_of_functions_without_an_entry(tmp_path: Path, compressed: bool) -> None:
    """clang -gmlt: debug information names only functions that others are inlined into."""
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(ROWS_ONLY)
    flags = ["-gmlt", "-O1", *(["-gz=zlib"] if compressed else [])]
    subprocess.run([need("clang", "clang"), *flags, "-o", program, source], check=True)
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    ours = analyse(core)
    report = assemble(ours.image, ours.modules, ours.symbolizer, "0" * 32)
    places = [
        (frame.function, frame.source.line, frame.inline)
        for frame in report.threads[0].frames[:4]
        if frame.source is not None
    ]
    assert places == [("fault", 4, False), ("within", 6, True), ("outer", 8, False),
                      ("main", 10, False)]  # fmt: skip


ORDER = r"""
struct item { struct item *next; double price; };
static inline __attribute__((always_inline)) double sum(struct item *o, int limit, double start) {
    double total = start; struct item *each = o;
    for (int k = 0; k < limit; k++) { total += each->price; each = each->next; }
    return total; }
__attribute__((noinline)) double bill(struct item *first, int count) {
    return sum(first, count + 1, 0.5); }
int main(int c, char **v) { (void)v; struct item one = {0, 1.0}; return (int)bill(&one, c); }
"""


METHOD = r"""
struct item { item *next; double price; };
struct Till { virtual double sum(item *o, int limit, double start); };
inline __attribute__((always_inline)) double Till::sum(item *o, int limit, double start) {
    double total = start; item *each = o;
    for (int k = 0; k < limit; k++) { total += each->price; each = each->next; }
    return total; }
__attribute__((noinline)) double bill(Till *till, item *first, int count) {
    return till->Till::sum(first, count + 1, 0.5); }
int main(int c, char **) { item one = {0, 1.0}; Till t; return (int)bill(&t, &one, c); }
"""


@pytest.mark.parametrize("how", ["-gdwarf-4", "-gdwarf-5", "-flto"])
@pytest.mark.parametrize("language", ["c", "cc"])
def test_an_inlined_function_has_its_variables_as_declared(
    tmp_path: Path, how: str, language: str
) -> None:
    method = language == "cc"
    source, program = tmp_path / f"program.{language}", tmp_path / "program"
    source.write_text(METHOD if method else ORDER)
    compiler = need("g++", "g++") if method else need("gcc", "gcc")
    subprocess.run([compiler, "-g", how, "-O2", source, "-o", program], check=True)
    frame = report_of(gcore_at_fault([bytes(program)], tmp_path / "core")).threads[0].frames[0]
    assert (frame.function or "").startswith("Till::sum" if method else "sum")
    assert frame.inline
    assert [one.name for one in frame.variables if one.kind == "parameter"] == [
        *["this"][: int(method)], "o", "limit", "start",
    ]  # fmt: skip
    locals_ = [one.name for one in frame.variables if one.name in ("total", "each")]
    assert locals_ == ["total", "each"]
