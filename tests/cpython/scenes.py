"""Stacks of all kinds, for any CPython from 3.8 on: `python scenes.py SCENE [fault]`.

Where a scene has come to its end it writes one line of JSON, what the interpreter itself says of
its threads: `{"threads": {thread id: [[function, file, line], …]}, …}`, innermost first. Then it
waits for its standard input to end, or reads address 3 (`fault`), on that same line of this file.
"""

# mypy: ignore-errors
# ruff: noqa: F841
import _thread
import asyncio
import ctypes
import json
import os
import sys
import threading
import zipfile

FAULT = "fault" in sys.argv[2:]
THREADS = 200


def stacks():
    """Of all threads; without this function and its caller."""
    found = {}
    for ident, frame in sys._current_frames().items():
        rows = []
        while frame is not None:
            if frame.f_code.co_filename != FILE or frame.f_code.co_name not in HIDDEN:
                code = frame.f_code
                name = getattr(code, "co_qualname", code.co_name)
                rows.append([name, code.co_filename, frame.f_lineno])
            frame = frame.f_back
        found[NATIVE.get(ident, 0)] = rows
    return found


FILE = __file__
HIDDEN = ("stacks", "show")
NATIVE = {threading.get_ident(): os.getpid()}


def show(**more):
    line = json.dumps({"threads": stacks(), **more}, ensure_ascii=False)
    os.write(1, line.encode("utf-8", "surrogateescape") + b"\n")
    return 0


def fault(*_):
    """Ends the process, or waits, in C."""
    return LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)


LIBC = ctypes.CDLL(None)
BUFFER = ctypes.create_string_buffer(1)


class Plain:
    def method(self, depth):
        if depth:
            return self.method(depth - 1)
        return [show() or (LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)) for _ in (1,)]


def plain():
    Plain().method(3)


def numbers(stop):
    yield from range(stop)
    show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)
    yield stop


def delegating():
    yield from numbers(3)


def generator():
    for one in delegating():
        sum([one])


async def awaited(depth):
    if depth:
        await awaited(depth - 1)
    await asyncio.sleep(0)
    show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)


async def gathered():
    async with asyncio.Lock():
        await asyncio.gather(awaited(3))


def coroutine():
    asyncio.new_event_loop().run_until_complete(gathered())


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def compare(one, other):
    show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)
    return 0


def callback():
    """Python, C, Python, C, Python: what sorts is the C library."""
    sorted([1, 2], key=lambda one: LIBC.qsort(BUFFER, 2, 0, compare))


def deep(depth=10_000):
    if depth:
        return deep(depth - 1)
    return show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)


def recursion():
    sys.setrecursionlimit(20_000)
    threading.stack_size(512 << 20)
    run_in_thread(deep)


def run_in_thread(work):
    def begin():
        NATIVE[threading.get_ident()] = threading.get_native_id()
        work()

    _thread.start_new_thread(begin, ()), LIBC.pause()


def threads():
    ready = threading.Barrier(THREADS + 1)

    def wait(number):
        NATIVE[threading.get_ident()] = threading.get_native_id()
        ready.wait(), LIBC.pause()

    def waiting():
        return sum(frame.f_code is wait.__code__ for frame in sys._current_frames().values())

    for number in range(THREADS):
        threading.Thread(target=wait, args=(number,), daemon=True).start()
    ready.wait()
    while waiting() < THREADS:
        os.sched_yield()
    show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)


def variables():
    nothing, truth, lie, zero, small, negative = None, True, False, 0, 12345, -(1 << 100)
    real, text, wide, data = 2.5, "größe", "日本 🐍" * 100, b"by\xfftes"
    items, pair, table, thing, password = [1, 2, 3], (1,), {"a": 1}, Plain(), "hunter2"
    captured = "kept in a cell"
    (lambda: captured)()
    show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)


def exception():
    try:
        raise LookupError("größer als 日本 🐍")
    except LookupError:
        show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)


NAMES = """
def größe(): 日本()
def 日本(): 𝔘nicode()
def 𝔘nicode(): show(), wait()
"""


def names():
    """Names of one, two and four bytes a character, in files that have such names, too, or bytes
    that are not UTF-8. (What reads here waits in `fault`.)"""
    place = {"show": show, "wait": fault}
    files = ("/tmp/größe.py", "/tmp/日本.py", "/tmp/🐍\udcff.py")
    for number, text in enumerate(NAMES.split("\n")[1:4]):
        exec(compile(text, files[number], "exec"), place)
    place["größe"]()


PACKED = """

def inside(*calls):
    return [call() for call in calls]
"""


def zipped():
    place = sys.argv[3] if FAULT else sys.argv[2]
    archive = os.path.join(place, "packed.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("packed.py", PACKED)
    sys.path.insert(0, archive)
    import packed

    packed.inside(show, fault)


def traced():
    sys.settrace(lambda frame, event, argument: None)
    sys._getframe().f_trace = lambda *_: None
    show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)


def forked():
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    NATIVE[threading.get_ident()] = os.getpid()
    show(pid=os.getpid()), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)


class Collected:
    def __init__(self):
        self.cycle = self

    def __del__(self):
        show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)


def collection():
    import gc

    Collected()
    gc.collect()


def shutdown():
    import atexit

    atexit.register(lambda: (show(), LIBC.strlen(3) if FAULT else LIBC.read(0, BUFFER, 1)))


def long_function():
    """Lines far apart, and a table of lines of many kinds."""
    text = "def far():\n" + "\n" * 5000 + "    x = [\n" + "    1,\n" * 300 + "    ]; y = (\n" * 1
    text += "\n" * 300 + "      show(), wait())\n"
    place = {"show": show, "wait": fault}
    exec(compile(text, "/far.py", "exec"), place)
    place["far"]()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
