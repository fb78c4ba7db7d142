"""Stacks that are no row of calls: other stacks, jumps to nowhere, code made at run time.

Each must end where its truth ends, and say so; where gdb goes on with words that it found on the
way, the table says what it shows.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.analysed import analyse
from tests.support.gcore import gcore_at_fault
from tests.support.oracle import gdb_frames
from tests.support.spawn import compile_c

from usercrash.analysis.unwinding.frames import no_way
from usercrash.analysis.unwinding.unwind import Trust

SOURCE = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define KEEP __attribute__((noinline))
KEEP void fault(void) { *(volatile int *)8 = 1; __asm__ volatile(""); }
/* a hand-written switch to another stack, as green threads have */
__asm__(".text\n.globl switch_to\n.type switch_to,@function\nswitch_to:\n"
  " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
  " mov %rsp,(%rdi)\n mov %rsi,%rsp\n"
  " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
  ".size switch_to,.-switch_to\n");
void switch_to(void **save, void *to);
static void *saved;
KEEP static void green(void) { fault(); __asm__ volatile(""); switch_to(&saved, saved); }
KEEP static void start_green(void) {
    long *top = (long *)((char *)aligned_alloc(16, 65536) + 65536);
    *--top = 0; *--top = 0; *--top = (long)green;
    top -= 6; memset(top, 0, 48);
    switch_to(&saved, top); __asm__ volatile("");
}
KEEP static int on_clone(void *p) { (void)p; fault(); __asm__ volatile(""); return 0; }
static jmp_buf back;
KEEP static void jumps(int n) { if (n) jumps(n - 1); else longjmp(back, 1); __asm__ volatile(""); }
KEEP static void after_jump(void) { if (!setjmp(back)) jumps(20); fault(); __asm__ volatile(""); }
KEEP static void wild(void (*f)(void)) { f(); __asm__ volatile(""); }
KEEP static void unmapped(void) {
    __asm__ volatile("lea 1f(%%rip),%%rax\n push %%rax\n mov $0x123456789000,%%rax\n"
                     " push %%rax\n ret\n1:" ::: "rax", "memory");
}
KEEP static void jit(int frames) {
    unsigned char *code = mmap(0, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *at = code;
    /* frames × (push rbp; mov rbp, rsp; call next; pop rbp; ret), then a call of fault */
    for (int i = 0; i < frames; i++) {
        memcpy(at, "\x55\x48\x89\xe5\xe8\2\0\0\0\x5d\xc3", 11); at += 11;
    }
    memcpy(at, "\x55\x48\x89\xe5\x48\xb8", 6); void (*f)(void) = fault; memcpy(at + 6, &f, 8);
    memcpy(at + 14, "\xff\xd0\x5d\xc3", 4);
    ((void (*)(void))code)(); __asm__ volatile("");
}
KEEP static _Noreturn void never(void) { fault(); abort(); }
KEEP static void smash(void) {
    volatile long room[2];
    for (int i = 0; i < 40; i++) room[i] = 0x5555;
}
int main(int c, char **v) {
    switch (v[c - 1][0]) {
    case 'g': start_green(); break;
    case 't':
        clone(on_clone, (char *)aligned_alloc(16, 65536) + 65536,
              CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0);
        for (;;) pause();
    case 'l': after_jump(); break;
    case 'n': wild(0); break;
    case 'w': wild((void (*)(void))0x123456789000); break;
    case 'x': wild((void (*)(void))(long)0x8877665544332211); break;
    case 'd': { static char data[4096]; wild((void (*)(void))data); break; }
    case 'u': unmapped(); break;
    case 'j': jit(5); break;
    case 'r': never();
    case 's': smash();
    }
    return 0;
}
"""

MAIN = ["main", "__libc_start_call_main", "__libc_start_main_impl", "_start"]
END = "end of stack"
NOWHERE = "is not in executable memory, and no call led there"

# The letter: what it is, our frames ("0x": a pc without a name), how they end, whether gdb's pcs
# are the same.
WAYS: dict[str, tuple[str, list[str], str, bool]] = {
    "g": ("a green thread, switched to by hand: gdb adds a frame 0x0",
          ["fault", "green"], END, False),
    "t": ("clone with a stack of its own", ["fault", "on_clone", "clone"], END, True),
    "l": ("after a longjmp out of 20 calls", ["fault", "after_jump", *MAIN], END, True),
    "n": ("a call of a null pointer", ["0x", "wild", *MAIN], END, True),
    "w": ("a call of unmapped memory", ["0x", "wild", *MAIN], END, True),
    "x": ("a call of an address that cannot be", ["wild", *MAIN], END, True),
    "d": ("a call of data", ["0x", "wild", *MAIN], END, True),
    "u": ("a return to unmapped memory: gdb takes the next word on the stack, whatever it is",
          ["0x"], NOWHERE, False),
    "j": ("code made at run time, by its frame pointers: gdb takes every word for a frame",
          ["fault", *["0x"] * 6, "jit", *MAIN], END, False),
    "r": ("a call that never returns is a function's last instruction",
          ["fault", "never", *MAIN], END, True),
    "s": ("an overwritten stack: gdb shows what it was overwritten with, 40 times",
          ["0x"], NOWHERE, False),
}  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("odd")
    return compile_c(place, "program", SOURCE, "-fno-stack-protector", "-w")


