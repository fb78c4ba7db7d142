"""The gallery's table: programs that end themselves, arithmetic, instructions, the kernel's rules,
signals."""

from __future__ import annotations

from .cxx_ways import EXCEPTIONS, LIBRARIES
from .way import Family, Way

ABORTS = Family(
    "Programs that end themselves",
    "The program, or a library in it, found something wrong and called abort(). Its own message is "
    "the best lead: it stands in the line, and in the program's log.",
    (
        Way("c", "assertion", "abort", "assertion",
            "assertion failed: {any}: assertion: Assertion `shelves == 4' failed.",
            "A condition that must always hold did not: file and line are in the text."),
        Way("c", "double_free", "abort", "double-free",
            "the same memory was freed twice, found by {where}: free(): double free detected in "
            "tcache 2",
            "Found by glibc at the second free(). The first one was before."),
        Way("py", "double_free", "abort", "double-free",
            "the same memory was freed twice, found by double_free at ways.py:{number}: "
            "free(): double free detected in tcache 2",
            "By an extension module or ctypes.", listed=False),
        Way("c", "invalid_free", "abort", "invalid-free",
            "free() of a pointer that malloc() never gave, found by {where}: free(): invalid "
            "pointer",
            "A pointer into the middle of a block, to the stack or to static memory was freed."),
        Way("c", "heap_overrun", "abort", "heap-corruption",
            "the heap is corrupt, found by {where}: double free or corruption (out)",
            "Somebody wrote past the end of a block before. Where it is found is not where it was "
            "done: AddressSanitizer or valgrind finds that."),
        Way("c", "smashed_stack", "abort", "stack-smashing",
            "a buffer on the stack was overrun in {where}",
            "The function named wrote past the end of a local array. Treat it as exploitable."),
        Way("c", "fortified", "abort", "buffer-overflow",
            "buffer overflow: a checked library call by {where} would write past its buffer",
            "_FORTIFY_SOURCE stopped a strcpy(), memcpy(), sprintf() … before it overran."),
        Way("asan", "bounds", "abort", "sanitizer",
            "a sanitizer ended the program, by {where}: AddressSanitizer: global-buffer-overflow "
            "on address {any}",
            "Built with -fsanitize=address: the whole report is in the program's standard error."),
        Way("asan", "freed", "abort", "sanitizer",
            "a sanitizer ended the program, by {where}: AddressSanitizer: heap-use-after-free on "
            "address {any}", "The same.", listed=False),
        Way("c", "plain_abort", "abort", "abort", "abort() called by {where}",
            "No message was kept: look at the program's log."),
        Way("c", "raised_abort", "abort", "raised",
            "SIGABRT was raised by the process itself, in {where}",
            "raise(SIGABRT) instead of abort().", listed=False),
        Way("py", "glib_assertion", "abort", "assertion",
            "a GLib assertion failed, by glib_assertion at ways.py:{number}: "
            "Library:ERROR:shelf.c:42:put: assertion failed: (books > 0)",
            "g_assert() of a program with GLib."),
        Way("py", "glib_error", "abort", "fatal-log",
            "a fatal message to GLib's log, by glib_error at ways.py:{number}: no catalogue in "
            "/var/lib/library",
            "g_error(), or a warning with G_DEBUG=fatal-warnings: ends by SIGTRAP."),
        Way("py", "fatal_error", "abort", "python-fatal",
            "fatal error in the Python interpreter, by fatal_error at ways.py:{number}: the "
            "catalogue is in two places at once",
            "The interpreter's state is damaged, mostly by an extension module."),
        Way("py", "without_lock", "abort", "python-fatal",
            "fatal error in the Python interpreter, by {any}: the function must be called with the "
            "GIL held, {any}",
            "C code used Python's API without holding the interpreter's lock.",
            detail="Python was in without_lock at /"),
        Way("py", "aborted", "abort", "abort", "abort() called by aborted at ways.py:{number}",
            "os.abort().",
            listed=False),
        Way("musl", "freed_twice", "abort", "double-free",
            "the same memory was freed twice, found by {where}",
            "musl's free() says nothing: it stops by a fault of its own.", certainty="likely",
            detail="has the mark that musl's free() leaves"),
        Way("musl", "freed_inside", "abort", "invalid-free",
            "free() of a pointer that malloc() never gave, or freed twice, found by {where}",
            "The same with another pointer.", certainty="likely", listed=False),
        Way("musl", "overrun", "abort", "heap-corruption",
            "musl's C library stopped: the heap is corrupt, mostly, found by {where}",
            "The instruction hlt, with which musl ends a program whose heap is damaged.",
            certainty="likely"),
        Way("musl", "smashed_stack", "abort", "stack-smashing",
            "a buffer on the stack was overrun in {where}",
            "The stack protector of musl.", listed=False),
    ),
)  # fmt: skip

