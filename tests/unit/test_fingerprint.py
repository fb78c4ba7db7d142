"""Fingerprints: the same over builds, machines and runs; another for another crash."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.gcore import gcore_at_fault
from tests.support.sample_frames import frame, thread
from tests.support.spawn import compile_c
from tests.unit.test_analyze_many import usercrash

import usercrash.report as r
from usercrash.analysis.explain.fingerprint import fingerprint
from usercrash.function_identity import function_identity
from usercrash.library_sources import is_library_source

SEGV = r.Signal(number=11, name="SIGSEGV", code=1, code_name="SEGV_MAPERR")
ABRT = r.Signal(number=6, name="SIGABRT", code=-6, code_name="SI_TKILL")
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("list_sum", "list_sum"),
        ("list_sum.constprop.0", "list_sum"),
        ("list_sum.isra.0.cold", "list_sum"),
        ("list_sum.llvm.1234567890", "list_sum"),
        ("read@@GLIBC_2.2.5", "read"),
        ("__GI___strlen", "__strlen"),
        ("shop::serve(std::vector<int> const&)", "shop::serve"),
        ("shop::serve(int) const", "shop::serve"),
        ("shop::serve(int) const &", "shop::serve"),
        ("shop::serve(int) [clone .part.0]", "shop::serve"),
        ("void twice<long, Sorter<long> >(long, void (*)(int))", "twice"),
        ("std::map<int, std::string>::at(int const&)", "std::map::at"),
        ("(anonymous namespace)::aim(int)", "{anonymous}::aim"),
        ("shop::serve(int)::{lambda(int)#2}::operator()(int) const", "shop::serve"
         "::{lambda}::operator()"),
        ("main::$_1::operator()() const", "main::{lambda}::operator()"),
        ("std::ostream& operator<< <char>(std::ostream&, char)", "operator<<"),
        ("bool operator<(A const&, A const&)", "operator<"),
        ("A::operator bool() const", "A::operator bool"),
        ("A::operator->() const", "A::operator->"),
        ("non-virtual thunk to A::run()", "A::run"),
        ("shop::serve::h0123456789abcdef", "shop::serve"),
        ("shop[8a3fe1c2d4b5a697]::serve::{closure#0}", "shop::serve::{closure}"),
        ("shop::serve::{{closure}}", "shop::serve::{closure}"),
        ("<shop::Cart as core::ops::drop::Drop>::drop",
         "<shop::Cart as core::ops::drop::Drop>::drop"),
        ("<alloc::vec::Vec<T,A> as core::ops::drop::Drop>::drop",
         "<alloc::vec::Vec as core::ops::drop::Drop>::drop"),
        ("core::ptr::drop_in_place::<shop::Cart>", "core::ptr::drop_in_place"),
        ("main.(*Server).Serve", "main.(*Server).Serve"),
        ("main.main.func1.2", "main.main.func1"),
        ("<>", "<>"),
        ("(", "("),
        (">>>)))((", ">>>)))"),
    ],
)  # fmt: skip
def test_identity_of_a_function(name: str, identity: str) -> None:
    assert function_identity(name) == identity


def of(frames: list[r.Frame], signal: r.Signal | None = SEGV, cause: r.Cause | None = None,
       program: str = "shelfd", folds: list[r.Fold] | None = None) -> r.Fingerprint:  # fmt: skip
    return fingerprint(signal, cause, program, thread(1, "t", frames, folds=folds or []))


def test_libraries_that_crash_on_bad_arguments_do_not_count() -> None:
    """Which strlen it is depends on the processor."""
    own = [frame(1, "serve"), frame(2, "main"), frame(3, "__libc_start_main", module=LIBC)]
    fast = of([frame(0, "__strlen_avx2", module=LIBC), *own])
    slow = of([frame(0, "__strlen_sse2", module=LIBC), *own])
    assert fast == slow
    assert fast.frames == ["serve", "main"]


def test_addresses_and_lines_do_not_count_and_functions_do() -> None:
    here = of([frame(0, "serve", 0x10, ("a.c", 3)), frame(1, "main")])
    there = of([frame(0, "serve", 0x99, ("b/a.c", 77)), frame(1, "main", module="/opt/new/shelfd")])
    assert here.key == there.key
    assert of([frame(0, "drop"), frame(1, "main")]).key != here.key
    assert of([frame(0, "serve"), frame(1, "main")], ABRT).key != here.key


def test_how_it_aborted_counts() -> None:
    frames = [frame(0, "__pthread_kill", module=LIBC), frame(1, "abort", module=LIBC),
              frame(2, "main")]  # fmt: skip
    keys = {
        of(frames, ABRT, r.Cause(kind="abort", summary="x", reason=reason)).key
        for reason in ("assertion", "double-free", "abort")
    }
    assert len(keys) == 3


@pytest.mark.parametrize("runtime", ["__rustc::", "__rustc[59807616e1fa2540]::", ""])
def test_how_a_panic_ends_the_program_does_not_count(runtime: str) -> None:
    """All of it is in the program's own file; newer compilers put it into a crate of its own."""
    ending = [
        "std::sys::pal::unix::abort_internal", "std::process::abort", f"{runtime}__rust_abort",
        f"{runtime}__rust_start_panic", f"{runtime}rust_panic", "std::panicking::panic_with_hook",
        "std::panicking::panic_handler::{closure#0}",
        "std::sys::backtrace::__rust_end_short_backtrace::<std::panicking::panic_handler, !>",
        f"{runtime}rust_begin_unwind", "core::panicking::panic_fmt", "core::option::unwrap_failed",
    ]  # fmt: skip
    names = ["abort", *ending, "shop::price", "shop::main"]
    names += ["std::sys::backtrace::__rust_begin_short_backtrace", "std::rt::lang_start"]
    frames = [frame(at, name) for at, name in enumerate(names)]
    assert of(frames, ABRT).frames == ["shop::price", "shop::main"]
    assert of(frames, ABRT).first == len(ending) + 1


