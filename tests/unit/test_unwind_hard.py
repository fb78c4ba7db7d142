"""Stacks that are hard: no call frame information, odd signal frames, other stacks, deep ones."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tests.support.analysed import Analysed, analyse, their_groups
from tests.support.build import need
from tests.support.gcore import gcore_at_fault
from tests.support.oracle import gdb_frames
from tests.support.spawn import compile_c

from usercrash.analysis.binary.elf_file import ElfFile
from usercrash.analysis.unwinding.unwind import Trust, UnwindLimits

BARE = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-g0")


def crashed(place: Path, source: str, *flags: str) -> tuple[Analysed, Path, Path]:
    """Compile, run to the fault under gdb; (what we see, the core, the program)."""
    program = compile_c(place, "program", source, *flags)
    core = gcore_at_fault([bytes(program)], place / "core")
    return analyse(core), core, program


def same_as_gdb(ours: Analysed, core: Path, program: Path) -> None:
    """All stacks have gdb's pcs."""
    theirs = gdb_frames(core, program)
    for number, thread in enumerate(ours.image.threads):
        stack = ours.stack(number)
        wanted = [pc for pc, _ in their_groups(theirs[thread.tid])]
        assert [hex(frame.pc) for frame in stack.frames] == [hex(pc) for pc in wanted]


SIGRETURN = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
/* A C library without call frame information for its trampoline, as musl is. */
__asm__(".text\n.globl my_restorer\nmy_restorer: " RETURN "\n syscall\n");
void my_restorer(void);
struct action { void *handler; unsigned long flags; void *restorer; unsigned long mask; };
__attribute__((noinline)) void fault(void) { *(volatile int *)8 = 1; __asm__ volatile(""); }
static void handler(int n) { (void)n; fault(); __asm__ volatile(""); }
int main(void) {
    struct action a = {handler, SA_RESTORER_FLAG, my_restorer, 0};
    syscall(SYS_rt_sigaction, SIGUSR1, &a, NULL, 8);
    raise(SIGUSR1);
    __asm__ volatile("");
    return 0;
}
"""


@pytest.mark.parametrize("code", ["mov $15, %rax", "mov $15, %eax"])
def test_signal_trampoline_without_cfi(tmp_path: Path, code: str) -> None:
    source = SIGRETURN.replace("RETURN", f'"{code}"').replace("SA_RESTORER_FLAG", "0x04000000")
    ours, _, _ = crashed(tmp_path, source)
    stack = ours.stack()
    names = ours.names(stack)
    assert names[:3] == ["fault", "handler", "my_restorer"]
    assert stack.frames[2].signal_frame
    assert "main" in names[4:]
    assert stack.end == "end of stack"


MUSL = r"""
#include <signal.h>
__attribute__((noinline)) void fault(void) { *(volatile int *)8 = 1; __asm__ volatile(""); }
static void handler(int n) { (void)n; fault(); __asm__ volatile(""); }
__attribute__((noinline)) int busy(void) { int r = raise(SIGUSR1); __asm__ volatile(""); return r; }
int main(void) { signal(SIGUSR1, handler); busy(); __asm__ volatile(""); return 0; }
"""


@pytest.mark.parametrize("flags", [[], ["-static"]], ids=["dynamic", "static"])
def test_musl(tmp_path: Path, flags: list[str]) -> None:
    """musl's own code has no call frame information at all; gdb goes astray in it."""
    if shutil.which("musl-gcc") is None:
        pytest.skip("musl-gcc is not installed: apt-get install musl-tools")
    source, program = tmp_path / "program.c", tmp_path / "program"
    source.write_text(MUSL)
    subprocess.run(["musl-gcc", "-g", "-o", str(program), str(source), *flags], check=True)
    ours = analyse(gcore_at_fault([bytes(program)], tmp_path / "core"))
    stack = ours.stack()
    names = ours.names(stack)
    assert names[:2] == ["fault", "handler"]
    assert [frame.signal_frame for frame in stack.frames].index(True) == 2
    assert stack.frames[3].exact and stack.frames[3].trust == Trust.CONTEXT
    at = names.index("raise")
    assert names[at : at + 3] == ["raise", "busy", "main"]


FRAMELESS = r"""
#include <stdio.h>
__attribute__((noinline)) int leaf(int *p) { return *p; }
__attribute__((noinline)) int middle(int *p) { int x = leaf(p); __asm__ volatile(""); return x; }
int main(int c, char **v) {
    (void)v;
    int x = middle((int *)(long)c);
    __asm__ volatile("");
    return x;
}
"""


def test_leaf_without_cfi_or_frame(tmp_path: Path) -> None:
    ours, _, _ = crashed(tmp_path, FRAMELESS, "-O1", "-fomit-frame-pointer", *BARE)
    stack = ours.stack()
    assert ours.names(stack)[:2] == ["leaf", "middle"]
    assert stack.frames[1].trust == Trust.CALL_RECOVERY