RUST = Family(
    "Rust panics",
    "A panic ends the whole program where it was built with panic=abort, in a function for C, or "
    "while another panic unwinds. Message and place were read from memory.",
    (
        Way("rs", "text", "abort", "rust-panic",
            "a Rust panic in ways::text, at {any}ways.rs:{number}:{number}: the shelf is empty",
            "panic!() with a fixed text."),
        Way("rs", "formatted", "abort", "rust-panic",
            "a Rust panic in ways::formatted, at {any}ways.rs:{number}:{number}: no book on shelf "
            "12 "
            "of 40",
            "panic!() with values.", listed=False),
        Way("rs", "index", "abort", "rust-panic",
            "a Rust panic in ways::index, at {any}ways.rs:{number}:{number}: index out of bounds: "
            "the "
            "len is 3 but the index is 7",
            "An index outside of its slice."),
        Way("rs", "unwrap", "abort", "rust-panic",
            "a Rust panic in ways::unwrap, at {any}ways.rs:{number}:{number}{any}",
            "unwrap() of None; its text is always the same, and not always found.", listed=False),
        Way("rs", "expected", "abort", "rust-panic",
            "a Rust panic in ways::expected, at {any}ways.rs:{number}:{number}: a number of pages: "
            "ParseIntError { kind: InvalidDigit }",
            "expect() of an error: the error's own text follows."),
        Way("rs", "overflow", "abort", "rust-panic",
            "a Rust panic in ways::overflow{any}, at {any}ways.rs:{number}:{number}: too many "
            "books",
            "In a closure.", listed=False),
        Way("rs", "division", "abort", "rust-panic",
            "a Rust panic in ways::division, at {any}ways.rs:{number}:{number}{any}",
            "Division by zero is a panic in Rust, not a signal.", listed=False),
        Way("rs", "aborted", "abort", "abort", "abort() called by ways::aborted{any}",
            "std::process::abort().", listed=False),
    ),
)  # fmt: skip

GO = Family(
    "Go panics",
    "A Go program only dies by a signal with GOTRACEBACK=crash (or where cgo code does); otherwise "
    "it prints its panic and exits with status 2. Value and text were read from memory.",
    (
        Way(
            "go",
            "text",
            "abort",
            "go-panic",
            "a Go panic, in main.text{any}: the shelf is empty",
            "panic() with a text.",
        ),
        Way(
            "go",
            "failed",
            "abort",
            "go-panic",
            "a Go panic, in main.failed{any}: no such book",
            "panic() with an error: its text.",
        ),
        Way(
            "go",
            "nilMap",
            "abort",
            "go-panic",
            "a Go panic, in main.nilMap{any}: assignment to entry in nil map",
            "A map that was never made.",
            listed=False,
        ),
        Way(
            "go",
            "nilPointer",
            "abort",
            "go-panic",
            "a Go panic, in main.nilPointer{any}: invalid memory address or nil pointer "
            "dereference",
            "A nil pointer: the line is in the first frame of the program's own.",
            plain=False,
        ),
        Way(
            "go",
            "index",
            "abort",
            "go-panic",
            "a Go panic, in main.index{any}: runtime error: index out of range [{number}] with "
            "length 3",
            "An index outside of its slice.",
        ),
        Way(
            "go",
            "deadlock",
            "abort",
            "go-fatal",
            "fatal error in the Go runtime: all goroutines are asleep - deadlock!",
            "Every goroutine waits for another one.",
        ),
        Way(
            "go",
            "structure",
            "abort",
            "go-panic",
            "a Go panic, in {where}",
            "A value of a type of the program's own.",
            listed=False,
        ),
        Way(
            "go",
            "unlocked",
            "abort",
            "go-fatal",
            "fatal error in the Go runtime",
            "sync: unlock of unlocked mutex, concurrent map writes …: what the runtime says before "
            "it changes to another stack. The text is in standard error.",
        ),
    ),
)

