"""Frames, threads and stacks of interpreters made by hand, of which the sample reports consist."""

from __future__ import annotations

import msgspec

import usercrash.report as r

APP, LIBC = "/usr/sbin/shelfd", "/usr/lib/x86_64-linux-gnu/libc.so.6"
APP_ID = "3fa9c21b5d6e7f8091a2b3c4d5e6f70812345678"
LIBC_ID = "93ac61ec5a8eb1396f9fbd350e3169a558528a40"


def frame(
    index: int,
    function: str | None,
    offset: int | None = 0x1C,
    source: tuple[str, int] | None = None,
    module: str = APP,
    trust: str = "cfi",
    inline: bool = False,
    signal_frame: bool = False,
) -> r.Frame:
    return r.Frame(
        index=index,
        pc=f"{0x55D0C0A01234 + index * 0x100:#x}",
        function=function,
        linkage_name=function,
        offset=offset,
        module=module,
        module_offset=f"{0x1234 + index * 0x100:#x}",
        build_id=APP_ID if module == APP else LIBC_ID,
        source=r.Source(file=source[0], line=source[1]) if source else None,
        inline=inline,
        trust=trust,
        signal_frame=signal_frame,
        sp=f"{0x7FFC00001000 + index * 0x40:#x}",
    )


def thread(tid: int, name: str, frames: list[r.Frame], **more: object) -> r.Thread:
    values: dict[str, object] = {
        "registers": {"rax": "0x0", "rsp": "0x7ffc00001000", "rip": "0x55d0c0a01234"},
        "stack_end": "end of stack",
        "frames_total": len(frames),
        "crashed": False,
    }
    return r.Thread(tid=tid, name=name, frames=frames, **(values | more))  # type: ignore[arg-type]


START = [
    frame(8, "__libc_start_call_main", 0x7A, ("./csu/../sysdeps/nptl/libc_start_call_main.h", 58),
          LIBC),
    frame(9, "__libc_start_main_impl", 0x85, ("./csu/../csu/libc-start.c", 360), LIBC),
    frame(10, "_start", 0x21),
]  # fmt: skip
REGISTERS = {
    "rax": "0x0", "rbx": "0x55d0c0b00020", "rcx": "0x3", "rdx": "0x55d0c0a20040",
    "rsi": "0x7ffc00001010", "rdi": "0x55d0c0b00020", "rsp": "0x7ffc00001000",
    "rip": "0x55d0c0a01234", "eflags": "0x10246", "fs_base": "0x7f00a0200740", "r8": "0x1f",
}  # fmt: skip
NOTES = {
    "rbx": 'the heap, a block of 40 bytes: "a title of a book"',
    "rdx": "vtable for shop::Shelf<std::string, std::allocator<std::string> >+0x10 (shelfd)",
    "rsi": "the stack of thread 4244 (worker-2), in the frame of list_sum",
    "rip": "list_sum+0x2c (shelfd)", "eflags": "PF ZF IF RF",
}  # fmt: skip
WAITING = [
    frame(0, "__futex_abstimed_wait_common64", 0x59, ("./nptl/futex-internal.c", 57), LIBC),
    frame(1, "Worker::run(std::vector<Job, std::allocator<Job> >&, unsigned long)", 0x130,
          ("/build/shelfd/src/worker.cc", 88)),
    frame(2, "start_thread", 0x305, ("./nptl/pthread_create.c", 442), LIBC),
    frame(3, "clone3", 0x2C, None, LIBC),
]  # fmt: skip


NODE = '0x55d0c1c0a2b0 → {next = 0x55d0c1c0a2f0, name = 0x55d0c0a0b010 "books", size = 12}'
VARIABLES = {
    0: [r.Variable(name="node", value="null", type="const struct node *", kind="parameter")],
    1: [
        r.Variable(name="list", value=NODE, type="const struct list *", kind="parameter"),
        r.Variable(name="token", value="<masked>", type="char [32]", kind="parameter"),
        r.Variable(name="sum", value="<optimized out>", type="long", kind="local",
                   gap="optimized out"),
        r.Variable(name="calls", value="41", type="unsigned int", kind="static"),
    ],
}  # fmt: skip


def with_variables(frames: list[r.Frame]) -> list[r.Frame]:
    """The frames with what is known of their variables."""
    return [msgspec.structs.replace(one, variables=VARIABLES.get(one.index, [])) for one in frames]


def python_stack(
    *rows: tuple[int, str, str, int | None, int | None], **more: object
) -> r.InterpretedStack:
    """A stack of (index, function, file, line, native frame)."""
    frames = [
        r.InterpretedFrame(index=index, function=function, file=file, line=line, native=native,
                           entry=native is not None)
        for index, function, file, line, native in rows
    ]  # fmt: skip
    values = {"language": "python", "version": "3.11.2", "frames_total": len(frames)}
    return r.InterpretedStack(frames=frames, **(values | more))  # type: ignore[arg-type]
