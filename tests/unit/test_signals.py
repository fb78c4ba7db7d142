"""siginfo decoding: real ones from the kernel's own layout, hostile ones from hypothesis."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.analysis.facts import signals
from usercrash.analysis.facts.signals import SigInfo, decode_siginfo, to_report


def siginfo(number: int, code: int, rest: bytes = b"", errno: int = 0) -> bytes:
    return (struct.pack("<iiii", number, errno, code, 0) + rest).ljust(128, b"\0")


def test_fault_address() -> None:
    info = decode_siginfo(siginfo(11, 1, struct.pack("<Q", 0x10)))
    assert info == SigInfo(11, 1, 0, 0x10)
    signal = to_report(info, "x86_64")
    assert (signal.name, signal.code_name, signal.fault_address) == (
        "SIGSEGV",
        "SEGV_MAPERR",
        "0x10",
    )
    assert signal.description == "segmentation fault: nothing is mapped at the address"


def test_general_protection_has_no_address() -> None:
    info = decode_siginfo(siginfo(11, 0x80))
    assert info is not None and info.address is None and info.is_fault
    assert to_report(info, "x86_64").code_name == "SI_KERNEL"


@pytest.mark.parametrize(("code", "name"), [(0, "SI_USER"), (-6, "SI_TKILL"), (-1, "SI_QUEUE")])
def test_sender(code: int, name: str) -> None:
    info = decode_siginfo(siginfo(11, code, struct.pack("<iI", 77, 1000)))
    assert info is not None and info.sender == (77, 1000)
    assert info.address is None and not info.is_fault
    signal = to_report(info, "x86_64", "killer")
    assert signal.code_name == name
    assert signal.sender is not None and signal.sender.comm == "killer"


def test_system_call() -> None:
    info = decode_siginfo(siginfo(31, 1, struct.pack("<QiI", 0x401000, 59, 0xC000003E)))
    assert info is not None and info.system_call == 59
    signal = to_report(info, "x86_64")
    assert signal.system_call is not None and signal.system_call.name == "execve"
    assert signal.fault_address == "0x401000"


def test_protection_key() -> None:
    info = decode_siginfo(siginfo(11, 4, struct.pack("<QQI", 0x7000, 0, 5)))
    assert info is not None and info.protection_key == 5


def test_32_bit_layout() -> None:
    data = struct.pack("<iiiI", 11, 0, 2, 0x8048000).ljust(128, b"\0")
    info = decode_siginfo(data, word=4)
    assert info is not None and info.address == 0x8048000


def test_names() -> None:
    assert signals.signal_name(34) == "SIGRTMIN"
    assert signals.signal_name(40) == "SIGRTMIN+6"
    assert signals.signal_name(32) == "signal 32"
    assert signals.signal_name(0) == "signal 0"
    assert signals.code_name(8, 1) == "FPE_INTDIV"
    assert signals.code_name(8, 99) == ""
    assert signals.code_name(31, 2) == "SYS_USER_DISPATCH"


@given(st.binary(max_size=200), st.sampled_from([4, 8]))
def test_any_bytes(data: bytes, word: int) -> None:
    info = decode_siginfo(data, word)
    if info is not None:
        assert to_report(info, "x86_64").number == info.number
