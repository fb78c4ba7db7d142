# crash-test
# about = "a Python interpreter: ctypes reads address 0 on behalf of three Python functions"
# signal = "SIGSEGV"
# code = "SEGV_MAPERR"
# cause = "null-pointer"
# frames = ["...", "_PyEval_EvalFrameDefault", "...", "Py_BytesMain"]
import ctypes


def third() -> bytes:
    return ctypes.string_at(0)


def second() -> bytes:
    return third()


def first() -> bytes:
    return second()


first()
