"""A function's name without what changes from build to build: its identity.

Compilers add clones' suffixes, numbers of lambdas, hashes of crates; template and type arguments
change when a typedef does. docs/fingerprint.md has the reasons.
"""

from __future__ import annotations

import re

_VERSION = re.compile(r"@{1,2}[A-Za-z_][\w.]*$")  # of a dynamic symbol: read@@GLIBC_2.2.5
_CLONE = re.compile(r"( \[clone [^\]]*\])+$")
_SUFFIX = re.compile(
    r"(\.(constprop|isra|part|cold|hot|unlikely|localalias|lto_priv|llvm|abi0|abiinternal)(\.\d+)*"
    r"|\.\d+)+$"
)
_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
_RUST_CRATE = re.compile(r"\[[0-9a-f]{8,16}\]")
_ANONYMOUS = "(anonymous namespace)"
_MADE_NAMES = (
    (re.compile(r"\{lambda\b[^{}]*\}(#\d+)?|'lambda\d*'"), "{lambda}"),  # GNU's and LLVM's
    (re.compile(r"\$_\d+"), "{lambda}"),  # clang's linkage names
    (re.compile(r"\{\{?closure(#\d+)?\}?\}"), "{closure}"),  # Rust
    (re.compile(r"\{unnamed type#\d+\}"), "{unnamed}"),
)
_OPERATOR = re.compile(r"\boperator\s*(\(\)|\[\]|<=>|<<=|>>=|->\*?|<<|>>|<=|>=|<|>)")
_CONVERSION = re.compile(r"\boperator [\w:]+")  # operator new, operator bool
_EMPTY = re.compile(r"::(?=::|$)")  # of names that lost what stood between
MAX_NAME = 200
_BEGINNING = re.compile(
    r"_start|__libc_start\w*|start_thread|execute_native_thread_routine|(__)?clone3?|thread_start|runtime\.(main|goexit|mstart)"
    r"|std::rt::\S+|std::sys::backtrace::__rust_begin\S+|std::sys_common::\S+"
    r"|core::ops::function::FnOnce::call_once|invoke_main"
    r"|threading:Thread\.(run|_bootstrap|_bootstrap_inner)"
)


def begins(identity: str) -> bool:
    """Whether programs and threads begin in the function of this identity: of all the same."""
    return _BEGINNING.fullmatch(identity) is not None


def function_identity(name: str) -> str:
    """The name without versions, clones' suffixes, hashes, arguments, template arguments and
    return type; at most 200 characters. Never empty for a name that is not."""
    short = _CLONE.sub("", _VERSION.sub("", name))
    short = _RUST_CRATE.sub("", _RUST_HASH.sub("", short))
    for pattern, word in _MADE_NAMES:
        short = pattern.sub(word, short)
    short = _SUFFIX.sub("", short)
    kept: list[str] = []
    short = _keep_operators(short.replace(_ANONYMOUS, "{anonymous}"), kept)
    short = _last_word(_without_arguments(short))
    for number, operator in enumerate(kept):
        short = short.replace(_mark(number), operator)
    short = short.removeprefix("__GI_").strip()
    return (short or name)[:MAX_NAME]


def _mark(number: int) -> str:
    return f"\0{number}\1"


def _keep_operators(name: str, kept: list[str]) -> str:
    """Brackets and spaces that belong to the name of an operator, put aside."""

    def keep(match: re.Match[str]) -> str:
        kept.append(match.group())
        return _mark(len(kept) - 1)

    return _CONVERSION.sub(keep, _OPERATOR.sub(keep, name))


def _without_arguments(name: str) -> str:
    """Without what stands in brackets, but for a Go method's receiver, `(*T)`, and the type
    that a Rust method is of, `<T as Trait>`, whose own arguments go."""
    result: list[str] = []
    closers: list[str] = []  # of the brackets that are open; "" for one that is kept
    skipping = 0
    for at, character in enumerate(name):
        before = name[at - 1] if at else ""
        if character in "(<":
            receiver = character == "(" and before == "."
            keep = not skipping and (receiver or (character == "<" and at == 0))
            closers.append("" if keep else ")" if character == "(" else ">")
            skipping += not keep
            if keep:
                result.append(character)
        elif character in ")>" and closers and before != "-":
            kept = closers.pop() == ""
            skipping -= not kept
            if kept:
                result.append(character)
        elif not skipping:
            result.append(character)
    # (`foo::<T>::bar` and `foo::<T>` of Rust leave colons behind)
    return _EMPTY.sub("", "".join(result))


def _last_word(name: str) -> str:
    """The name behind its return type, and without what a member function promises."""
    text = name.strip()
    while True:
        head, _, last = text.rpartition(" ")
        if head and last in ("const", "&", "&&", "volatile", "noexcept"):
            text = head.rstrip()
            continue
        break
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        depth += (text[at] == ">") - (text[at] == "<")
        if text[at] == " " and depth == 0:
            return text[at + 1 :]
    return text
