"""Processes through the kernel's pipe that are large, strange, or would hang whoever reads them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.support.dead_fuse import dead_fuse
from tests.support.held import handler
from tests.support.mappings import many_mappings
from tests.support.spawn import compile_c, running, tell

pytestmark = pytest.mark.usefixtures("needs_kernel")


def test_32_bit_program_is_recorded(tmp_path: Path) -> None:
    source = "void _start(void) { *(volatile int *)0 = 1; }"
    flags = ("-m32", "-nostdlib", "-static", "-ffreestanding", "-fno-pic", "-fno-pie", "-no-pie")
    exe = compile_c(tmp_path, "narrow", source, *flags)
    with handler(tmp_path) as held:
        assert held.crash([exe]) == -signal.SIGSEGV
        got = held.result("narrow")
    assert (got.machine, got.elf_class, got.proved, len(got.threads)) == (3, 1, True, 1)
    assert got.facts["exe"] == str(exe)
    assert got.notes == []
    assert got.core.read_bytes()[:5] == b"\x7fELF\x01"


def test_hostile_name_and_long_strings(tmp_path: Path) -> None:
    exe = compile_c(
        tmp_path,
        "hostile",
        r"""
        #include <sys/prctl.h>
        int main(void) {
            prctl(PR_SET_NAME, "a) R 1\nUid:\t0");
            *(volatile int *)0 = 1;
        }
        """,
    )
    with handler(tmp_path, ids="%p %s") as held:
        held.crash([exe, *["x" * 100_000] * 20])
        got = held.result("hostile")
    assert got.facts["comm"] == "a) R 1\nUid:\t0\n"
    assert len(got.facts["cmdline"]) == 128 << 10
    assert any("cmdline" in what for _, what, _ in got.notes)
    assert got.start_ticks > 0
    assert "\nUid:\t0" not in got.text


def test_five_thousand_descriptors(tmp_path: Path) -> None:
    exe = compile_c(
        tmp_path,
        "many",
        """
        #include <fcntl.h>
        #include <sys/resource.h>
        int main(void) {
            struct rlimit limit = {6000, 6000};
            setrlimit(RLIMIT_NOFILE, &limit);
            for (int i = 0; i < 5500; i++) open("/dev/null", 0);
            *(volatile int *)0 = 1;
        }
        """,
    )
    with handler(tmp_path) as held:
        held.crash([exe])
        got = held.result("many")
    assert sum(name.startswith("fd/") for name in got.facts) == 5000
    assert [what for stage, what, _ in got.notes if stage == "open files"] == [
        "503 of 5503 open files"
    ]


def test_seventy_thousand_mappings(tmp_path: Path) -> None:
    exe = compile_c(
        tmp_path,
        "mappings",
        """
        #include <sys/mman.h>
        int main(void) {
            for (int i = 0; i < 32000; i++)  /* every other page: none can be joined */
                if (mmap((void *)(0x100000000 + i * 8192L), 4096, i % 2 ? 1 : 3,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) return 1;
            for (int i = 0; i < 33000; i++)
                if (mmap((void *)(0x200000000 + i * 8192L), 4096, 3,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) break;
            *(volatile int *)0 = 1;
        }
        """,
    )
    with many_mappings(), handler(tmp_path) as held:
        assert held.crash([exe]) == -signal.SIGSEGV
        got = held.result("mappings")
    assert got.proved and len(got.threads) == 1
    assert got.facts["maps"].count("\n") > 65_000


def test_memory_that_would_hang_is_left_out(tmp_path: Path) -> None:
    """userfaultfd: pages whose handler stands still, the command line's among them. Whether a
    read of one comes back (with an error) depends on the kernel."""
    exe = compile_c(
        tmp_path,
        "faulting",
        r"""
        #define _GNU_SOURCE
        #include <fcntl.h>
        #include <linux/userfaultfd.h>
        #include <string.h>
        #include <sys/ioctl.h>
        #include <sys/mman.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            char *page = mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
            struct uffdio_api api = {.api = UFFD_API};
            if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) return 1;
            struct uffdio_register range = {{(long)page, 1 << 20}, UFFDIO_REGISTER_MODE_MISSING, 0};
            if (ioctl(fd, UFFDIO_REGISTER, &range)) return 2;
            /* the pages of the command line, too: /proc would read them */
            char *args = (char *)((long)argv[0] & -4096);
            if (madvise(args, 4096, MADV_DONTNEED)) return 4;
            struct uffdio_register strings = {{(long)args, 4096}, UFFDIO_REGISTER_MODE_MISSING, 0};
            if (ioctl(fd, UFFDIO_REGISTER, &strings)) return 3;
            register char *held asm("rbx") = page + 4096;
            asm volatile("movl $1, 0" : : "r"(held));
        }
        """,
    )
    with handler(tmp_path) as held:
        process = held.start([exe, "a" * 8000])
        try:
            assert process.wait(30) == -signal.SIGSEGV
        finally:
            process.kill()
        got = held.result("faulting")
    assert got.proved
    assert any("cmdline" in what for _, what, _ in got.notes)


def test_a_file_system_that_never_answers(tmp_path: Path) -> None:
    """An ELF file on FUSE: its first page is in memory, registers point at others. Reading
    those, or opening the file, would never return."""
    if not Path("/dev/fuse").exists():
        pytest.skip("this kernel has no FUSE")
    exe = compile_c(
        tmp_path,
        "remote",
        r"""
        #include <fcntl.h>
        #include <sys/mman.h>
        #include <unistd.h>
        int main(int argc, char **argv) {
            int fd = open(argv[1], O_RDONLY);
            char *file = mmap(0, 64 << 12, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
            if (file == MAP_FAILED || file[1] != 'E') return 1;
            char byte;
            write(1, "r", 1);
            read(0, &byte, 1);
            register char *far asm("rbx") = file + (32 << 12);
            asm volatile("movl $1, 0" : : "r"(far));
        }
        """,
    )
    place = tmp_path / "mount"
    place.mkdir()
    content = b"\x7fELF\2\1\1".ljust(64 << 12, b"x")
    with (
        dead_fuse(place, content) as server,
        handler(tmp_path) as held,
        running([exe, place / "library.so"]) as process,
    ):
        server.silence()
        tell(process)
        assert process.wait(30) == -signal.SIGSEGV
        got = held.result("remote")
        assert server.unanswered == []
    assert got.proved
    assert (str(place / "library.so"), False, 0, 2) in got.files
    assert [why for _, what, why in got.notes if "library.so" in what] == [
        "its file system (fuse) may not answer"
    ]


def test_file_descriptors_of_a_deleted_program(tmp_path: Path) -> None:
    exe = compile_c(
        tmp_path,
        "gone",
        """
        #include <unistd.h>
        int main(int argc, char **argv) { unlink(argv[0]); *(volatile int *)0 = 1; }
        """,
    )
    inode = os.stat(exe).st_ino
    with handler(tmp_path) as held:
        held.crash([exe])
        got = held.result("gone")
    assert (str(exe), True, inode, inode) in got.files