@pytest.mark.parametrize("way", list(WAYS))
def test_odd_stack(way: str, program: Path, tmp_path: Path) -> None:
    _, wanted, end, same = WAYS[way]
    core = gcore_at_fault([bytes(program), way.encode()], tmp_path / "core")
    ours = analyse(core)
    stack = ours.stack()
    names = [ours.locations(frame)[-1].function or "0x" for frame in stack.frames]
    assert names == wanted
    assert stack.end.endswith(end)
    theirs = gdb_frames(core, program, 100)[ours.image.threads[0].tid]
    pcs = [frame.pc for frame in stack.frames]
    assert (pcs == [frame.pc for frame in theirs if frame.is_real]) == same


@pytest.mark.parametrize(
    ("pointer", "wanted"), [("", ["0x", *MAIN]), (" xor %%ebp,%%ebp\\n", ["0x"]),
                            (" lea (%%rsp),%%rbp\\n", ["0x"])]
)  # fmt: skip
def test_nowhere_with_a_frame_pointer(pointer: str, wanted: list[str], tmp_path: Path) -> None:
    """A return to nowhere leaves the frame pointer of the function that did it, unless that was
    overwritten, too. gdb takes the next word on the stack for a return address."""
    flags = ("-O0", "-fno-stack-protector", "-w")
    source = SOURCE.replace(" push %%rax\\n ret", f" push %%rax\\n{pointer} ret")
    program = compile_c(tmp_path, "program", source, *flags)
    core = gcore_at_fault([bytes(program), b"u"], tmp_path / "core")
    ours = analyse(core)
    stack = ours.stack()
    assert [ours.locations(frame)[-1].function or "0x" for frame in stack.frames] == wanted
    trusts = [frame.trust for frame in stack.frames[1:]]
    assert trusts[:1] in ([], [Trust.FRAME_POINTER]) and set(trusts[1:]) <= {Trust.CFI}


SIGNALS = r"""
#define _GNU_SOURCE
#include <signal.h>
#define KEEP __attribute__((noinline))
KEEP void fault(void) { *(volatile int *)8 = 1; __asm__ volatile(""); }
static void third(int n) { (void)n; fault(); __asm__ volatile(""); }
static void second(int n) { (void)n; raise(SIGALRM); __asm__ volatile(""); }
static void first(int n) { (void)n; raise(SIGUSR2); __asm__ volatile(""); }
int main(void) {
    static char room[1 << 16];
    stack_t other = {.ss_sp = room, .ss_size = sizeof room};
    void (*handlers[])(int) = {first, second, third};
    int signals[] = {SIGUSR1, SIGUSR2, SIGALRM};
    if (FLAGS) sigaltstack(&other, 0);
    for (int i = 0; i < 3; i++) {
        struct sigaction action = {.sa_handler = handlers[i], .sa_flags = FLAGS};
        sigaction(signals[i], &action, 0);
    }
    raise(SIGUSR1);
    __asm__ volatile("");
    return 0;
}
"""


@pytest.mark.parametrize("flags", ["0", "SA_ONSTACK"])
def test_signals_in_each_other(flags: str, tmp_path: Path) -> None:
    program = compile_c(tmp_path, "program", SIGNALS, f"-DFLAGS={flags}")
    core = gcore_at_fault([bytes(program)], tmp_path / "core")
    ours = analyse(core)
    stack = ours.stack()
    names = [ours.locations(frame)[-1].function for frame in stack.frames]
    own = [name for name in names if name in ("fault", "third", "second", "first", "main")]
    assert own == ["fault", "third", "second", "first", "main"]
    assert [frame.signal_frame for frame in stack.frames].count(True) == 3
    theirs = gdb_frames(core, program)[ours.image.threads[0].tid]
    assert [frame.pc for frame in stack.frames] == [one.pc for one in theirs if one.is_real]
    assert stack.complete


def test_the_reason_where_no_module_lies() -> None:
    assert no_way(None, 0x10) == "no CFI for 0x10, which lies in no module"
