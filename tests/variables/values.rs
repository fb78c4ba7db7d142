// Rust's values, on the way to a pointer to nothing.
use std::hint::black_box;

#[derive(Debug)]
#[allow(dead_code)]
enum Shape {
    Empty,
    Circle(f64),
    Square { side: u32, name: String },
}

#[allow(dead_code)]
struct Point {
    x: i32,
    y: i64,
}

#[inline(never)]
fn last(pointer: *const i32, text: &str, depth: u8) -> i32 {
    let letter = 'ä';
    let flag = depth > 0;
    let pair = (1i16, 2.5f32);
    black_box((&letter, &flag, &pair, text));
    unsafe { *pointer }
}

#[inline(never)]
fn visit(shape: &Shape, maybe: Option<u32>, none: Option<&Point>, boxed: Box<Point>) -> i32 {
    let numbers = vec![1u64, 2, 3];
    let words = vec![String::from("one"), String::from("two")];
    let array = [7u8; 20];
    let slice = &numbers[1..];
    let owned = String::from("owned");
    let result: Result<i32, String> = Err("failed".to_string());
    let empty = Shape::Empty;
    let square = Shape::Square { side: 4, name: "sq".to_string() };
    let unit = ();
    let big = -170141183460469231731687303715884105728i128;
    black_box((&numbers, &words, &array, &slice, &owned, &result, &empty, &square, &unit, &big));
    black_box((shape, &maybe, &none, &boxed));
    last(black_box(0x10 as *const i32), "text", 3) + boxed.x
}

fn main() {
    let shape = Shape::Circle(1.5);
    let point = Box::new(Point { x: -5, y: 6 });
    std::process::exit(visit(&shape, Some(9), None, point));
}