def test_what_is_between_an_algorithm_and_its_caller_does_not_count() -> None:
    """The same comparison crashes below two libraries, and below two versions of one."""
    inner = "sorted(std::vector<int>&)::{lambda(int, int)#1}::operator()(int, int) const"
    gnu = ["bool __gnu_cxx::__ops::_Iter_comp_iter<X>::operator()(int*, int*)",
           "void std::__introsort_loop<int*>(int*, int*)", "std::sort(int*, int*)"]  # fmt: skip
    llvm = ["unsigned int std::__1::__sort3<X>(int*, int*)", "std::__1::__sort<X>(int*, int*)"]
    keys = set()
    for between in (gnu, llvm, []):
        names = [inner, *between, "sorted(std::vector<int>&)", "main", "_start"]
        found = of([frame(at, name) for at, name in enumerate(names)])
        assert found.frames == ["sorted::{lambda}::operator()", "sorted", "main"]
        keys.add(found.key)
    assert len(keys) == 1
    thrown = ["abort", "std::__throw_out_of_range_fmt(char const*, ...)",
              "std::map<int, int>::at(int const&)", "shop::price(int)", "main"]  # fmt: skip
    found = of([frame(at, name) for at, name in enumerate(thrown)], ABRT)
    assert (found.frames, found.first) == (["shop::price", "main"], 3)
    only = of([frame(0, "std::sort(int*, int*)"), frame(1, "_start")])
    assert only.frames == ["std::sort", "_start"]  # (better than nothing)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("core::slice::sort::stable::sort::h0123456789abcdef", False),
        ("<alloc::vec::Vec<T> as core::ops::index::Index<I>>::index::h0123456789abcdef", False),
        ("<[i64]>::sort_by::<shop::by>::{closure#0}", False),
        ("<&i64 as core::ops::arith::Add<&i64>>::add", False),
        ("<alloc::vec::Vec<shop::Item> as shop::Pay>::pay::h0123456789abcdef", True),
        ("<shop::Item as core::ops::drop::Drop>::drop", True),
        ("<i64 as shop::Pay>::pay", True),
        ("shop::core::price", True),
    ],
)
def test_what_of_rust_counts(name: str, counts: bool) -> None:
    rust = r.Source(file="/home/me/shop/src/main.rs", line=1)
    names = ["shop::inner", name, "shop::outer", "shop::main"]
    frames = [msgspec.structs.replace(frame(at, one), source=rust) for at, one in enumerate(names)]
    assert (len(of(frames).frames) == 4) == counts


