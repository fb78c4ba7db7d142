"""The one root of all errors that a user sees.

Standard library only, and nothing of it: the cold client imports this module
before the crashed process is released.
"""


class UsercrashError(Exception):
    """Something that usercrash cannot do, said in one line.

    `message` says what and where, `hint` what to do about it (may be empty),
    `exit_code` is 1 for a failure and 2 for wrong usage.
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(UsercrashError):
    """A wrong argument or a wrong configuration: exit status 2."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint, exit_code=2)


class FormatError(UsercrashError):
    """Outside bytes (ELF, notes, packets, /proc text) that are not what they should be."""
