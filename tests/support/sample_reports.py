"""Reports made by hand, the same every time: what the golden texts and the views' tests show."""

from __future__ import annotations

import msgspec

import usercrash.report as r

from .sample_frames import APP, LIBC, START, WAITING, frame, python_stack, thread
from .sample_shelfd import null_pointer

__all__ = ["ALL", "FAKE", "hostile", "live", "null_pointer", "overflow", "python"]


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
