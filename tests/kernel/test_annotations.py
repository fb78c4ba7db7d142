"""Where registers and words of the stack point: one real crash that has one of each, through the
kernel and again from its minicore."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack

import pytest
from tests.support.kernel import Installation, allow_cores, analyze
from tests.support.reachable import open_directory
from tests.support.spawn import compile_c

from usercrash.render.html import render_html
from usercrash.render.text import render_text
from usercrash.report import Report

# What each register holds at the fault; nothing comes between loading them and the fault.
PROGRAM = r"""
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
namespace shop {
int ledger[16] = {1};
struct Item { virtual ~Item() {} virtual int price() { return 7; } int count = 3; };
struct Book : Item { int price() override { return 9; } };
__attribute__((noinline)) int total(int a) { return a + 1; }
}
extern "C" __attribute__((noinline)) void fault_here(const void **at) {
    asm volatile(
        "mov 0(%0), %%rbx\n mov 8(%0), %%rcx\n mov 16(%0), %%rdx\n mov 24(%0), %%rsi\n"
        "mov 32(%0), %%r8\n mov 40(%0), %%r9\n mov 48(%0), %%r10\n mov 56(%0), %%r11\n"
        "mov 64(%0), %%r12\n mov 72(%0), %%r13\n mov 80(%0), %%r14\n mov $0x18, %%r15\n"
        "movl $5, %%eax\n mov %%eax, 8(%%r15)\n"
        :: "r"(at) : "rax", "rbx", "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "r12", "r13",
                     "r14", "r15", "memory");
}
int main() {
    char here[32] = "on the \"stack\"\n";
    char *block = strcpy((char *)malloc(40), "a title of a book");
    shop::Book *book = new shop::Book;
    const void *points[] = {
        shop::ledger + 2, *(void **)book, (void *)shop::total, block, here, getenv("API_TOKEN"),
        getenv("API_TOKEN") - 10, "read-only", (void *)0x4141414142424242, book,
        (void *)0xffffffffffffffff,
    };
    fault_here(points);
    return here[0] + block[0];
}
"""
ENVIRONMENT = {"API_TOKEN": "not for anybody", "PATH": "/usr/bin"}


def check(report: Report) -> None:
    notes = report.threads[0].register_notes
    expected = {
        "rbx": "shop::ledger+0x8 (pointers)",
        "rcx": "vtable for shop::Book+0x10 (pointers)",
        "rdx": "shop::total(int) (pointers)",
        "rsi": 'the heap, a block of 40 bytes: "a title of a book"',
        "r8": 'the main thread\'s stack, in the frame of main: "on the \\"stack\\"\\n"',
        "r9": 'the main thread\'s stack: "<masked>"',
        "r10": 'the main thread\'s stack: "API_TOKEN=<masked>"',
        "r12": 'the text "BBBBAAAA"',
        "r13": "the heap, a block of 24 bytes",
        "eflags": notes["eflags"],
    }
    for register, words in expected.items():
        assert notes.get(register) == words, (register, notes)
    assert notes["r11"].startswith("read-only data of pointers (+0x"), notes
    assert notes["r11"].endswith(': "read-only"'), notes
    assert notes["rip"].startswith("fault_here+0x"), notes
    assert "IF" in notes["eflags"].split() and not {"r14", "r15", "rax"} & {*notes}
    current = next(one for one in report.code if one.current)
    assert current.note == "eax = 5; r15 = 0x18 → 0x20, not mapped"
    stack = [word.note for word in report.stack_memory]
    back = next(at for at, note in enumerate(stack) if note.startswith("main+0x"))
    assert stack[back + 1].endswith("<- stack pointer of #1")
    text, page = render_text(report), render_html(report)
    for view in (text, page):
        assert "vtable for shop::Book+0x10" in view
        assert "eax = 5; r15 = 0x18 → 0x20, not mapped" in view
        assert "not for anybody" not in view.split("Memory near")[0]


@pytest.mark.usefixtures("needs_kernel")
def test_of_a_crash_and_of_its_minicore() -> None:
    with ExitStack() as stack:
        directory = stack.enter_context(open_directory())
        program = compile_c(directory, "pointers", PROGRAM, compiler="g++")
        sources = directory / "src"
        sources.mkdir()
        shutil.copy(directory / "pointers.c", sources)
        settings = f'[source]\ndirectories = ["{sources}"]\n'
        place = stack.enter_context(Installation(settings))
        place.start_server()
        with place.receiving():
            process = subprocess.Popen([program], env=ENVIRONMENT, preexec_fn=allow_cores)
            assert process.wait(60) == -11
            published = place.wait_pid(process.pid)
        check(published.report)
        shown = published.report.excerpts
        assert [(one.frame, one.file) for one in shown] == [
            (number, f"{sources}/pointers.c") for number in range(2)
        ]
        assert "fault_here(points);" in shown[1].lines[shown[1].line - shown[1].first]
        assert shown[0].newer and shown[0].by_name  # (copied since, from another directory)
        again = analyze(published.core, "--exe", program, config=place.config)
    first, second = published.report.threads[0], again.threads[0]
    assert second.register_notes == first.register_notes
