"""The kernel's handshake, against a kernel of our own that says what no kernel here says."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usercrash.errors import FormatError
from usercrash.worker.handshake import KERNEL, MARK, REQUEST, USERSPACE, WAIT, shake_hands
from usercrash.worker.peer import dumping_peer

ALL = 0xF
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Our end, the kernel's end."""
    ours, kernel = socket.socketpair()
    with ours, kernel:
        kernel.settimeout(5)
        yield ours, kernel


def beside(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def shake(pair: Pair, request: bytes, mark: int) -> tuple[bool, bytes]:
    """What shake_hands gives, and the answer as the kernel got it in one piece."""
    ours, kernel = pair
    answers: list[bytes] = []

    def play() -> None:
        kernel.sendall(request)
        answers.append(kernel.recv(4096))
        kernel.sendall(MARK.pack(mark))

    thread = beside(play)
    try:
        return shake_hands(ours, 5), answers[0]
    finally:
        thread.join()


def test_kernel_and_wait(pair: Pair) -> None:
    waits, answer = shake(pair, REQUEST.pack(16, 16, ALL), 0)
    assert waits and answer == REQUEST.pack(16, 0, KERNEL | WAIT)


def test_a_later_kernel_says_more(pair: Pair) -> None:
    """What follows its request must not be taken for the mark or the core."""
    more = REQUEST.pack(16 + 24, 32, 0xFFFF) + b"\xff" * 24
    waits, answer = shake(pair, more, 0)
    assert waits and answer == REQUEST.pack(16, 0, KERNEL | WAIT)


def test_the_process_was_killed_before_our_answer(pair: Pair) -> None:
    ours, kernel = pair
    kernel.sendall(REQUEST.pack(16, 16, ALL))
    kernel.close()
    with pytest.raises(FormatError, match="the kernel's connection: Broken pipe"):
        shake_hands(ours, 5)


def test_nothing_after_the_mark_is_taken(pair: Pair) -> None:
    ours, kernel = pair
    kernel.sendall(REQUEST.pack(16, 16, ALL) + MARK.pack(0) + b"\x7fELF")
    assert shake_hands(ours, 5)
    assert ours.recv(100) == b"\x7fELF"


def test_in_single_bytes(pair: Pair) -> None:
    ours, kernel = pair

    def play() -> None:
        for byte in REQUEST.pack(16, 16, ALL):
            kernel.sendall(bytes([byte]))
        kernel.recv(4096)
        for byte in MARK.pack(0):
            kernel.sendall(bytes([byte]))

    thread = beside(play)
    assert shake_hands(ours, 5)
    thread.join()


def test_without_wait(pair: Pair) -> None:
    waits, answer = shake(pair, REQUEST.pack(16, 16, KERNEL | USERSPACE), 0)
    assert not waits and answer == REQUEST.pack(16, 0, KERNEL)


@pytest.mark.parametrize(
    ("mark", "words"), [(1, "too short"), (2, "too long"), (3, "does not have"), (9, "mark 9")]
)
def test_marks(pair: Pair, mark: int, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        shake(pair, REQUEST.pack(16, 16, ALL), mark)


@pytest.mark.parametrize(
    "request_", [(8, 16, ALL), (0, 0, 0), (5000, 16, ALL), (16, 8, ALL), (16, 16, USERSPACE)]
)
def test_requests_that_we_cannot_meet(pair: Pair, request_: tuple[int, int, int]) -> None:
    ours, kernel = pair
    kernel.sendall(REQUEST.pack(*request_) + bytes(5000))
    with pytest.raises(FormatError):
        shake_hands(ours, 5)


def test_silence_and_hanging_up(pair: Pair) -> None:
    ours, kernel = pair
    kernel.sendall(b"\x10\0")
    with pytest.raises(FormatError, match="nothing more in time"):
        shake_hands(ours, 0.05)
    kernel.close()
    with pytest.raises(FormatError, match="hung up"):
        shake_hands(ours, 5)


@given(st.binary(max_size=64))
def test_garbage(data: bytes) -> None:
    ours, kernel = socket.socketpair()
    with ours, kernel:
        kernel.sendall(data)
        kernel.shutdown(socket.SHUT_WR)
        try:
            shake_hands(ours, 1)
        except FormatError:
            return
        assert len(data) >= REQUEST.size + MARK.size


def test_a_peer_that_is_not_being_dumped(tmp_path: os.PathLike[str]) -> None:
    """Whoever connects by himself is no kernel, whatever he says; nor is one who is gone."""
    path = os.path.join(tmp_path, "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        code = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
            "sys.stdin.read()"
        )
        with subprocess.Popen(["python3", "-c", code, path], stdin=subprocess.PIPE) as client:
            conn, _ = listener.accept()
            with conn:
                before = set(os.listdir("/proc/self/fd"))
                assert dumping_peer(conn) is None
                client.communicate()
                assert dumping_peer(conn) is None
                assert set(os.listdir("/proc/self/fd")) <= before
