"""A program that crashes, without a compiler: it hands bad pointers to the C library.

Four threads; one of them sorts directory entries by qsort(3) and versionsort(3), and the
entries are none: their addresses are small numbers.
"""

from __future__ import annotations

import ctypes
import threading

LIBC = ctypes.CDLL(None)
PR_SET_NAME = 15  # <linux/prctl.h>


def name_thread(name: str) -> None:
    LIBC.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def wait_for_files(name: str) -> None:
    name_thread(name)
    READY.wait()
    threading.Event().wait()


def sort_files() -> None:
    name_thread("file-sorter")
    entries = (ctypes.c_void_p * 4)(0x40, 0x30, 0x20, 0x10)
    READY.wait()
    LIBC.qsort(entries, len(entries), ctypes.sizeof(ctypes.c_void_p), LIBC.versionsort)


READY = threading.Barrier(3)
WORKERS = [
    threading.Thread(target=wait_for_files, args=("file-reader",), daemon=True),
    threading.Thread(target=wait_for_files, args=("file-writer",), daemon=True),
    threading.Thread(target=sort_files),
]
for worker in WORKERS:
    worker.start()
WORKERS[-1].join()
