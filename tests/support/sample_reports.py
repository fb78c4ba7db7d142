"""Reports made by hand, the same every time: what the golden texts and the views' tests show."""

from __future__ import annotations

import msgspec

import usercrash.report as r

ID = "b6c1f3a09d4e4c7f8a2b5d6e7f801234"
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


def null_pointer() -> r.Report:
    """A server's worker reads through a null pointer; everything that a report can have."""
    frames = [
        frame(0, "list_next", None, ("/build/shelfd/src/list.h", 31), trust="context", inline=True),
        frame(1, "list_sum", 0x2C, ("/build/shelfd/src/list.c", 44), trust="context"),
        frame(2, "std::map<std::string, std::vector<int, std::allocator<int> > >::at"
              "(std::string const&)", 0x40, ("/usr/include/c++/12/bits/stl_map.h", 551)),
        frame(3, None, None),
        frame(4, "callback", 0x9, ("/build/shelfd/src/callback.c", 7), trust="frame-pointer"),
        frame(5, None, None, module=LIBC, signal_frame=True),
        frame(6, "poll", 0x4F, ("../sysdeps/unix/sysv/linux/poll.c", 29), LIBC),
        frame(7, "main", 0x1C4, ("/build/shelfd/src/main.c", 120)),
        *START,
    ]  # fmt: skip
    frames = with_variables(frames)
    return r.Report(
        version=r.VERSION,
        id=ID,
        generator="usercrash 0.1.0",
        complete=True,
        fingerprint=r.Fingerprint(
            version=1, key="5c1f0e77a9d3b246", sort="SIGSEGV", frames=["list_next", "list_sum"]
        ),
        event=r.Event(
            time="2026-03-01T03:02:01.123456+00:00", source="core_pattern", dump_mode="user"
        ),
        system=r.System(
            hostname="db1",
            kernel="6.18.0 #1 SMP",
            architecture="x86_64",
            boot_id="2393a28b-2dd4-41e1-8e48-3cb76fc2629a",
            page_size=4096,
            uptime_seconds=934000.5,
        ),
        process=r.Process(
            pid=4242,
            tid=4244,
            comm="shelfd",
            exe=APP,
            exe_deleted=True,
            cmdline=[APP, "--listen", "0.0.0.0:6379", "--password", "<masked>"],
            uid=105,
            gid=112,
            euid=105,
            egid=112,
            groups=[112, 4],
            ppid=1,
            thread_name="worker-2",
            cwd="/var/lib/shelfd",
            root="/",
            state="D (disk sleep)",
            cgroup=["0::/system.slice/shelfd.service"],
            unit="shelfd.service",
            limits=[
                r.Limit(name="Max stack size", soft="8388608", hard="unlimited", unit="bytes"),
                r.Limit(name="Max processes", soft="31000", hard="31000", unit="processes"),
            ],
            environment=["HOME=/var/lib/shelfd", "API_TOKEN=<masked>", "LANG=C.UTF-8"],
            start_time="2026-02-28T20:01:00+00:00",
            uptime_seconds=25261.12,
            threads_total=4,
            memory_peak=52_428_800,
            memory_resident=41_943_040,
            seccomp="1 filter",
            capabilities="none",
            no_new_privileges=True,
            security_label="unconfined",
            auxiliary_vector={"AT_PHDR": "0x55d0c0a00040", "AT_SECURE": "0x0"},
        ),
        signal=r.Signal(
            number=11,
            name="SIGSEGV",
            code=1,
            code_name="SEGV_MAPERR",
            fault_address="0x10",
            description="segmentation fault: nothing is mapped at the address",
        ),
        cause=r.Cause(
            kind="null-pointer",
            reason="null-offset",
            summary="null pointer plus 0x10: read of 8 bytes at 0x10 (rax is 0)",
            details=["It happened in the program's handler of SIGALRM."],
        ),
        threads=[
            thread(4244, "worker-2", frames, crashed=True, kernel_stack=["do_exit+0x1/0x2"],
                   registers=REGISTERS, register_notes=NOTES),
            thread(4242, "shelfd", [frame(0, "epoll_wait", 0x4E, None, LIBC), *START]),
            thread(4243, "worker-1", WAITING),
            thread(4245, "worker-3", WAITING),
        ],
        memory=[
            r.MemoryBlock(
                label="rdi, rbx",
                address="0x55d0c0b00000",
                center="0x55d0c0b00020",
                data=(bytes(32) + b"a title of a book\0\x1b[2J" + bytes(11)).hex(),
                where="in the heap",
                gaps=[[0, 16], [24, 8]],
            )
        ],
        modules=[
            r.Module(path=APP, start="0x55d0c0a00000", end="0x55d0c0a30000", build_id=APP_ID,
                     deleted=True, file="descriptor", symbols="debug information in the file"),
            r.Module(path=LIBC, start="0x7f00a0000000", end="0x7f00a01d5000", build_id=LIBC_ID,
                     file="descriptor", symbols="symbol table", soname="libc.so.6",
                     package=r.Package(name="libc6", version="2.36-9+deb12u10", source="dpkg",
                                       architecture="amd64", type="deb")),
        ],
        maps=[
            r.Map(start="0x55d0c0a00000", end="0x55d0c0a30000", permissions="r-xp",
                  offset="0x1000", path=APP, device="08:01", inode=77, deleted=True),
            r.Map(start="0x55d0c0b00000", end="0x55d0c0b21000", permissions="rw-p", offset="0x0",
                  path="[heap]"),
            r.Map(start="0x7f00a0000000", end="0x7f00a01d5000", permissions="r-xp", offset="0x0",
                  path=LIBC, device="08:01", inode=78),
        ],
        open_files=[
            r.OpenFile(fd=0, target="/dev/null", kind="device", flags="read"),
            r.OpenFile(fd=3, target="socket:[991]", kind="socket", flags="read-write, nonblock",
                       detail="tcp 0.0.0.0:6379 LISTEN"),
            r.OpenFile(fd=4, target="/var/log/shelfd.log", kind="file", deleted=True,
                       flags="write, append", position=1234),
        ],
        notes=[r.NoteEntry(stage="open files", what="fdinfo of 5", why="No such process")],
        log=[
            r.LogLine(source="kernel", text="[12.000345] shelfd[4711]: segfault at 10 ip 55d0"),
            r.LogLine(source="journal", text="2026-03-01T04:05:06+0000 shelfd[4711]: sorting"),
        ],
        code=[
            r.Instruction(address="0x55d0c0a01230", data="4889e5", text="mov rbp, rsp"),
            r.Instruction(address="0x55d0c0a01234", data="488b4010", current=True,
                          text="mov rax, qword ptr [rax + 0x10]",
                          note="rax = 0 → 0x10, not mapped"),
            r.Instruction(address="0x55d0c0a01238", data="06", text=""),
        ],
        stack_memory=[
            r.StackWord(address="0x7ffc00001000", value="0x0"),
            r.StackWord(address="0x7ffc00001008", value="0x55d0c0a01334",
                        note="list_sum+0x2c (shelfd)  <- stack pointer of #2"),
        ],
        excerpts=[
            r.Excerpt(
                frame=1, file="/srv/shelfd/src/list.c", line=44, first=41,
                lines=["", "    for (at = list; ; at = list_next(at)) {",
                       "        // the end is a null pointer: there is none in a ring",
                       "        sum += at->value;", "    }", "    return sum;", "}"],
            ),
            r.Excerpt(frame=7, file="/srv/shelfd/src/main.c", line=120, first=118, newer=True,
                      by_name=True, lines=["{", "", "    run(); // " + "and on " * 12, "}"]),
        ],
        handled_signals=[
            r.HandledSignal(
                frame=6,
                signal=r.Signal(number=14, name="SIGALRM", code=128, code_name="SI_KERNEL",
                                description="alarm clock: sent by the kernel"),
            )
        ],
        raw_bytes={},
    )  # fmt: skip


