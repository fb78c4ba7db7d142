"""Our own notes in a minicore (owner `USERCRASH`), to bytes and back.

Each note's descriptor is a table: records of two little-endian u32 (length of
the key, length of the value), the key and the value, without padding. The
format is described in docs/formats.md.
"""

from __future__ import annotations

from _struct import Struct

from .notes import MAX_NOTES, Note, NoteLog
from .snapshot import ElfNote, MappedFile, Snapshot

OWNER = b"USERCRASH"
# Types that mean nothing else: binutils goes by the type alone for owners that it does not know.
NT_EVENT = 0x55430001  # CrashEvent.to_fields()
NT_FACTS = 0x55430002  # Snapshot.facts
NT_NOTES = 0x55430003  # soft errors: key "N", value stage NUL what NUL why
NT_FILES = 0x55430004  # mapped ELF files, as their descriptors: key "N", value "DEV INODE PATH"

_RECORD = Struct("<II")
assert _RECORD.size == 8


def encode_table(table: dict[bytes, bytes]) -> bytes:
    """The table as bytes, records in the order of the dictionary."""
    parts = []
    for key, value in table.items():
        parts.append(_RECORD.pack(len(key), len(value)))
        parts.append(key)
        parts.append(value)
    return b"".join(parts)


def decode_table(data: bytes) -> dict[bytes, bytes]:
    """The inverse of `encode_table`; a table cut short gives its whole records."""
    table = {}
    position, end = 0, len(data)
    while position + 8 <= end:
        key_size, value_size = _RECORD.unpack_from(data, position)
        key_end = position + 8 + key_size
        position = key_end + value_size
        if position > end:
            break
        table[bytes(data[key_end - key_size : key_end])] = bytes(data[key_end:position])
    return table


def files_in_order(snapshot: Snapshot) -> list[MappedFile]:
    """The mapped ELF files, those with a descriptor first: in the note as on the wire."""
    return sorted(snapshot.files, key=lambda file: file.fd < 0)


def encode_own_notes(snapshot: Snapshot) -> list[ElfNote]:
    """The snapshot's event, facts, soft errors and file list as notes of a core."""
    soft = {}
    for number, note in enumerate(snapshot.notes):
        text = "\0".join((note.stage, note.what, note.why))
        soft[b"%d" % number] = text.encode("utf-8", "surrogateescape")
    files = {
        b"%d" % number: b"%s %d %s" % (file.device, file.inode, file.path)
        for number, file in enumerate(files_in_order(snapshot))
    }
    return [
        ElfNote(OWNER, NT_EVENT, encode_table(snapshot.event.to_fields())),
        ElfNote(OWNER, NT_FACTS, encode_table(snapshot.facts)),
        ElfNote(OWNER, NT_NOTES, encode_table(soft)),
        ElfNote(OWNER, NT_FILES, encode_table(files)),
    ]


def decode_soft_notes(data: bytes) -> NoteLog:
    """The soft errors of a NT_NOTES descriptor; odd records are passed over."""
    notes = NoteLog()
    for value in list(decode_table(data).values())[:MAX_NOTES]:
        parts = value.decode("utf-8", "backslashreplace").split("\0", 2)
        if len(parts) == 3:
            notes.append(Note(*parts))
    return notes


def decode_files(data: bytes) -> list[MappedFile]:
    """The file list of a NT_FILES descriptor, without descriptors (fd -1)."""
    files = []
    for value in decode_table(data).values():
        parts = value.split(b" ", 2)
        if len(parts) == 3 and parts[1].isdigit():
            files.append(MappedFile(parts[2], parts[0], int(parts[1])))
    return files
