// Ways of Rust programs to die (built with panic=abort); `ways WORD` dies that way, `ways WORD
// thread` in another thread.
use std::env;
use std::hint::black_box;

#[inline(never)]
fn text() {
    panic!("the shelf is empty");
}

#[inline(never)]
fn formatted() {
    let shelf = black_box(12);
    panic!("no book on shelf {shelf} of {}", black_box(40));
}

#[inline(never)]
fn index() {
    let books = vec![1, 2, 3];
    black_box(books[black_box(7)]);
}

#[inline(never)]
fn unwrap() {
    let none: Option<u32> = black_box(None);
    black_box(none.unwrap());
}

#[inline(never)]
fn expected() {
    let failed: Result<u32, std::num::ParseIntError> = black_box("x1").parse::<u32>();
    black_box(failed.expect("a number of pages"));
}

#[inline(never)]
fn overflow() {
    let most = black_box(i32::MAX);
    black_box(most.checked_add(black_box(1)).unwrap_or_else(|| panic!("too many books")));
}

#[inline(never)]
fn division() {
    black_box(black_box(10) / black_box(0));
}

#[inline(never)]
fn aborted() {
    std::process::abort();
}

#[inline(never)]
fn null_pointer() {
    let pointer: *const u64 = black_box(std::ptr::null());
    black_box(unsafe { std::ptr::read_volatile(pointer.wrapping_add(3)) });
}

#[inline(never)]
#[allow(unconditional_recursion)]
fn deeper(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    deeper(depth + 1) + room[3]
}

#[inline(never)]
fn stack() {
    black_box(deeper(1));
}

fn main() {
    let words: Vec<String> = env::args().collect();
    let ways: [(&str, fn()); 10] = [
        ("text", text),
        ("formatted", formatted),
        ("index", index),
        ("unwrap", unwrap),
        ("expected", expected),
        ("overflow", overflow),
        ("division", division),
        ("aborted", aborted),
        ("null_pointer", null_pointer),
        ("stack", stack),
    ];
    for (name, die) in ways {
        if words.get(1).is_some_and(|word| word == name) {
            if words.len() > 2 {
                std::thread::Builder::new().name("worker".into()).spawn(die).unwrap().join().ok();
            } else {
                die();
            }
        }
    }
    std::process::exit(4);
}
