"""Makes src/usercrash/cpython/tables.py: where CPython's structures have what a stack is read from.

    python tools/cpython_layouts.py INCLUDE_DIRECTORY … > src/usercrash/cpython/tables.py

Each directory is the `include/python3.N` of an interpreter for 64-bit machines, one for each
version. The compiler is asked (offsetof): nothing is counted by hand. Patch releases of
one version do not change these.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

# The name of a field here: the structures that may have it, first that compiles.
FIELDS = {
    "runtime_interpreters": ["_PyRuntimeState, interpreters.head"],
    "runtime_finalizing": ["_PyRuntimeState, finalizing", "_PyRuntimeState, _finalizing"],
    "runtime_gil_holder": ["_PyRuntimeState, ceval.gil.last_holder"],
    "runtime_gil_locked": ["_PyRuntimeState, ceval.gil.locked"],
    "interp_next": ["PyInterpreterState, next"],
    "interp_id": ["PyInterpreterState, id"],
    "interp_threads": ["PyInterpreterState, tstate_head", "PyInterpreterState, threads.head"],
    "interp_gil": ["PyInterpreterState, ceval.gil"],
    "gil_holder": ["struct _gil_runtime_state, last_holder"],
    "gil_locked": ["struct _gil_runtime_state, locked"],
    "thread_prev": ["PyThreadState, prev"],
    "thread_next": ["PyThreadState, next"],
    "thread_interp": ["PyThreadState, interp"],
    "thread_frame": ["PyThreadState, frame", "PyThreadState, current_frame"],
    "thread_cframe": ["PyThreadState, cframe"],
    "thread_id": ["PyThreadState, thread_id"],
    "thread_native_id": ["PyThreadState, native_thread_id"],
    "thread_raised_type": ["PyThreadState, curexc_type"],
    "thread_raised": ["PyThreadState, curexc_value", "PyThreadState, current_exception"],
    "thread_handled": ["PyThreadState, exc_info"],
    "handled_value": ["_PyErr_StackItem, exc_value"],
    "handled_previous": ["_PyErr_StackItem, previous_item"],
    "cframe_frame": ["_PyCFrame, current_frame"],
    "cframe_previous": ["_PyCFrame, previous"],
    "frame_previous": ["_PyInterpreterFrame, previous", "PyFrameObject, f_back"],
    "frame_code": [
        "_PyInterpreterFrame, f_code",
        "_PyInterpreterFrame, f_executable",
        "PyFrameObject, f_code",
    ],
    "frame_last": [
        "_PyInterpreterFrame, prev_instr",
        "_PyInterpreterFrame, instr_ptr",
        "PyFrameObject, f_lasti",
    ],
    "frame_line": ["PyFrameObject, f_lineno"],
    "frame_trace": ["PyFrameObject, f_trace"],
    "frame_owner": ["_PyInterpreterFrame, owner"],
    "frame_entry": ["_PyInterpreterFrame, is_entry"],
    "frame_locals": ["_PyInterpreterFrame, localsplus", "PyFrameObject, f_localsplus"],
    "code_filename": ["PyCodeObject, co_filename"],
    "code_name": ["PyCodeObject, co_name"],
    "code_qualname": ["PyCodeObject, co_qualname"],
    "code_lines": ["PyCodeObject, co_linetable", "PyCodeObject, co_lnotab"],
    "code_first_line": ["PyCodeObject, co_firstlineno"],
    "code_instructions": ["PyCodeObject, co_code_adaptive"],
    "code_locals": ["PyCodeObject, co_nlocals"],
    "code_names": ["PyCodeObject, co_localsplusnames", "PyCodeObject, co_varnames"],
    "object_type": ["PyObject, ob_type"],
    "object_size": ["PyVarObject, ob_size"],
    "type_name": ["PyTypeObject, tp_name"],
    "type_flags": ["PyTypeObject, tp_flags"],
    "tuple_items": ["PyTupleObject, ob_item"],
    "dict_used": ["PyDictObject, ma_used"],
    "float_value": ["PyFloatObject, ob_fval"],
    "long_tag": ["PyLongObject, long_value.lv_tag", "PyVarObject, ob_size"],
    "long_digits": ["PyLongObject, long_value.ob_digit", "PyLongObject, ob_digit"],
    "bytes_data": ["PyBytesObject, ob_sval"],
    "str_length": ["PyASCIIObject, length"],
    "str_state": ["PyASCIIObject, state"],
    "exception_arguments": ["PyBaseExceptionObject, args"],
}
SIZES = {"str_ascii": "PyASCIIObject", "str_compact": "PyCompactUnicodeObject"}

HEADERS = """
#define Py_BUILD_CORE 1
#include <stdio.h>
#include <stddef.h>
#include "Python.h"
#include "frameobject.h"
#include "internal/pycore_pystate.h"
#include "internal/pycore_gil.h"
#if PY_VERSION_HEX >= 0x03090000
#include "internal/pycore_interp.h"
#include "internal/pycore_runtime.h"
#endif
#if PY_VERSION_HEX >= 0x030b0000
#include "internal/pycore_frame.h"
#endif
"""


def compiled(include: Path, body: str) -> str | None:
    """What a program prints; None where it cannot be compiled."""
    with tempfile.TemporaryDirectory() as place:
        source, program = Path(place) / "probe.c", Path(place) / "probe"
        source.write_text(f"{HEADERS}int main(void) {{ {body} return 0; }}\n")
        command = ["gcc", "-w", "-std=gnu11", "-o", str(program), str(source),
                   f"-I{include}", f"-I{include}/internal"]  # fmt: skip
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        return subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout


def layout(include: Path) -> tuple[tuple[int, int], dict[str, int]]:
    """The version that the headers are of, and each field's offset (what it has not is absent)."""
    if compiled(include, "") is None:
        raise SystemExit(f"{include}: its headers cannot be compiled")
    found = {}
    for name, candidates in FIELDS.items():
        for candidate in candidates:
            text = compiled(include, f'printf("%zu", offsetof({candidate}));')
            if text is not None:
                found[name] = int(text)
                break
    for name, structure in SIZES.items():
        text = compiled(include, f'printf("%zu", sizeof({structure}));')
        if text is None:
            raise SystemExit(f"{include}: no {structure}")
        found[name] = int(text)
    version = compiled(include, 'printf("%d %d", PY_MAJOR_VERSION, PY_MINOR_VERSION);') or ""
    numbers = re.findall(r"\d+", version)
    return (int(numbers[0]), int(numbers[1])), found


def main() -> None:
    """Print the module."""
    tables = dict(layout(Path(one)) for one in sys.argv[1:])
    print('"""Offsets in CPython\'s structures, by version, on 64-bit machines.\n')
    print("Made by tools/cpython_layouts.py from the interpreters' own headers.")
    print('"""\n\nfrom __future__ import annotations\n')
    print("TABLES: dict[tuple[int, int], dict[str, int]] = {")
    for version in sorted(tables):
        print(f"    {version}: {{")
        for name, offset in tables[version].items():
            print(f'        "{name}": {offset},')
        print("    },")
    print("}")


if __name__ == "__main__":
    main()
