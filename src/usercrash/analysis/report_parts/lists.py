"""The report's longer lists — modules, mappings — and small parts of its threads."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Mapping_

from ... import report
from ...elf.arch import Arch
from ...model.maps import Mapping
from ...model.notes import NoteLog
from ..core.modules import ModuleTable
from ..facts import proc_texts as f
from ..facts.secrets import mask_lines
from ..facts.texts import Texts, json_cost, safe
from ..packages.package import Package
from ..symbols.symbolizer import Symbolizer
from .memory import fault_marks

MAX_MODULES = 4000
MAX_MODULES_COST = 2 << 20
MAX_MAPS = 10_000
MAX_MAPS_COST = 4 << 20
MAX_LOG_LINES = 50
MAX_LOG_TEXT = 1000
_MAPS_AROUND_FAULT = 200  # mappings kept on each side of the fault address
_MAPS_AROUND_POINT = 8
_MAPS_AT_END = 500


def modules(
    table: ModuleTable,
    symbolizer: Symbolizer,
    texts: Texts,
    notes: NoteLog,
    packages: Mapping_[int, Package],
) -> list[report.Module]:
    """The modules in address order; `packages` by `id(module)`."""
    result: list[report.Module] = []
    budget = MAX_MODULES_COST
    for module in table:
        number = len(result)
        path = texts.text(module.path, f"/modules/{number}/path")
        soname = texts.text(module.soname, f"/modules/{number}/soname", 256)
        budget -= 2 * json_cost(path) + json_cost(soname) + 400
        budget -= 400 if id(module) in packages else 0
        if number >= MAX_MODULES or budget < 0:
            notes.add("report", f"{len(table) - number:,} further modules", "too many")
            break
        result.append(
            report.Module(
                path=path,
                start=f"{module.start:#x}",
                end=f"{module.end:#x}",
                build_id=module.build_id.hex() if module.build_id else None,
                deleted=module.deleted,
                file=module.how,
                symbols=safe(symbolizer.source_of(module), 512),
                soname=soname,
                package=_package(packages.get(id(module))),
                forced=module.forced,
            )
        )
    return result


def _package(found: Package | None) -> report.Package | None:
    if found is None:
        return None
    return report.Package(
        name=safe(found.name, 300),
        version=safe(found.version, 300),
        architecture=safe(found.architecture, 300),
        type=safe(found.kind, 300),
        source=found.source,
    )


def log_lines(facts: Mapping_[bytes, bytes], texts: Texts) -> list[report.LogLine]:
    """The last lines of the kernel's log and of the journal about the process, and of its standard
    error, without what looks like a secret."""
    result: list[report.LogLine] = []
    for source in ("kernel", "journal", "stderr"):
        lines = facts.get(b"@log/" + source.encode(), b"").split(b"\n")
        for line in mask_lines(lines[-MAX_LOG_LINES:]):
            if line:
                text = texts.text(line, f"/log/{len(result)}/text", MAX_LOG_TEXT)
                result.append(report.LogLine(source=source, text=text))
    return result


def maps(
    mappings: Sequence[Mapping],
    fault: int | None,
    texts: Texts,
    notes: NoteLog,
    points: Sequence[int] = (),
) -> list[report.Map]:
    """The memory map, in address order. Of a very long one what says most: around the fault and
    `points` (addresses that matter: the registers' values), then files with code and what
    the kernel has a name for, then the end and the beginning."""
    marked = fault_marks([m.start for m in mappings], [m.end for m in mappings], fault)
    result: list[report.Map] = []
    for number in _kept(mappings, fault, points):
        mapping = mappings[number]
        result.append(
            report.Map(
                start=f"{mapping.start:#x}",
                end=f"{mapping.end:#x}",
                permissions=_plain(mapping.perms, 8),
                offset=f"{mapping.offset:#x}",
                path=texts.text(mapping.path, f"/maps/{len(result)}/path"),
                device=_plain(mapping.device, 16),
                inode=mapping.inode if 0 <= mapping.inode < 1 << 63 else 0,
                deleted=mapping.deleted,
                fault=number == marked,
            )
        )
    if len(result) < len(mappings):
        left = len(mappings) - len(result)
        notes.add("report", f"{left:,} of {len(mappings):,} mappings", "too many")
    return result


def _kept(mappings: Sequence[Mapping], fault: int | None, points: Sequence[int]) -> list[int]:
    """The indexes of the mappings that there is room for."""
    kept: set[int] = set()
    budget = MAX_MAPS_COST
    for number in _by_worth(mappings, fault, points):
        if number in kept:
            continue
        path = mappings[number].path.decode("utf-8", "backslashreplace")
        budget -= json_cost(path) + 250
        if len(kept) >= MAX_MAPS or budget < 0:
            break
        kept.add(number)
    return sorted(kept)


def _by_worth(
    mappings: Sequence[Mapping], fault: int | None, points: Sequence[int]
) -> Iterator[int]:
    """All indexes, some of them more than once; the most telling first."""
    count = len(mappings)
    starts = [mapping.start for mapping in mappings]
    around = [(fault, _MAPS_AROUND_FAULT)] if fault is not None else []
    around += [(point, _MAPS_AROUND_POINT) for point in points]
    for address, reach in around:
        near = bisect_right(starts, address)
        yield from range(max(0, near - reach), min(count, near + reach))
    for number, mapping in enumerate(mappings):
        if mapping.executable or mapping.path.startswith(b"["):
            # with those of the same file beside it: a module's data and its read-only parts
            yield from range(max(0, number - 2), min(count, number + 4))
    yield from range(max(0, count - _MAPS_AT_END), count)
    yield from range(count)


def _plain(data: bytes, limit: int) -> str:
    return data[:limit].decode("ascii", "backslashreplace")


def registers(arch: Arch, values: dict[str, int]) -> dict[str, str]:
    """The registers, those that hold addresses first, as hex strings."""
    names = [name for name in arch.pointer_registers if name in values]
    names += [name for name in values if name not in arch.pointer_registers]
    return {name: f"{values[name]:#x}" for name in names}


def kernel_stack(facts: dict[bytes, bytes], tid: int, texts: Texts, pointer: str) -> list[str]:
    """The functions of the kernel that the thread was in, innermost first."""
    lines = f.kernel_stack(facts.get(b"task/%d/stack" % tid, b""))
    return [
        texts.text(line, f"{pointer}/kernel_stack/{number}", 200)
        for number, line in enumerate(lines)
    ]


def thread_state(facts: dict[bytes, bytes], tid: int) -> str:
    """The letter of proc_pid_stat(5), empty where not known."""
    stat = f.parse_stat(facts.get(b"task/%d/stat" % tid, b""))
    state = stat.state if stat else b""
    return state.decode("ascii") if len(state) == 1 and state.isalpha() else ""


def soft_limits(facts: dict[bytes, bytes]) -> dict[str, str]:
    """The soft limits by their names in /proc/PID/limits."""
    rows = f.parse_limits(facts.get(b"limits", b""))[:64]
    return {name.decode("ascii", "replace"): soft.decode("ascii", "replace")
            for name, soft, _, _ in rows}  # fmt: skip
