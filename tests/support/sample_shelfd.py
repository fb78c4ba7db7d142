"""The sample report that has everything: of a server that keeps shelves of books."""

from __future__ import annotations

import usercrash.report as r

from .sample_frames import (
    APP,
    APP_ID,
    LIBC,
    LIBC_ID,
    NOTES,
    REGISTERS,
    START,
    WAITING,
    frame,
    thread,
    with_variables,
)

ID = "b6c1f3a09d4e4c7f8a2b5d6e7f801234"


def null_pointer() -> r.Report:
    """A server's worker reads through a null pointer; everything that a report can have."""
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
        process=_process(),
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
            thread(4244, "worker-2", _crashing(), crashed=True, kernel_stack=["do_exit+0x1/0x2"],
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
        modules=_modules(),
        maps=_maps(),
        open_files=_open_files(),
        notes=[r.NoteEntry(stage="open files", what="fdinfo of 5", why="No such process")],
        log=[
            r.LogLine(source="kernel", text="[12.000345] shelfd[4711]: segfault at 10 ip 55d0"),
            r.LogLine(source="journal", text="2026-03-01T04:05:06+0000 shelfd[4711]: sorting"),
        ],
        code=_code(),
        stack_memory=[
            r.StackWord(address="0x7ffc00001000", value="0x0"),
            r.StackWord(address="0x7ffc00001008", value="0x55d0c0a01334",
                        note="list_sum+0x2c (shelfd)  <- stack pointer of #2"),
        ],
        excerpts=_excerpts(),
        handled_signals=[
            r.HandledSignal(
                frame=6,
                signal=r.Signal(number=14, name="SIGALRM", code=128, code_name="SI_KERNEL",
                                description="alarm clock: sent by the kernel"),
            )
        ],
        raw_bytes={},
    )  # fmt: skip


def _crashing() -> list[r.Frame]:
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
    return with_variables(frames)


def _process() -> r.Process:
    return r.Process(
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
    )  # fmt: skip


def _modules() -> list[r.Module]:
    return [
        r.Module(path=APP, start="0x55d0c0a00000", end="0x55d0c0a30000", build_id=APP_ID,
                 deleted=True, file="descriptor", symbols="debug information in the file"),
        r.Module(path=LIBC, start="0x7f00a0000000", end="0x7f00a01d5000", build_id=LIBC_ID,
                 file="descriptor", symbols="symbol table", soname="libc.so.6",
                 package=r.Package(name="libc6", version="2.36-9+deb12u10", source="dpkg",
                                   architecture="amd64", type="deb")),
    ]  # fmt: skip


def _maps() -> list[r.Map]:
    return [
        r.Map(start="0x55d0c0a00000", end="0x55d0c0a30000", permissions="r-xp",
              offset="0x1000", path=APP, device="08:01", inode=77, deleted=True),
        r.Map(start="0x55d0c0b00000", end="0x55d0c0b21000", permissions="rw-p", offset="0x0",
              path="[heap]"),
        r.Map(start="0x7f00a0000000", end="0x7f00a01d5000", permissions="r-xp", offset="0x0",
              path=LIBC, device="08:01", inode=78),
    ]  # fmt: skip


def _open_files() -> list[r.OpenFile]:
    return [
        r.OpenFile(fd=0, target="/dev/null", kind="device", flags="read"),
        r.OpenFile(fd=3, target="socket:[991]", kind="socket", flags="read-write, nonblock",
                   detail="tcp 0.0.0.0:6379 LISTEN"),
        r.OpenFile(fd=4, target="/var/log/shelfd.log", kind="file", deleted=True,
                   flags="write, append", position=1234),
    ]  # fmt: skip


def _code() -> list[r.Instruction]:
    return [
        r.Instruction(address="0x55d0c0a01230", data="4889e5", text="mov rbp, rsp"),
        r.Instruction(address="0x55d0c0a01234", data="488b4010", current=True,
                      text="mov rax, qword ptr [rax + 0x10]",
                      note="rax = 0 → 0x10, not mapped"),
        r.Instruction(address="0x55d0c0a01238", data="06", text=""),
    ]  # fmt: skip


def _excerpts() -> list[r.Excerpt]:
    return [
        r.Excerpt(
            frame=1, file="/srv/shelfd/src/list.c", line=44, first=41,
            lines=["", "    for (at = list; ; at = list_next(at)) {",
                   "        // the end is a null pointer: there is none in a ring",
                   "        sum += at->value;", "    }", "    return sum;", "}"],
        ),
        r.Excerpt(frame=7, file="/srv/shelfd/src/main.c", line=120, first=118, newer=True,
                  by_name=True, lines=["{", "", "    run(); // " + "and on " * 12, "}"]),
    ]  # fmt: skip
