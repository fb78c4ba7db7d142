"""Soft errors: what a stage could not get, and why. They travel into the report."""

from __future__ import annotations

MAX_NOTES = 200


class Note:
    """`stage` could not have `what`, because of `why`.

    All three are text for people; `why` of a failed system call is
    `os.strerror()` of its errno.
    """

    __slots__ = ("stage", "what", "why")

    def __init__(self, stage: str, what: str, why: str) -> None:
        self.stage = stage
        self.what = what
        self.why = why

    def __repr__(self) -> str:
        return f"Note({self.stage!r}, {self.what!r}, {self.why!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Note):
            return NotImplemented
        return (self.stage, self.what, self.why) == (other.stage, other.what, other.why)

    def __hash__(self) -> int:
        return hash((self.stage, self.what, self.why))


class NoteLog(list["Note"]):
    """A bounded list of notes; the last one says how many were dropped."""

    dropped = 0

    def add(self, stage: str, what: str, why: str) -> None:
        """Append a note; past `MAX_NOTES` only count it."""
        if len(self) < MAX_NOTES:
            self.append(Note(stage, what, why))
        else:
            self.dropped += 1
            self[-1] = Note("notes", f"{self.dropped + 1} further notes", "too many to keep")