@pytest.mark.parametrize(
    ("file", "library"),
    [
        ("/usr/include/boost/smart_ptr/shared_ptr.hpp", True),
        ("/usr/bin/../lib/gcc/x86_64-linux-gnu/12/../../../../include/c++/12/memory", True),
        ("/usr/lib/llvm-14/include/c++/v1/memory", True),
        ("/opt/llvm/bin/../include/c++/v1/memory", True),
        ("/usr/lib/go-1.19/src/sort/sort.go", True),
        ("/usr/local/go/src/sort/sort.go", True),
        ("/rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/core/src/option.rs", True),
        (
            "/home/me/.rustup/toolchains/stable/lib/rustlib/src/rust/library/core/src/option.rs",
            True,
        ),
        ("library/alloc/src/vec/mod.rs", True),
        ("/home/me/shop/include/shop.h", False),
        ("/usr/src/shop/list.c", False),
        ("library/src/shelf.rs", False),
        ("../usr/include/a.h", False),
        ("list.c", False),
    ],
)
def test_where_the_programs_own_code_begins(file: str, library: bool) -> None:
    """A header's function counts, as only debug information tells where it is from, but is not
    the program's own innermost."""
    frames = [frame(0, "shelf::get", source=(file, 3)), frame(1, "main", source=("main.c", 9))]
    assert is_library_source(file) is library
    assert of(frames).first == (1 if library else 0)
    assert of(frames).key == of([frame(0, "shelf::get"), frame(1, "main")]).key
    assert of(frames[:1]).first == 0  # (better than nothing)


def test_a_namespace_called_as_rusts_library_counts() -> None:
    names = ["core::Engine::tick(int)", "alloc::Pool::take()", "main"]
    frames = [frame(at, name) for at, name in enumerate(names)]
    assert of(frames).frames == ["core::Engine::tick", "alloc::Pool::take", "main"]


def test_of_a_recursion_the_cycle_counts() -> None:
    """Whichever of its functions ran out of stack."""
    cause = r.Cause(kind="stack-overflow", summary="x", reason="recursion")
    names = ["even", "odd"] * 4
    one = [frame(at, name) for at, name in enumerate(names)] + [frame(9, "main")]
    other = [frame(0, "odd"), *(frame(at + 1, name) for at, name in enumerate(names))]
    first = of(one, SEGV, cause, folds=[r.Fold(start=0, length=2, times=4)])
    second = of([*other, frame(9, "main")], SEGV, cause, folds=[r.Fold(start=1, length=2, times=4)])
    assert first.key == second.key
    assert first.frames == ["even", "odd"]


def test_without_names_files_count_and_the_program() -> None:
    frames = [frame(0, None, None, module="/usr/lib/libshelf-2.1.so.3.4"),
              frame(1, None, None, module="/usr/lib/libshelf-2.1.so.3.4"),
              frame(2, None, None, module="/usr/sbin/shelfd")]  # fmt: skip
    found = of(frames)
    assert found.frames == ["libshelf.so (no name)", "shelfd (no name)"]
    assert of(frames, program="other").key != found.key