ARITHMETIC = Family(
    "Arithmetic (SIGFPE)",
    "Integers, in spite of the signal's name: floating-point numbers only trap if they are told "
    "to.",
    (
        Way("c", "division", "division-by-zero", "", "integer division by zero ({register} is 0)",
            "A divisor that was not checked: an empty list's length, a rate not yet known."),
        Way("c", "division_in_memory", "division-by-zero", "",
            "integer division by zero ({any} is 0)", "The same, read from memory.", listed=False),
        Way("c", "lowest", "division-overflow", "overflow",
            "-2147483648 divided by −1: the result does not fit 32 bits",
            "The lowest number has no positive counterpart."),
        Way("c", "lowest_long", "division-overflow", "overflow",
            "-9223372036854775808 divided by −1: the result does not fit 64 bits", "The same.",
            listed=False),
        Way("c", "floating_point", "arithmetic", "floating-point",
            "floating-point division by zero",
            "The program turned floating-point traps on (feenableexcept, -ffpe-trap of Fortran)."),
    ),
)  # fmt: skip

INSTRUCTIONS = Family(
    "Instructions (SIGILL, SIGTRAP)",
    "Either the program stopped itself on purpose, or it was built for another processor.",
    (
        Way("c", "builtin_trap", "illegal-instruction", "trap",
            "ud2: a trap placed on purpose, where execution should never come, in {where}",
            "A check of the program's or its compiler's failed, or a function ended without the "
            "return that it promised."),
        Way("clang", "sum", "illegal-instruction", "failed-check",
            "a check of undefined behaviour failed: a sum that does not fit, in {where}",
            "Built with -fsanitize-trap: the line says which rule of C was broken.",
            certainty="likely"),
        Way("clang", "bounds", "illegal-instruction", "failed-check",
            "a check of undefined behaviour failed: an index out of bounds, in {where}",
            "The same.", certainty="likely", listed=False),
        Way("clang", "shift", "illegal-instruction", "failed-check",
            "a check of undefined behaviour failed: a shift by too many bits, or of a negative "
            "number, in {where}",
            "The same.", certainty="likely", listed=False),
        Way("clang", "division", "illegal-instruction", "failed-check",
            "a check of undefined behaviour failed: a quotient that does not fit, or by zero, in "
            "{where}",
            "The same.", certainty="likely", listed=False),
        Way("c", "other_processor", "illegal-instruction", "unsupported",
            "the processor refused the instruction {instruction}, of the instruction set FMA4",
            "Built for another processor (-march=native elsewhere), or the virtual machine hides "
            "this instruction set: compare /proc/cpuinfo.", certainty="likely"),
        Way("c", "undefined_instruction", "illegal-instruction", "trap",
            "{any}: an instruction that is undefined on purpose, in {where}",
            "Compilers and runtimes place it where execution should never come.", listed=False),
        Way("c", "interrupt", "illegal-instruction", "refused",
            "the processor refused to run int 0x42: only the kernel may raise this interrupt",
            "Code of another system, or execution that went astray.", certainty="likely"),
        Way("c", "no_instruction", "illegal-instruction", "no-instruction",
            "no instruction at {address}: the bytes there are 06 06 06 06 06 06 06 06",
            "Execution came into data, or the code is damaged: compare the file with its package.",
            certainty="likely"),
        Way("c", "privileged", "illegal-instruction", "privileged", "privileged instruction: hlt",
            "Only the kernel may do this: execution went astray, or the program needs iopl()."),
        Way("c", "breakpoint", "breakpoint", "int3",
            "a breakpoint instruction (int3), and no debugger, in {where}",
            "A debugger's breakpoint was left in, or the program stopped itself with one."),
        Way("c", "single_step", "breakpoint", "trap", "single step, and no debugger",
            "The processor's trap flag was set: an anti-debugging trick, or a tracer that died."),
    ),
)  # fmt: skip