STEPS = r"""
#define KEEP __attribute__((noinline))
KEEP int third(int x) { volatile int y = x; y++; return y; }
KEEP int second(int x) {
    volatile int y = third(x);
    if (y > 100) return third(y) + third(y + 1) * x;
    y++;
    return y + x;
}
KEEP int first(int x) {
    volatile char room[200];
    room[x] = 1;
    int y = second(x);
    return y + room[x];
}
int main(int c, char **v) { (void)v; volatile int y = first(c); return y; }
"""


@pytest.mark.parametrize("strip", [False, True], ids=["symbols", "stripped"])
@pytest.mark.parametrize(
    "flags", [("-O0",), ("-O1", "-fno-omit-frame-pointer"), ("-O2", "-fno-omit-frame-pointer"),
              ("-O1", "-fomit-frame-pointer"), ("-O2", "-fomit-frame-pointer"),
              ("-O2", "-fomit-frame-pointer", "-fcf-protection=full"),
              ("-m32", "-O1", "-fno-omit-frame-pointer"), ("-m32", "-O1", "-fomit-frame-pointer"),
              ("-m32", "-O2", "-fomit-frame-pointer", "-fcf-protection=full")], ids=" ".join,
)  # fmt: skip
def test_every_instruction_without_cfi(
    tmp_path: Path, flags: tuple[str, ...], strip: bool, request: pytest.FixtureRequest
) -> None:
    """The callers are right at each instruction, while frames are made and undone."""
    if "-m32" in flags:
        request.getfixturevalue("needs_32_bits")
    program = compile_c(tmp_path, "program", STEPS, "-fno-optimize-sibling-calls", *flags, *BARE)
    script = tmp_path / "steps.py"
    script.write_text(
        "import gdb\n"
        "gdb.execute('break *first')\n"
        "gdb.execute('run')\n"
        "for step in range(70):\n"
        "    if gdb.selected_frame().name() not in ('first', 'second', 'third'): break\n"
        f"    gdb.execute('gcore {tmp_path}/%d.core' % step, to_string=True)\n"
        "    gdb.execute('stepi', to_string=True)\n"
        "gdb.execute('kill')\n"
    )
    command = [need("gdb", "gdb"), "-batch", "-nx", "-q", "-x", str(script), str(program)]
    subprocess.run(command, capture_output=True, check=True)
    symbols = ElfFile(program.read_bytes()).symbols
    if strip:
        subprocess.run([need("strip", "binutils"), str(program)], check=True)
    chain = ["third", "second", "first", "main"]
    cores = sorted(tmp_path.glob("*.core"), key=lambda path: int(path.stem))
    assert len(cores) > 20
    for core in cores:
        ours = analyse(core)
        main = next(module for module in ours.modules if module.main)
        names = []
        for frame in ours.stack().frames:
            if ours.modules.find(frame.lookup_pc) is main:
                found = symbols.find(frame.lookup_pc - main.bias)
                assert found is not None
                names.append(found[0].decode())
        assert names[0] in chain
        assert names[:-1] == chain[chain.index(names[0]) :], core
        assert names[-1] == "_start"
        assert ours.stack().complete


DEEP = r"""
#include <pthread.h>
__attribute__((noinline)) int deep(int n) {
    if (n == 0) { *(volatile int *)8 = 1; return 0; }
    int x = deep(n - 1);
    __asm__ volatile("");
    return x + 1;
}
static void *work(void *a) { deep(104700); return a; }
int main(void) {
    pthread_attr_t attr; pthread_t t;
    pthread_attr_init(&attr); pthread_attr_setstacksize(&attr, 64 << 20);
    pthread_create(&t, &attr, work, 0);
    pthread_join(t, 0);
    return 0;
}
"""


def test_deep_recursion_is_counted_in_full(tmp_path: Path) -> None:
    ours, _, _ = crashed(tmp_path, DEEP, "-O1")
    started = time.perf_counter()
    stack = ours.stack()
    seconds = time.perf_counter() - started
    print(f"{stack.total} frames in {seconds:.3f} s, {seconds / stack.total * 1e6:.2f} µs a frame")
    # 104,701 of deep, work, start_thread, clone3
    assert (stack.total, stack.end) == (104_704, "end of stack")
    assert len(stack.frames) == UnwindLimits().frames
    assert [frame.pc for frame in stack.tail][-3:] != []
    tail = [ours.locations(frame)[-1].function for frame in stack.tail[-4:]]
    assert tail[:2] == ["deep", "work"]
    limited = ours.stack(limits=UnwindLimits(total=1000))
    assert (limited.total, limited.end) == (1000, "frame limit")
    assert ours.stack(limits=UnwindLimits(seconds=0)).end == "time limit"


CONTEXTS = r"""
#include <stdlib.h>
#include <ucontext.h>
static ucontext_t one, other;
__attribute__((noinline)) void fault(void) { *(volatile int *)8 = 1; __asm__ volatile(""); }
static void work(void) { fault(); __asm__ volatile(""); }
int main(void) {
    getcontext(&one);
    one.uc_stack.ss_sp = malloc(65536); one.uc_stack.ss_size = 65536; one.uc_link = &other;
    makecontext(&one, work, 0);
    swapcontext(&other, &one);
    return 0;
}
"""

