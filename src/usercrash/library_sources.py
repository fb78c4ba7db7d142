"""Whose source a file is: code of a library that lies in the program's own file, because it was
inlined there or made for the program's types."""

from __future__ import annotations

import posixpath
import re

_LIBRARY = re.compile(
    r"/usr/(local/)?include/|/usr/lib(32|64|x32|exec)?/|.*/include/c\+\+/"  # installed headers
    r"|(/usr/local/go|.*/usr/lib/go-[\d.]+)/src/"  # Go's library
    r"|/rustc/|/usr/src/rustc-|.*/lib/rustlib/src/rust/library/"  # Rust's
    r"|library/(core|alloc|std|proc_macro|panic_\w+)/src/"
)


def is_library_source(file: str) -> bool:
    """Whether a source file's name in the debug information is that of an installed header, or of
    the library of C++, Go or Rust. Such a name is normalized first: clang writes
    `/usr/bin/../lib/gcc/x86_64-linux-gnu/12/../../../../include/c++/12/memory`."""
    return _LIBRARY.match(posixpath.normpath(file)) is not None