KERNEL = Family(
    "The kernel's rules",
    "The kernel ended the program because of a limit or a filter that somebody set.",
    (
        Way("c", "forbidden_call_of_32_bits", "seccomp", "filter",
            "a seccomp filter forbids getpid() (system call 20 of i386)",
            "A program of 64 bits made a system call of 32 bits (int 0x80).", listed=False),
        Way("c", "forbidden_call", "seccomp", "filter",
            "a seccomp filter forbids mkdirat() (system call 258)",
            "SystemCallFilter= of the unit, the container's profile or the program's own sandbox "
            "is "
            "too narrow for what it (or a newer C library) does.",
            detail="The call was mkdirat(0xffffff9c"),
        Way("c", "file_size", "file-size-limit", "",
            "a file grew past the file size limit of 1 MiB, in ftruncate()",
            "LimitFSIZE= or ulimit -f: raise it, or find out why the file (a log?) grows."),
        Way("c", "cpu_time", "cpu-limit", "", "the processor time limit is used up: 1 second",
            "LimitCPU= or ulimit -t: raise it, or look where the program spins."),
    ),
)  # fmt: skip

SIGNALS = Family(
    "Signals that were sent",
    "No fault of the program: somebody ended it, or it ended itself. The stack says what it was "
    "doing, not what went wrong.",
    (
        Way("c", "by_child", "sent-by-process", "kill",
            "SIGSEGV was sent by process {number} (executioner) of uid 0",
            "Who sent it stands in the line, by name if it still lived."),
        Way("c", "by_child_abort", "sent-by-process", "kill",
            "SIGABRT was sent by process {number} (systemd) of uid 0",
            "systemd's watchdog: the service did not report in time (WatchdogSec=). The stack says "
            "where it hung.", detail="watchdog"),
        Way("c", "by_timer", "sent-by-process", "other", "SIGQUIT: a timer expired",
            "A timer of the program's own that nobody handles.", certainty="likely"),
        Way("c", "own_segv", "raised", "raise",
            "SIGSEGV was raised by the process itself, in {where}",
            "No memory fault: the program sent the signal to itself."),
        Way("c", "by_other_thread", "raised", "raise",
            "SIGSEGV was sent by the process to itself",
            "By another of its threads: the one that is shown only received it.",
            detail="this one was in"),
        Way("c", "own_kill", "raised", "raise",
            "SIGQUIT was raised by the process itself, in {where}", "kill() of its own pid.",
            listed=False, thread=False),
        Way("py", "killed_itself", "raised", "raise",
            "SIGQUIT was raised by the process itself, in {any}", "os.kill().", listed=False,
            thread=False),
    ),
)  # fmt: skip

HANDLERS = Family(
    "Handlers of signals",
    "A program's own handler does not hide the first fault: the stack below the handler tells it.",
    (
        Way("c", "handled_and_raised", "null-pointer", "null-offset",
            "null pointer plus 0x10: {access} at 0x10 ({register} is 0)",
            "Its handler caught the fault and sent the signal again.", certainty="likely",
            detail="seems to have caught the fault", listed=False),
        Way("c", "handled_and_aborted", "division-by-zero", "",
            "integer division by zero ({register} is 0)",
            "Its handler caught the fault and called abort().", certainty="likely",
            detail="handler caught SIGFPE and ended the program", listed=False),
        Way("c", "fault_in_handler", "null-pointer", "null",
            "null pointer: {access} at 0x0 ({register} is 0)",
            "A fault in a handler itself.", detail="It happened in a signal handler", listed=False),
        Way("py", "with_fault_handler", "null-pointer", "null",
            "null pointer: {access} at 0x0 ({register} is 0)",
            "Python's faulthandler, which raises the signal again.", certainty="likely",
            detail="caught SIGSEGV", listed=False),
    ),
)  # fmt: skip

FAMILIES = (
    ABORTS,
    LIBRARIES,
    EXCEPTIONS,
    RUST,
    GO,
    ARITHMETIC,
    INSTRUCTIONS,
    KERNEL,
    SIGNALS,
    HANDLERS,
)
