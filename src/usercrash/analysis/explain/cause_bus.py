"""SIGBUS: the memory is mapped, and what should be behind it is not there."""

from __future__ import annotations

from ...model.maps import Mapping
from ...report import Cause, Evidence
from ..core.places import count_bytes
from ..facts.signals import BUS_ADRALN, BUS_ADRERR, BUS_MCEERR_AO, BUS_MCEERR_AR, SigInfo
from ..instructions.decoded import Access, Decoded
from .access import did, operand_words
from .scene import MappedFile, Scene, cause, seen

_SHARED = (b"/dev/shm/", b"/memfd:", b"/SYSV", b"/dev/zero")
_HUGE = (b"/anon_hugepage", b"/memfd:hugepage")
_PAGE = 4096


def bus_error(
    scene: Scene, info: SigInfo, address: int, instruction: Decoded | None, access: Access | None
) -> Cause:
    """The cause of a SIGBUS that names an address."""
    if address == scene.pc:
        access = Access("execution", address, 0, "", ())
    place = scene.places.find(address)
    if info.code == BUS_ADRALN:
        access = access or _misaligned(instruction)
        words = operand_words(scene, access)
        text = f"misaligned {did(access)} at {access.address if access else address:#x}"
        return cause("bus-error", text, words, reason="misaligned")
    if info.code in (BUS_MCEERR_AR, BUS_MCEERR_AO):
        return cause("bus-error", f"the memory at {address:#x}, {scene.places.where(address)}, is "
                     "damaged: hardware error",
                     "See the kernel's log for machine checks.", reason="hardware")  # fmt: skip
    where = scene.places.where(address)
    if info.code != BUS_ADRERR or place is None or place.path[:1] != b"/":
        text = f"{did(access)} at {address:#x}, {where}"
        return cause("bus-error", text, certainty="likely")
    if place.path.startswith(_HUGE) or scene.mapped_file.kind == "hugetlbfs":
        return _no_huge_page(address, access, place)
    return _behind_file(scene, address, access, place)


def _misaligned(instruction: Decoded | None) -> Access | None:
    """The operand that is not aligned: x86's own check of that (the flag AC) names no address."""
    for one in instruction.accesses if instruction else ():
        if one.size and one.address % one.size:
            return one
    return None


def _no_huge_page(address: int, access: Access | None, place: Mapping) -> Cause:
    return cause(
        "bus-error",
        f"{did(access)} at {address:#x}: no huge page is left for it",
        "The pool of huge pages is empty (HugePages_Free in /proc/meminfo, vm.nr_hugepages), "
        "and the mapping did not reserve its pages.",
        reason="no-huge-page",
        certainty="likely",
        evidence=[seen("mapping", place.start, f"of {count_bytes(place.size)} in huge pages")],
    )


def _behind_file(scene: Scene, address: int, access: Access | None, place: Mapping) -> Cause:
    """A page of a file that is not there: behind its end, or not to be had."""
    name = scene.places.name(place).rpartition(" of ")[2]
    offset = address - place.start + place.offset
    file = scene.mapped_file
    head = f"{did(access)} at {address:#x}, in a part of {name}"
    told = [seen("place in the file", f"byte {offset}", f"of a mapping up to byte "
                 f"{place.offset + place.size}")]  # fmt: skip
    if file.size is None:
        shared = place.path.startswith(_SHARED)
        return cause(
            "bus-error",
            f"{head} that is not there",
            "Shared memory shorter than its mapping, or no space left for it."
            if shared
            else "The file is shorter than its mapping (cut after it was mapped), or unreadable.",
            f"It is byte {offset:#x} of the file.",
            reason="past-end-of-file",
            certainty="likely",
            evidence=told,
        )
    told.append(seen("size of the file", str(file.size), file.kind))
    if offset >= _whole_pages(file.size):
        return cause(
            "bus-error",
            f"{head} behind its end: it has {count_bytes(file.size)}, and this is byte {offset:,}",
            "The file is shorter than its mapping: it was cut after it was mapped, or never had "
            "the size that the program believed.",
            f"Its path is {scene.places.path(place)}.",
            reason="past-end-of-file",
            evidence=told,
        )
    return _unavailable(head, file, told, scene.places.path(place))


def _unavailable(head: str, file: MappedFile, told: list[Evidence], path: str) -> Cause:
    if file.kind == "tmpfs":
        full = file.free == 0
        told.append(seen("free space", str(file.free), "bytes of its file system"))
        return cause(
            "bus-error",
            f"{head} for which there is no memory: its tmpfs "
            + ("is full" if full else "had no space for the page"),
            f"Make room in the tmpfs, or make it larger. The file is {path}.",
            reason="no-space",
            certainty="certain" if full else "likely",
            evidence=told,
        )
    return cause(
        "bus-error",
        f"{head} that could not be read or allocated",
        "The file is long enough: its disk had an error, or no space for a page of a sparse file.",
        f"Its path is {path}.",
        reason="unreadable-file",
        certainty="likely",
        evidence=told,
    )


def _whole_pages(size: int) -> int:
    return (size + _PAGE - 1) // _PAGE * _PAGE
