"""Why a program ended itself: abort() and what called it, told by the functions on the
stack and by the text that the C library keeps in `__abort_msg`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...report import Cause, Evidence, Frame
from .cause_cxx import own_after, terminated
from .cause_go import go_end
from .cause_rust import rust_panic
from .cause_texts import last_text
from .failed_checks import Check, failed_check
from .plain_names import caller_after, plain_names
from .scene import Scene, cause, frame_words, seen
from .stack_texts import one_line

_DEPTH = 80  # frames looked at
_HEAP_WORDS = (
    "free():", "malloc():", "realloc():", "calloc():", "munmap_chunk():", "mremap_chunk():",
    "malloc_consolidate():", "double free or corruption", "corrupted size vs. prev_size",
    "corrupted double-linked list", "corrupted unsorted chunks", "invalid fastbin entry",
    "malloc_check_get_size", "mmap_chunk", "memory clobbered", "unaligned tcache chunk",
    "unaligned fastbin chunk", "tcache_thread_shutdown():", "too many chunks detected in tcache",
    "unlink_chunk", "_int_malloc", "break adjusted to free malloc space", "sysmalloc",
)  # fmt: skip

_SANITIZERS = ("__sanitizer", "__asan", "__hwasan", "__lsan", "__msan", "__tsan", "__ubsan",
               "__interceptor", "___interceptor")  # fmt: skip
_SANITIZER_FILE = re.compile(r"lib(hwasan|asan|lsan|msan|tsan|ubsan)\.so")
_SANITIZER_SOURCE = re.compile(r"/sanitizer_common/|/lib(a|hwa|l|m|t|ub)san/|compiler-rt/")
_UNDEFINED = re.compile(r"__ubsan_handle_(\w+?)(_v1)?(_abort)?$")
_PASSING = (
    "std::process::abort", "::abort_internal", "__rust_abort", "core::intrinsics::abort",
)  # fmt: skip

# (function, reason, words): the first of these that stands on the stack counts, wherever it
# stands there. What tells most comes first.
_CALLERS = (
    ("__cxa_pure_virtual", "pure-virtual", "a pure virtual function was called"),
    ("__cxa_deleted_virtual", "pure-virtual", "a deleted virtual function was called"),
    ("_Py_FatalError", "python-fatal", "fatal error in the Python interpreter"),
    ("Py_FatalError", "python-fatal", "fatal error in the Python interpreter"),
    ("_Py_FatalErrorFunc", "python-fatal", "fatal error in the Python interpreter"),
    ("_Py_FatalErrorFormat", "python-fatal", "fatal error in the Python interpreter"),
    ("fatal_error", "fatal", "fatal_error() was called"),
    ("rust_begin_unwind", "rust-panic", "a Rust panic that aborts"),
    ("__rust_foreign_exception", "foreign-exception", "a foreign exception in Rust code"),
    ("g_assertion_message", "assertion", "a GLib assertion failed"),
    ("g_assertion_message_expr", "assertion", "a GLib assertion failed"),
    ("g_log_structured_array", "fatal-log", "a fatal message to GLib's log"),
    ("g_logv", "fatal-log", "a fatal message to GLib's log"),
    ("qt_assert", "assertion", "a Qt assertion failed"),
    ("qt_assert_x", "assertion", "a Qt assertion failed"),
    ("QMessageLogger::fatal", "fatal-log", "qFatal() was called"),
    ("QMessageLogger::critical", "fatal-log", "a message of Qt's that ends the program"),
    ("QMessageLogger::warning", "fatal-log", "a message of Qt's that ends the program"),
    ("ExceptionalCondition", "assertion", "a PostgreSQL assertion failed"),
    ("google::LogMessageFatal::~LogMessageFatal", "fatal-log", "a fatal message to glog"),
    ("absl::log_internal::LogMessage::Die", "fatal-log", "a fatal message to Abseil's log"),
    ("v8::internal::V8::FatalProcessOutOfMemory", "javascript-memory",
     "V8 had no more memory for JavaScript"),
    ("v8::internal::Heap::FatalProcessOutOfMemory", "javascript-memory",
     "V8 had no more memory for JavaScript"),
    ("v8::internal::Isolate::CreateMessageOrAbort", "javascript-uncaught",
     "an uncaught JavaScript exception"),
    ("__sanitizer::Die", "sanitizer", "a sanitizer ended the program"),
    ("std::__glibcxx_assert_fail", "assertion", "an assertion of the C++ library failed"),
    ("std::__replacement_assert", "assertion", "an assertion of the C++ library failed"),
    ("std::__1::__libcpp_abort_debug_function", "assertion",
     "an assertion of the C++ library failed"),
    ("std::__1::__libcpp_verbose_abort", "assertion", "an assertion of the C++ library failed"),
)  # fmt: skip
_DETAILS = {
    "javascript-uncaught": "It was started with --abort-on-uncaught-exception: V8 wrote the "
    "exception and its stack to standard error.",
}
_TRAPPING = ("v8::base::OS::Abort",)  # they end programs with a trap instruction (V8's
# `--hard-abort`, its default; else they call abort())
_ABORTING = (
    "abort", "raise", "gsignal", "__restore_sigs", "__pthread_kill", "pthread_kill", "__GI_abort",
    "__GI_raise",
)  # fmt: skip


def explain_abort(scene: Scene) -> Cause:
    """The cause of a SIGABRT that the process sent to itself."""
    frames = scene.frames[:_DEPTH]
    names = plain_names(frames)
    message = scene.abort_message
    caller = _caller(frames, names)
    by = f" by {frame_words(caller)}" if caller else ""
    first = _first_line(message)
    panic = rust_panic(scene, frames, names) or go_end(scene, frames, names)
    if panic is not None:
        return panic
    for explain in (_checked, terminated, _known):
        found = explain(scene, frames, names, first, by, message)
        if found is not None:
            return found
    if first:
        return cause("abort", f"aborted{by}: {first}", reason="message", message=message)
    if any(name in ("abort", "__GI_abort") for name in names):
        return cause("abort", f"abort() called{by}", reason="abort")
    where = f", in {frame_words(caller)}" if caller else ""
    return cause("abort", f"SIGABRT was raised by the process itself{where}", reason="raised")


def ended_by_trap(scene: Scene) -> Cause | None:
    """The cause if a runtime's function ended the program by a trap instruction, and who called
    that function tells why."""
    frames = scene.frames[:_DEPTH]
    names = plain_names(frames)
    if not names or names[0] not in _TRAPPING:
        return None
    return _known(scene, frames, names, "", "", None)


def _first_line(message: str | None) -> str:
    lines = (message or "").strip().splitlines()
    return lines[0][:400] if lines else ""


def _caller(frames: Sequence[Frame], names: Sequence[str]) -> Frame | None:
    """The first frame outside of the C library (and the loader, for static programs: outside
    of the functions that abort)."""
    # (a 32-bit program enters the kernel through the vdso)
    library = next((frame.module for frame in frames if frame.module != "[vdso]"), None)
    for frame, name in zip(frames, names, strict=True):
        if frame.inline or name.endswith(_PASSING):
            continue
        base = (frame.module or "").rpartition("/")[2]
        if base.startswith(("[vdso]", "libc.so", "libc-2", "libc.musl", "ld-musl", "libpthread")):
            continue
        if frame.module == library and name.startswith(_ABORTING):
            continue
        return frame
    return None


def _checked(
    scene: Scene, frames: Sequence[Frame], names: Sequence[str], first: str, by: str,
    message: str | None,
) -> Cause | None:  # fmt: skip
    """What the C library's own checks found: assertions, heap, stack protector, FORTIFY."""
    if "stack smashing detected" in first or "__stack_chk_fail" in names:
        victim = caller_after(frames, names, ("__stack_chk_fail", "__stack_chk_fail_local"))
        where = f" in {frame_words(victim)}" if victim else by
        return cause("abort", f"a buffer on the stack was overrun{where}", reason="stack-smashing",
                     message=message)  # fmt: skip
    if "buffer overflow detected" in first or "__chk_fail" in names:
        return cause("abort", f"buffer overflow: a checked library call{by} would write past "
                     "its buffer", reason="buffer-overflow", message=message)  # fmt: skip
    assertion = "__assert_fail" in names or "__assert_fail_base" in names
    if assertion or ("Assertion `" in first and first.endswith("failed.")):
        check = None if first else failed_check(scene, frames, names)
        text = first or (check.words if check else "its text was not captured")
        return cause("abort", f"assertion failed: {text}", reason="assertion", message=message,
                     evidence=_checked_evidence(check))  # fmt: skip
    if "malloc_printerr" in names or first.startswith(_HEAP_WORDS):
        reason, words = "heap-corruption", "the heap is corrupt"
        if "double free detected" in first:
            reason, words = "double-free", "the same memory was freed twice"
        elif "double free or corruption" in first and "(out)" not in first:
            reason, words = "double-free", "the same memory was freed twice, or the heap is corrupt"
        elif "invalid pointer" in first:
            reason, words = "invalid-free", "free() of a pointer that malloc() never gave"
        return cause("abort", f"{words}, found{by}" + (f": {first}" if first else ""),
                     "Where it was found may be far from where the damage was done."
                     if reason == "heap-corruption" else "",
                     reason=reason, message=message)  # fmt: skip
    return None


