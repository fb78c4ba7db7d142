"""What every test may use."""

from __future__ import annotations

import os

import pytest

from usercrash.system import sysctl
from usercrash.system.entrance import kernel_offers_socket

REQUIRE_KERNEL = "USERCRASH_REQUIRE_KERNEL"


@pytest.fixture(scope="session")
def needs_kernel() -> None:
    """For tests that set core_pattern (through `core_pattern_guard`, which queues them).

    Where that is not possible they are skipped, or, with USERCRASH_REQUIRE_KERNEL=1, fail.
    """
    if not sysctl.writable():
        _cannot_run("needs root and a writable /proc/sys/kernel/core_pattern")


@pytest.fixture(scope="session")
def needs_socket(needs_kernel: None) -> None:
    """For tests of the kernel's coredump socket, in the same way."""
    if not kernel_offers_socket():
        _cannot_run("needs Linux 6.17, with a socket for crashes")


def _cannot_run(reason: str) -> None:
    if os.environ.get(REQUIRE_KERNEL) == "1":
        pytest.fail(f"{reason}, and {REQUIRE_KERNEL}=1 forbids to skip", pytrace=False)
    pytest.skip(reason)
