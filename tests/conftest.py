"""What every test may use."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.analysed import close_files
from tests.support.kernel import Installation
from usercrash.elf.headers import EHDR32, PHDR32
from usercrash.system import sysctl
from usercrash.system.entrance import kernel_offers_socket

# No test has a time: the machine may be busy with others.
settings.register_profile("usercrash", deadline=None)
settings.load_profile("usercrash")
# No test asks a server that is not its own.
os.environ.pop("DEBUGINFOD_URLS", None)

REQUIRE_KERNEL = "USERCRASH_REQUIRE_KERNEL"


@pytest.fixture(scope="module", autouse=True)
def _files_of_cores() -> Iterator[None]:
    """Thousands would be open at the end of a session else."""
    yield
    close_files()


@pytest.fixture(scope="session")
def needs_kernel() -> None:
    """For tests that set core_pattern (through `core_pattern_guard`, which queues them).

    Where that is not possible they are skipped, or, with USERCRASH_REQUIRE_KERNEL=1, fail.
    """
    if not sysctl.writable():
        _cannot_run("needs root and a writable /proc/sys/kernel/core_pattern")


@pytest.fixture(scope="module")
def installation(needs_kernel: None) -> Iterator[Installation]:
    """A server with its own reports, for a file's tests; it must have nothing to complain of."""
    with Installation() as place:
        place.start_server()
        yield place
        assert place.server_log == ""


@pytest.fixture(scope="session")
def needs_socket(needs_kernel: None) -> None:
    """For tests of the kernel's coredump socket, in the same way."""
    if not kernel_offers_socket():
        _cannot_run("needs Linux 6.17, with a socket for crashes")


@pytest.fixture(scope="session")
def needs_32_bits(tmp_path_factory: pytest.TempPathFactory) -> None:
    """For tests that run 32-bit programs, which a kernel may be built or told not to run."""
    code = b"\xb8\1\0\0\0\x31\xdb\xcd\x80"  # mov eax, 1 (exit); xor ebx, ebx; int 0x80
    size = EHDR32.size + PHDR32.size
    ident = b"\x7fELF\1\1\1".ljust(16, b"\0")
    head = EHDR32.pack(ident, 2, 3, 1, 0x10000 + size, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    segment = PHDR32.pack(1, 0, 0x10000, 0x10000, size + len(code), size + len(code), 5, 0x1000)
    program = tmp_path_factory.mktemp("i386") / "exit"
    program.write_bytes(head + segment + code)
    program.chmod(0o755)
    try:
        done = subprocess.run([program], check=False).returncode
    except OSError as error:
        done = error.errno or 1
    if done:
        _cannot_run("needs a kernel that runs 32-bit programs")


def _cannot_run(reason: str) -> None:
    if os.environ.get(REQUIRE_KERNEL) == "1":
        pytest.fail(f"{reason}, and {REQUIRE_KERNEL}=1 forbids to skip", pytrace=False)
    pytest.skip(reason)


# Rooms and files whose tests look at every crash of the machine, or whose programs die by the way:
# whoever stands in core_pattern gets them. The others crash programs under the lock of
# core_pattern only, and look at those only.
MACHINE = {
    "kernel", "server", "test_documents.py", "test_html_option.py", "test_qemu_cores.py",
    "test_stderr_tail.py",
}  # fmt: skip
NOT_MACHINE = {
    "test_i386.py", "test_kernel_dump.py", "test_real_crashes.py", "test_real_processes.py",
}  # fmt: skip


def _alone(path: Path) -> bool:
    names = {path.parent.name, path.name}
    return bool(MACHINE & names) and path.name not in NOT_MACHINE


def pytest_itemcollected(item: pytest.Item) -> None:
    """`-m machine` are those that need the machine for themselves: `make test` runs them last."""
    if _alone(item.path):
        item.add_marker(pytest.mark.machine)


# Files that take minutes: with several at once they begin first, so that none is left alone at the
# end.
LONG = ("test_corpus.py", "test_gallery.py")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The order of a worker of pytest -n, in which the files are given out."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path.name not in LONG)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Several at once (pytest -n): a file's tests stay together, as what they build serves all of
    them, and those of MACHINE come one after the other."""
    from xdist.scheduler import LoadScopeScheduling

    class ByRoom(LoadScopeScheduling):  # type: ignore[misc, unused-ignore]
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.partition("::")[0])
            return "machine" if _alone(file) else str(file)

    config.option.loadscopereorder = False  # (files with the most tests are not the longest)
    return ByRoom(config, log)
