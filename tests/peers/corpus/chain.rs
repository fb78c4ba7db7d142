// The corpus's program in Rust: a closure that the standard library's sort calls writes to address 0.
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

static CALLS: AtomicUsize = AtomicUsize::new(0);

trait Target {
    fn hit(&self, value: usize) -> usize;
}

struct Hole(*mut usize);

impl Target for Hole {
    #[inline(never)]
    fn hit(&self, value: usize) -> usize {
        unsafe { std::ptr::write_volatile(black_box(self.0), value) };
        CALLS.fetch_add(1, Ordering::SeqCst)
    }
}

#[inline(always)]
fn aim(target: &dyn Target, value: usize) -> usize {
    target.hit(value) + CALLS.load(Ordering::SeqCst)
}

struct Sorter<T> {
    numbers: Vec<T>,
}

impl<T: Ord + Copy> Sorter<T> {
    #[inline(never)]
    fn run(&mut self, target: &dyn Target) -> T {
        self.numbers.sort_by(|one, other| {
            if CALLS.fetch_add(1, Ordering::SeqCst) > 3 {
                black_box(aim(target, 7));
            }
            one.cmp(other)
        });
        black_box(self.numbers[0])
    }
}

#[inline(never)]
fn twice(depth: usize, target: &dyn Target) -> usize {
    if black_box(depth) > 0 {
        return twice(depth - 1, target) + CALLS.load(Ordering::SeqCst);
    }
    let mut sorter = Sorter { numbers: vec![5usize, 2, 9, 1, 7, 3, 8, 30, 20, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 40, 50, 60, 6, 4] };
    sorter.run(target) + CALLS.load(Ordering::SeqCst)
}

fn main() {
    std::thread::spawn(|| std::thread::park());
    let hole = Hole(std::ptr::null_mut());
    println!("{}", twice(2, &hole));
}