def _changed(base: r.Report, **fields: object) -> r.Report:
    values = {name: getattr(base, name) for name in base.__struct_fields__}
    return r.Report(**(values | fields))


def overflow() -> r.Report:
    """A recursion of 34,921 calls, its middle left out; an address between two mappings."""
    base = null_pointer()
    fold = r.Fold(start=1, length=2, times=17_460)
    frames = [frame(0, "leaf", 0x8, ("/build/shelfd/src/tree.c", 9), trust="context")]
    frames += [frame(i, "odd" if i % 2 else "even", 0x30, ("/build/shelfd/src/tree.c", 20 + i % 2))
               for i in [*range(1, 40), *range(34_915, 34_921)]]  # fmt: skip
    frames += [frame(34_921, "main", 0x50, ("/build/shelfd/src/main.c", 99)),
               frame(34_922, "_start", 0x21)]  # fmt: skip
    return _changed(
        base,
        cause=r.Cause(
            kind="stack-overflow",
            reason="recursion",
            summary="stack overflow: the main thread's stack of 8 MiB is used up, by 17,460 "
            "rounds of odd, even",
            details=["It touched 0x7ffc00000ff8, 8 bytes below the stack.",
                     "The limit is 8 MiB (ulimit -s)."],
        ),
        signal=r.Signal(number=11, name="SIGSEGV", code=1, code_name="SEGV_MAPERR",
                        fault_address="0x55d0c0a80000",
                        description="segmentation fault: nothing is mapped at the address"),
        threads=[thread(4242, "shelfd", frames, crashed=True, frames_total=34_923, folds=[fold])],
        memory=[], code=[], stack_memory=[], handled_signals=[], excerpts=[],
    )  # fmt: skip


