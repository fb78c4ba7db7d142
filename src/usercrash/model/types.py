"""Names for the integers that must not be mixed up.

`typing` costs 10 ms to import, which a held process would pay: at run time
these are plain `int`; only the type checker sees the difference.
"""

TYPE_CHECKING = False  # mypy takes any name spelled like this as true

if TYPE_CHECKING:
    from typing import NewType

    Pid = NewType("Pid", int)
    Tid = NewType("Tid", int)
    Address = NewType("Address", int)
else:
    Pid = Tid = Address = int