SWITCH = r"""
#include <stdlib.h>
__attribute__((noinline)) void fault(void) { *(volatile int *)8 = 1; __asm__ volatile(""); }
/* Calls a function on another stack, and says so in its call frame information. */
__asm__(".text\n.globl on_stack\n.type on_stack,@function\non_stack:\n.cfi_startproc\n"
        " push %rbp\n.cfi_def_cfa_offset 16\n.cfi_offset rbp,-16\n"
        " mov %rsp,%rbp\n.cfi_def_cfa_register rbp\n mov %rdi,%rsp\n call fault\n"
        " leave\n.cfi_def_cfa rsp,8\n ret\n.cfi_endproc\n.size on_stack,.-on_stack\n");
void on_stack(void *top);
int main(void) {
    on_stack((char *)aligned_alloc(16, 65536) + 65536);
    __asm__ volatile("");
    return 0;
}
"""

VDSO = r"""
#include <time.h>
__attribute__((noinline)) int ask(struct timespec *t) {
    int x = clock_gettime(CLOCK_MONOTONIC, t); __asm__ volatile(""); return x;
}
int main(void) { int x = ask((struct timespec *)8); __asm__ volatile(""); return x; }
"""


def test_fault_in_the_vdso(tmp_path: Path) -> None:
    ours, core, program = crashed(tmp_path, VDSO)
    same_as_gdb(ours, core, program)
    assert ours.modules.find(ours.stack().frames[0].pc) is not None
    assert ours.stack().complete


@pytest.mark.parametrize("link", ["&other", "0"])
def test_context_of_its_own(tmp_path: Path, link: str) -> None:
    """gdb goes on above `__start_context` (which nothing called) into a word of data, and 0x0."""
    ours, core, program = crashed(tmp_path, CONTEXTS.replace("&other;", f"{link};"))
    theirs = their_groups(gdb_frames(core, program)[ours.image.threads[0].tid])
    stack = ours.stack()
    assert [frame.pc for frame in stack.frames] == [pc for pc, _ in theirs][:3]
    assert ours.names(stack) == ["fault", "work", "__start_context"]
    assert not ours.modules.executable(theirs[3][0])
    assert stack.end.startswith(f"nothing was called from {stack.frames[-1].pc:#x}: ")


def test_call_on_another_stack(tmp_path: Path) -> None:
    """gdb ends here ("previous frame inner to this frame"); the code says how to go on."""
    ours, _, _ = crashed(tmp_path, SWITCH)
    stack = ours.stack()
    assert ours.names(stack)[:3] == ["fault", "on_stack", "main"]
    assert stack.complete


# `behind` begins where another function ends, with no byte between; which is one whose last
# instruction is a call in the one case, a return in the other.
EDGE = r"""
__attribute__((noinline)) void fault(void) { *(volatile int *)8 = 1; __asm__ volatile(""); }
__asm__(".text\n.p2align 4\n.type last,@function\nlast:\n.cfi_startproc\n"
        " sub $8,%rsp\n.cfi_adjust_cfa_offset 8\n.skip 7,0x90\n call fault\n"
        ".cfi_endproc\n.size last,.-last\n"
        ".type behind,@function\nbehind:\n.cfi_startproc\n.skip 15,0x90\n ret\n"
        ".cfi_endproc\n.size behind,.-behind\n"
        ".type after,@function\nafter:\n.cfi_startproc\n ud2\n"
        ".cfi_endproc\n.size after,.-after\n");
extern void last(void);
int main(int count, char **words) {
    if (count > 1) last();
    __asm__ volatile("lea after(%rip),%rax; push %rax; jmp fault");
    return 0;
}
"""


def test_a_call_at_the_very_end_of_a_function(tmp_path: Path) -> None:
    program = compile_c(tmp_path, "program", EDGE)
    core = gcore_at_fault([bytes(program), b"call"], tmp_path / "core")
    ours = analyse(core)
    same_as_gdb(ours, core, program)
    assert ours.names(ours.stack())[:3] == ["fault", "last", "main"]


def test_an_address_that_no_call_left(tmp_path: Path) -> None:
    """Neither the function there is a caller, nor the one that ends before it."""
    ours, _, _ = crashed(tmp_path, EDGE)
    stack = ours.stack()
    assert ours.names(stack) == ["fault", "after"]
    assert stack.end.startswith("nothing was called from ")


SMASHED = r"""
#include <string.h>
__attribute__((noinline)) void smash(int size) {
    char room[8];
    memset(room, 0x41, size);
    __asm__ volatile("" :: "r"(room) : "memory");
}
int main(void) { smash(64); return 0; }
"""


def test_smashed_return_address_invents_no_frame(tmp_path: Path) -> None:
    ours, _, _ = crashed(tmp_path, SMASHED, "-fno-stack-protector")
    stack = ours.stack()
    assert ours.names(stack) == ["smash"]
    assert stack.end == "return address 0x4141414141414141 is not in executable memory"
