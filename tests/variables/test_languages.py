"""Values as Rust and Go write them, which gdb shows as the records that they are."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.variables_compare import report_of
from usercrash.render.variables import call_words
from usercrash.report import Report

HERE = Path(__file__).parent
PANICS = """
use std::hint::black_box;
#[inline(never)]
fn price(shelf: u32, book: &str) -> u32 {
    let left = black_box(12u32);
    (0..left).map(|one| black_box(one) + shelf).for_each(|one| {
        black_box(one);
    });
    panic!("no price of {book} on shelf {shelf} of {left}")
}
#[inline(never)]
fn order(count: u32) -> u32 {
    let left = black_box(12);
    price(black_box(7), "oak") * count * left
}
fn main() {
    black_box(order(black_box(3)));
}
"""


def values(report: Report, function: str) -> dict[str, str]:
    """The variables of the innermost frame of a function."""
    frame = next(one for one in report.threads[0].frames if one.function == function)
    return {one.name: one.value for one in frame.variables}


def test_rust(tmp_path: Path) -> None:
    exe = tmp_path / "values"
    rustc = shutil.which("rustc") or need("rustc", "rustc")
    command = [rustc, "-g", "-o", str(exe), str(HERE / "values.rs")]
    subprocess.run(command, check=True, cwd=tmp_path)
    report = report_of(gcore_at_fault([bytes(exe)], tmp_path / "core"))
    assert values(report, "values::last") == {
        "pointer": "0x10 <not mapped>",
        "text": '"text"',
        "depth": "3",
        "pair": "(1, 2.5)",
        "flag": "true",
        "letter": "'ä'",
    }
    found = values(report, "values::visit")
    assert found.pop("shape").endswith(" → Circle(1.5)")
    assert found.pop("boxed").endswith(" → {x = -5, y = 6}")
    assert found == {
        "maybe": "Some(9)",
        "none": "None",
        "numbers": "{1, 2, 3}",
        "words": '{"one", "two"}',
        "array": "{7 <repeats 20 times>}",
        "slice": "{2, 3}",
        "owned": '"owned"',
        "result": 'Err("failed")',
        "empty": "Empty",
        "square": 'Square {side = 4, name = "sq"}',
        "unit": "()",
        "big": "-170141183460469231731687303715884105728",
    }


def test_of_a_rust_panic_the_call_is_the_programs_own(tmp_path: Path) -> None:
    """More frames end the program than variables are read of."""
    exe = tmp_path / "panics"
    (tmp_path / "panics.rs").write_text(PANICS)
    rustc = shutil.which("rustc") or need("rustc", "rustc")
    command = [rustc, "-g", "-C", "panic=abort", "-o", str(exe), "panics.rs"]
    subprocess.run(command, check=True, cwd=tmp_path)
    report = report_of(gcore_at_fault([bytes(exe)], tmp_path / "core"))
    own = report.fingerprint.first if report.fingerprint is not None else None
    assert own is not None
    assert report.threads[0].frames[own].function == "panics::price"
    assert values(report, "panics::price") == {"shelf": "7", "book": '"oak"', "left": "12"}
    assert values(report, "panics::order") == {"count": "3", "left": "12"}
    assert call_words(report) == 'panics::price(shelf = 7, book = "oak")'


SHARED = """
use std::collections::*; use std::rc::Rc; use std::sync::Arc;
struct Item { price: i32, name: String }
#[inline(never)] fn visit(p: *const i32) -> i32 {
    let hashed: HashMap<String, i32> = HashMap::from([("a".to_string(), 1)]);
    let ordered: BTreeMap<i32, i32> = BTreeMap::from([(1, 2), (2, 3)]);
    let set: HashSet<i32> = HashSet::from([1, 2, 3]);
    let nothing: BTreeSet<i32> = BTreeSet::new();
    let path = std::path::PathBuf::from("/srv/shop");
    let given = std::ffi::OsString::from("given");
    let shared = Rc::new(Item { price: 1, name: "shared".into() });
    let everywhere = Arc::new(7i64);
    let unsized_text: Rc<str> = "text".into();
    std::hint::black_box((&hashed, &ordered, &set, &nothing, &path, &given, &shared, &everywhere));
    std::hint::black_box((&unsized_text, shared.price, &shared.name));
    unsafe { *p }
}
fn main() { println!("{}", visit(std::hint::black_box(8 as *const i32))); }
"""


def test_what_rust_shares_and_collects(tmp_path: Path) -> None:
    source, exe = tmp_path / "shared.rs", tmp_path / "shared"
    source.write_text(SHARED)
    rustc = shutil.which("rustc") or need("rustc", "rustc")
    subprocess.run([rustc, "-g", "-o", str(exe), str(source)], check=True, cwd=tmp_path)
    found = values(report_of(gcore_at_fault([bytes(exe)], tmp_path / "core")), "shared::visit")
    assert found.pop("shared").endswith(' → {price = 1, name = "shared"}')
    assert found.pop("everywhere").endswith(" → 7")
    assert "→" not in found.pop("unsized_text")  # (better nothing than its first byte)
    assert found == {
        "p": "0x8 <not mapped>",
        "hashed": "{… 1 element}",
        "ordered": "{… 2 elements}",
        "set": "{… 3 elements}",
        "nothing": "{}",
        "path": '"/srv/shop"',
        "given": '"given"',
    }


def test_go(tmp_path: Path) -> None:
    exe = tmp_path / "values"
    command = [need("go", "golang-go"), "build", "-gcflags=all=-N -l", "-o", str(exe)]
    # (with Go's own cache, or its library would be compiled for a minute)
    environment = {"HOME": os.environ.get("HOME", "/tmp"), "PATH": os.defpath, "GO111MODULE": "off"}
    subprocess.run([*command, str(HERE / "values.go")], check=True, cwd=tmp_path, env=environment)
    report = report_of(gcore_at_fault([bytes(exe)], tmp_path / "core"))
    found = values(report, "main.last")
    assert found == {
        "where": "null",
        "text": '"here"',
        "numbers": "{4, 5, 6}",
        "flag": "true",
        "~r0": "0",
        "sum": "8",
    }
    visit = values(report, "main.visit")
    assert visit["p"] == '{x = 1, y = -2, name = "here"}'
    assert visit["pointer"].endswith(' → {x = 1, y = -2, name = "here"}')
    assert visit["words"] == '{"one", "two"}'
    assert visit["array"] == "{1, 2, 3, 4}"
    assert (visit["ratio"], visit["letter"], visit["empty"]) == ("2.5", "120", "{}")
