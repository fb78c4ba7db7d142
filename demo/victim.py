"""A program that crashes, without a compiler: it hands a bad pointer to the C library.

Three threads; one of them sorts orders with qsort(3) and a comparison in Python, which
asks strlen(3) for the length of a string at address 0x10.
"""

from __future__ import annotations

import ctypes
import threading

LIBC = ctypes.CDLL(None)
PR_SET_NAME = 15  # <linux/prctl.h>
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def name_thread(name: str) -> None:
    LIBC.prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def wait_for_orders(name: str) -> None:
    name_thread(name)
    READY.wait()
    threading.Event().wait()


def compare_orders(left: int, right: int) -> int:
    return int(LIBC.strlen(ctypes.c_void_p(0x10)))


def sort_orders() -> None:
    name_thread("order-sorter")
    orders = (ctypes.c_int * 4)(3, 1, 4, 1)
    READY.wait()
    LIBC.qsort(orders, len(orders), ctypes.sizeof(ctypes.c_int), COMPARE(compare_orders))


READY = threading.Barrier(3)
WORKERS = [
    threading.Thread(target=wait_for_orders, args=("order-reader",), daemon=True),
    threading.Thread(target=wait_for_orders, args=("order-writer",), daemon=True),
    threading.Thread(target=sort_orders),
]
for worker in WORKERS:
    worker.start()
WORKERS[-1].join()