def live() -> r.Report:
    """A process that runs on: no signal."""
    base = null_pointer()
    threads = [
        thread(4242, "shelfd", [frame(0, "epoll_wait", 0x4E, None, LIBC), *START]),
        *base.threads[2:],
    ]
    return _changed(
        base,
        event=r.Event(time="2026-03-01T03:02:01+01:00", source="debugger"),
        signal=None,
        cause=r.Cause(kind="none", reason="on-request", summary="not crashed: dumped on request"),
        threads=threads, memory=[], code=[], stack_memory=[], handled_signals=[], notes=[],
        excerpts=[],
    )  # fmt: skip


PYTHON = "/usr/bin/python3.11"


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


def python() -> r.Report:
    """A Python program: a recursion, a callback from C, values of variables; a thread in a
    sub-interpreter whose frames have no place."""
    loop = "_PyEval_EvalFrameDefault"
    frames = [
        frame(0, "__strlen_evex", 0x18, None, LIBC, "context"),
        frame(
            1,
            "string_at",
            0x48,
            ("/build/cpython/Modules/_ctypes/_ctypes.c", 5522),
            "/lib/_ctypes.so",
        ),
        frame(2, "PyObject_Vectorcall", 0x4F, None, PYTHON),
        frame(3, loop, 0x2D2B, None, PYTHON),
        frame(4, "wrap_comparison", 0x1C, None, "/lib/callback.so"),
        frame(5, "sort", 0x80, None, PYTHON),
        frame(6, loop, 0x2D2B, None, PYTHON),
        frame(7, "Py_BytesMain", 0x29, None, PYTHON),
        *START,
    ]
    main = "/srv/shop/orders.py"
    crashing = python_stack(
        (0, "string_at", "/usr/lib/python3.11/ctypes/__init__.py", 519, 3),
        (1, "sort_orders.<locals>.<lambda>", main, 7, 3),
        (2, "Größe.вес", "/srv/shop/größe.py", 21, 6),
        (3, "descend", main, 30, 6), (1_002, "descend", main, 30, 6),
        (1_003, "<module>", main, None, 6),
        folds=[r.Fold(start=3, length=1, times=1_000)], frames_total=1_004, holds_lock=True,
        exception=r.InterpretedException(type="KeyError", text="no such order", handled=True),
    )  # fmt: skip
    crashing.frames[2].variables.extend(
        [r.Variable(name="count", value="3"), r.Variable(name="password", value="<masked>")]
    )
    named = r.InterpretedFrame(index=0, function="Worker.run", file="/srv/shop/worker.py", line=9)
    waiting = r.InterpretedStack(language="python", version="3.11.2", frames=[named],
                                 frames_total=1_500, end="no memory at 0x7f0000001000",
                                 interpreter=1)  # fmt: skip
    base = null_pointer()
    return _changed(
        base,
        threads=[
            thread(4242, "orders", frames, crashed=True, interpreted=[crashing]),
            thread(4243, "worker", WAITING, interpreted=[waiting]),
        ],
        interpreters=[r.Interpreter(language="python", version="3.11.2", module=PYTHON,
                                    interpreters=[0, 1], threads=2)],
        memory=[], code=[], stack_memory=[], handled_signals=[],
        excerpts=[r.Excerpt(language="python", frame=1, file="/srv/shop/orders.py", line=7,
                            first=6,
                            lines=["def sort_orders(orders):", "    key = lambda o: o.number"])],
    )  # fmt: skip


FAKE = "\n*** usercrash report ***\nCrash of init, pid 1\r\x1b[2J\x1b]0;x\x07\u202e\u2028\u0085"