def _checked_evidence(check: Check | None) -> list[Evidence]:
    if check is None:
        return []
    return [
        seen("condition", check.condition, check.how),
        seen("place", f"{check.file}:{check.line}", check.how),
    ]


def _sanitized(frames: Sequence[Frame], names: Sequence[str]) -> Frame | None:
    """The first frame behind those of the sanitizer's runtime."""
    last = names.index("__sanitizer::Die")
    for frame, name in zip(frames[last:], names[last:], strict=True):
        base = (frame.module or "").rpartition("/")[2]
        file = frame.source.file if frame.source is not None else ""
        own = _SANITIZER_FILE.match(base) or _SANITIZER_SOURCE.search(file)
        if name and not own and not name.startswith(_SANITIZERS):
            return frame
    return None


def _sanitizer_check(names: Sequence[str]) -> str:
    """Which sanitizer it was, where its report is not in memory, by the functions of its own."""
    for name in names:
        if found := _UNDEFINED.match(name):
            return f"UndefinedBehaviorSanitizer: {found[1].replace('_', ' ')}"
    return "ThreadSanitizer" if any(name.startswith("__tsan::") for name in names) else ""


def _known(
    scene: Scene, frames: Sequence[Frame], names: Sequence[str], first: str, by: str,
    message: str | None,
) -> Cause | None:  # fmt: skip
    for function, reason, words in _CALLERS:
        if function not in names:
            continue
        caller = caller_after(frames, names, [name for name, same, _ in _CALLERS if same == reason])
        if reason == "sanitizer":
            caller = _sanitized(frames, names)
        elif function.startswith("std::"):
            caller = own_after(frames, names.index(function) + 1) or caller
        if reason in _DETAILS:
            caller = None  # (a function of the runtime's)
        where = f", by {frame_words(caller)}" if caller else ""
        found = last_text(scene, reason)
        check = failed_check(scene, frames, names) if reason == "assertion" else None
        text = one_line(found.text) if found else first
        evidence = [seen("function", function, "on the stack"), *_checked_evidence(check)]
        if check is not None and found is None:
            text = check.words
        if reason == "sanitizer":
            text = text or _sanitizer_check(names)
        if found:
            evidence.append(seen("text in memory", one_line(found.text)))
        return cause(
            "abort", words + where + (f": {text}" if text else ""), _DETAILS.get(reason, ""),
            reason=reason, message=message, evidence=evidence,
        )  # fmt: skip
    return None
