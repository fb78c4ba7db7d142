"""What every test may use."""

from __future__ import annotations

import os

import pytest

from usercrash.system import sysctl

REQUIRE_KERNEL = "USERCRASH_REQUIRE_KERNEL"


@pytest.fixture(scope="session")
def needs_kernel() -> None:
    """For tests that set core_pattern (through `core_pattern_guard`, which queues them).

    Where that is not possible they are skipped, or, with USERCRASH_REQUIRE_KERNEL=1, fail.
    """
    if sysctl.writable():
        return
    reason = "needs root and a writable /proc/sys/kernel/core_pattern"
    if os.environ.get(REQUIRE_KERNEL) == "1":
        pytest.fail(f"{reason}, and {REQUIRE_KERNEL}=1 forbids to skip", pytrace=False)
    pytest.skip(reason)
