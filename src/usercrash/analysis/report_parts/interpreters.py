"""What interpreters run on a thread, of whichever language: Python, Perl, PHP, Ruby,
Java, JavaScript."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ... import report
from ..core.core_threads import CoreThread
from ..core.image import CoreImage
from ..core.modules import ModuleTable
from ..explain.waits import InterpreterLock
from ..guard import Guard
from ..unwinding.frames import RawFrame
from ..unwinding.unwind import Stack
from .call_stack import RUNTIMES, CallStack
from .java_stack import JavaStack
from .javascript_stacks import JavaScriptStacks
from .node_report import NodeEnd
from .python_place import with_python_place
from .python_stacks import PythonStacks
from .stacks import Named

MAX_PYTHON_STACKS = 2 << 20  # bytes of JSON and text
MAX_CALL_STACK = 1 << 20  # of Perl, PHP or Ruby: bytes of JSON and text
MAX_JAVASCRIPT_STACKS = 1 << 20  # bytes of JSON and text


class Interpreters:
    """Those of one process; `variables`: the values of local variables are wanted, too."""

    def __init__(
        self,
        image: CoreImage,
        modules: ModuleTable,
        read: Callable[[int, int], bytes],
        guard: Guard,
        *,
        variables: bool,
    ) -> None:
        self._guard = guard
        self._modules = modules
        self._python: PythonStacks | None = guard(
            "python", "Python stacks",
            lambda: PythonStacks(image, modules, read, MAX_PYTHON_STACKS, variables=variables),
            None,
        )  # fmt: skip
        self._java: JavaStack | None = guard(
            "java", "its error file", lambda: JavaStack(image, modules), None
        )
        self._node: NodeEnd | None = guard(
            "javascript", "the report of Node.js", lambda: NodeEnd(image), None
        )
        self._calls: list[CallStack] = guard(
            "interpreters", "Perl, PHP and Ruby stacks",
            lambda: [CallStack(one, image, modules, read, MAX_CALL_STACK) for one in RUNTIMES], [],
        )  # fmt: skip
        self._javascript = JavaScriptStacks(MAX_JAVASCRIPT_STACKS)

    def of(
        self,
        thread: CoreThread,
        stack: Stack,
        named: Named,
        function_of: Callable[[RawFrame], str | None],
        *,
        main: bool,
    ) -> list[report.InterpretedStack]:
        """The stacks of a thread whose native stack was found; `main`: it is the first one."""
        found: list[report.InterpretedStack] = []
        if (python := self._python) is not None:
            found += self._guard(
                "python", "Python frames of a thread",
                lambda: python.of(thread, stack, named, function_of), [],
            )  # fmt: skip
        found += self._javascript.of(named.frames, named.total)
        for calls in self._calls:
            found += self._guard(
                "interpreters", "Perl, PHP and Ruby frames",
                partial(calls.of, thread, stack, named, function_of, main=main), [],
            )  # fmt: skip
        return found

    def of_crashing(
        self, named: Named, known: Sequence[report.InterpretedStack]
    ) -> list[report.InterpretedStack]:
        """What only the thread that crashed has: a virtual machine's own report of its end. `known`
        is what the thread is seen to run without it."""
        found: list[report.InterpretedStack] = []
        if (java := self._java) is not None:
            found += self._guard("java", "Java frames", lambda: java.of(named.frames), [])
        if self._node is not None and all(one.language != "javascript" for one in known):
            found += self._guard("javascript", "frames of the report", self._node.stacks, [])
        return found

    def all(self) -> list[report.Interpreter]:
        """The interpreters that the process has."""
        found = [*self._python.interpreters] if self._python else []
        for calls in self._calls:
            found += calls.interpreters
        for own in (self._java, self._node):
            found += own.interpreters(self._modules) if own is not None else []
        return found

    def locks(self) -> list[InterpreterLock]:
        """The locks that interpreters keep in structures of their own."""
        return self._python.locks if self._python is not None else []

    def cause(
        self, found: report.Cause, signal: report.Signal | None, thread: report.Thread | None
    ) -> report.Cause:
        """The cause as an interpreter itself tells it, where one does, else the one that was
        `found`; with the place in Python where the crashing `thread` was."""
        if self._java is not None:
            found = self._java.cause(found, signal)
        if self._node is not None:
            found = self._node.cause(found, signal)
        if self._python is not None and thread is not None:
            found = with_python_place(found, thread, self._python.interpreters)
        return found