def hostile() -> r.Report:
    """Every text of the process tries to write lines and to steer the terminal."""
    base = null_pointer()
    spaces = " " * 70 + "Crash of init, pid 1, by SIGSEGV" + " " * 60 + "Why      all is well"
    long_name = "a" * 3000
    process = r.Process(
        pid=1, tid=1, comm=FAKE, exe="/" + FAKE, cmdline=[FAKE, spaces, long_name], uid=1, gid=1,
        thread_name=FAKE, cwd=FAKE, root=FAKE, state=FAKE, cgroup=[FAKE, spaces], unit=FAKE,
        container=FAKE, environment=[FAKE, spaces, long_name], seccomp=FAKE, capabilities=FAKE,
        security_label=FAKE, start_time=FAKE,
        limits=[r.Limit(name=FAKE, soft=FAKE, hard=FAKE, unit=FAKE)],
        auxiliary_vector={FAKE: FAKE},
    )  # fmt: skip
    frames = [
        frame(0, FAKE, 4, (spaces, 3), FAKE, trust="context"),
        frame(1, long_name, 4, (FAKE, 3), long_name),
        frame(2, "x<" + FAKE + ">::y(" + spaces + ")", 4, (long_name, 9), APP, "scan"),
    ]
    texts = (FAKE, spaces, long_name)
    variables = [r.Variable(name=one, value=one, type=one, kind=kind, gap=one)
                 for one in texts for kind in ("parameter", FAKE)]  # fmt: skip
    frames = [msgspec.structs.replace(one, variables=variables) for one in frames]
    raised = r.InterpretedException(type=FAKE, text=spaces)
    named = r.InterpretedFrame(index=0, function=FAKE, file=spaces, line=3, native=1,
                               variables=[r.Variable(name=FAKE, value=spaces)])  # fmt: skip
    other = r.InterpretedFrame(index=1, function=long_name, file=FAKE, line=None)
    interpreted = [r.InterpretedStack(language=FAKE, version=FAKE, frames=[named, other],
                                      frames_total=2, end=FAKE, exception=raised)]  # fmt: skip
    return _changed(
        base,
        id=FAKE, generator=FAKE,
        event=r.Event(time=FAKE, source=FAKE, dump_mode=FAKE),
        system=r.System(hostname=FAKE, kernel=FAKE, architecture=FAKE, boot_id=FAKE),
        process=process,
        signal=r.Signal(number=6, name="SIGABRT", code=0, code_name="SI_USER",
                        sender=r.Sender(pid=7, uid=7, comm=FAKE), description=FAKE),
        cause=r.Cause(kind="abort", summary=FAKE, details=[FAKE, spaces, FAKE],
                      abort_message=FAKE,
                      evidence=[r.Evidence(what=FAKE, value=spaces, meaning=FAKE)]),
        interpreters=[r.Interpreter(language=FAKE, version=FAKE, module=FAKE)],
        threads=[thread(1, FAKE, frames, crashed=True, stack_end=FAKE, kernel_stack=[FAKE, spaces],
                        interpreted=interpreted,
                        register_notes={"rax": FAKE, "rsp": spaces, "rip": long_name}),
                 thread(2, spaces, frames, registers={FAKE: "0x1"}, stack_end=FAKE)],
        memory=[r.MemoryBlock(label=FAKE, address="0x1000", center="0x1000", data="00" * 16,
                              where=FAKE)],
        modules=[r.Module(path=FAKE, start="0x1000", end="0x2000", build_id=None, soname=FAKE,
                          file=FAKE, symbols=spaces, forced=True,
                          package=r.Package(name=FAKE, version=spaces, type=FAKE,
                                            architecture=FAKE, source="note"))],
        maps=[r.Map(start="0x1000", end="0x2000", permissions="rwxp", offset="0x0", path=spaces)],
        open_files=[r.OpenFile(fd=1, target=FAKE, kind="socket", detail=spaces, flags=FAKE)],
        notes=[r.NoteEntry(stage=FAKE, what=FAKE, why=spaces)],
        log=[r.LogLine(source="journal", text=FAKE), r.LogLine(source="kernel", text=spaces)],
        code=[r.Instruction(address="0x1000", data="90", text=FAKE, current=True,
                            note=FAKE + spaces)],
        stack_memory=[r.StackWord(address="0x1000", value="0x1", note=FAKE)],
        excerpts=[r.Excerpt(frame=0, file=FAKE, line=2, first=1, lines=[FAKE, spaces, long_name])],
    )  # fmt: skip


ALL = {"null_pointer": null_pointer, "overflow": overflow, "live": live, "python": python,
       "hostile": hostile}  # fmt: skip