def test_of_few_functions_the_kind_of_fault_counts() -> None:
    frames = [frame(0, "main"), frame(1, "__libc_start_main", module=LIBC)]
    kinds = [r.Cause(kind=kind, summary="x") for kind in ("null-pointer", "bad-address")]
    assert len({of(frames, SEGV, cause).key for cause in kinds}) == 2
    assert len({of([frame(0, "serve"), *frames], SEGV, cause).key for cause in kinds}) == 1


def test_an_interpreters_functions_stand_where_its_loop_does() -> None:
    python = "/usr/bin/python3.11"
    frames = [
        frame(0, "strlen", module=LIBC),
        frame(1, None, None, module="/usr/lib/libffi.so.8"),
        frame(2, "_PyEval_EvalFrameDefault", module=python),
        frame(3, "main", module=python),
    ]
    rows = [("parse", "/opt/a/shop/feed.py"), ("load", "/opt/a/shop/feed.py"), ("<module>", "x.py")]
    stack = r.InterpretedStack(
        language="python", version="3.11.2",
        frames=[r.InterpretedFrame(index=at, function=name, file=file, line=at, native=2)
                for at, (name, file) in enumerate(rows)],
    )  # fmt: skip
    found = fingerprint(SEGV, None, "python3.11", thread(1, "t", frames, interpreted=[stack]))
    assert found.frames == ["feed:parse", "feed:load", "x:<module>"]


def test_one_that_did_not_crash_and_one_without_stack() -> None:
    assert of([frame(0, "poll"), frame(1, "main")], None).sort == "alive"
    assert fingerprint(SEGV, None, "shelfd", None).frames == []


BUG = """
#include <string.h>
struct item { struct item *next; const char *name; };
%s
__attribute__((noinline)) static unsigned long measure(struct item *i) {
    return strlen(i->next->name) + 1;
}
__attribute__((noinline)) static unsigned long walk(struct item *i, int n) {
    return n ? walk(i, n - 1) + 1 : measure(i) + 1;
}
int main(int argc, char **argv) {
    struct item last = {0, 0}, first = {&last, "x"};
    (void)argv;
    return (int)walk(&first, argc + %d) + 1;
}
"""


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, r.Report]]:
    """The reports of one bug in several builds, depths and versions of its program."""
    with tempfile.TemporaryDirectory(prefix="uc-builds-") as name:
        os.chmod(name, 0o755)  # the unprivileged analysis reads the programs
        yield reports_of_builds(Path(name))


def reports_of_builds(place: Path) -> dict[str, r.Report]:
    more = "int unused(int n) { return n * 77; }\n"
    kinds: dict[str, tuple[str, int, list[str]]] = {
        "plain": ("", 1, []),
        "optimized": ("", 1, ["-O2"]),
        "deeper": ("", 7, ["-O0"]),
        "later": (more + "\n\n\n", 1, ["-O1"]),
        "without-debug-information": ("", 1, ["-g0"]),
        "not-pie": ("", 1, ["-no-pie", "-O2"]),
        "static": ("", 1, ["-static"]),
    }
    cores = place / "cores"
    cores.mkdir()
    for name, (lines, depth, flags) in kinds.items():
        program = compile_c(place, name, BUG % (lines, depth), *flags)
        gcore_at_fault([bytes(program)], cores / name)
    output = place / "reports"
    done = usercrash(cores, "--output", output)
    assert done.returncode == 0, done.stderr
    return {name: r.from_json((output / f"{name}.json").read_bytes()) for name in kinds}


def test_builds_of_one_bug_are_equal(builds: dict[str, r.Report]) -> None:
    found = {name: report.fingerprint for name, report in builds.items()}
    assert {name: one.frames for name, one in found.items() if one is not None} == {
        name: ["measure", "walk", "main"] for name in builds
    }
    assert len({one.key for one in found.values() if one is not None}) == 1


def test_the_report_says_its_fingerprint(builds: dict[str, r.Report]) -> None:
    from usercrash.render.text import render_text

    report = builds["plain"]
    assert report.fingerprint is not None
    assert f"fingerprint {report.fingerprint.key}" in render_text(report)
