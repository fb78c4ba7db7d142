"""Where the fields of PHP's structures stand, by version.

`tools/php_layout.c` asks the compiler about the headers of an installed PHP. A table holds only
for an interpreter whose modules say that they were built for this number of the module interface
(ZEND_MODULE_API_NO), without ZTS and without debugging: as long as that number is the same,
extensions built before must find their fields.
"""

from __future__ import annotations

# By (major, minor): 64-bit machines
TABLES = {
    (8, 2): {
        "api": 20220829,
        # zend_executor_globals
        "current": 488,
        # zend_execute_data
        "opline": 0, "func": 24, "call_info": 40, "previous": 48, "execute_size": 80,
        # zend_function, zend_op_array, zend_op
        "kind": 0, "name": 8, "scope": 16, "last": 80, "opcodes": 88, "file": 152,
        "function_size": 160, "op_size": 32, "line": 24,
        # zend_class_entry, zend_string
        "class_name": 8, "length": 16, "text": 24,
        # values
        "internal": 1, "user": 2, "eval": 4, "top": 131072,
    },
}  # fmt: skip
