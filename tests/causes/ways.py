"""Ways of a Python program to die; `ways.py WORD` dies that way, `ways.py WORD thread` in another
thread."""

import ctypes
import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Callable

# As the C library's own, whatever the interpreter links.
LIBC = ctypes.CDLL(None)


def null_string() -> None:
    ctypes.string_at(0)


def bad_address() -> None:
    ctypes.string_at(0x123456789000)


def null_call() -> None:
    ctypes.CFUNCTYPE(None)(0)()


def number_as_pointer() -> None:
    LIBC.strlen(ctypes.c_void_p(7))


def fatal_error() -> None:
    ctypes.pythonapi.Py_FatalError(b"the catalogue is in two places at once")


def without_lock() -> None:
    # The function needs the interpreter's lock, which ctypes.CDLL gives away for each call.
    LIBC.PyThreadState_Get()


def aborted() -> None:
    os.abort()


def double_free() -> None:
    LIBC.malloc.restype = ctypes.c_void_p
    LIBC.free.argtypes = [ctypes.c_void_p]
    block = LIBC.malloc(100)
    LIBC.free(block)
    LIBC.free(block)


def killed_itself() -> None:
    os.kill(os.getpid(), signal.SIGQUIT)


def with_fault_handler() -> None:
    with open(os.devnull, "w") as nowhere:
        faulthandler.enable(nowhere)
        ctypes.string_at(0)


def endless_recursion() -> None:
    sys.setrecursionlimit(1 << 30)

    class Shelf:
        def __repr__(self) -> str:
            return repr(self)

    repr(Shelf())


def glib_error() -> None:
    glib = ctypes.CDLL("libglib-2.0.so.0")
    glib.g_log(b"Library", 1 << 2, b"no catalogue in %s", b"/var/lib/library")


def glib_assertion() -> None:
    glib = ctypes.CDLL("libglib-2.0.so.0")
    glib.g_assertion_message_expr(b"Library", b"shelf.c", 42, b"put", b"books > 0")


WAYS: tuple[Callable[[], None], ...] = (
    null_string, bad_address, null_call, number_as_pointer, fatal_error, without_lock, aborted,
    double_free, killed_itself, with_fault_handler, endless_recursion, glib_error, glib_assertion,
)  # fmt: skip

if __name__ == "__main__":
    way = next(way for way in WAYS if way.__name__ == sys.argv[1])
    if len(sys.argv) > 2:
        thread = threading.Thread(target=way, name="worker")
        thread.start()
        thread.join()
    else:
        way()
    sys.exit(4)
