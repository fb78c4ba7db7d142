"""The corpus: one program in each language, built in each way that compilers have.

A recipe is its commands; `chain` is what must stand on the crashing thread's stack, innermost first
(`...`: what the language's library has in between, any number of frames).
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .build import ToolMissingError

SOURCES = Path(__file__).parent.parent / "peers" / "corpus"

_C = ("strike", "aim", "compare", "...", "*qsort*", "sort_all", "twice", "twice", "twice", "main")
_CXX = ("*hit", "*aim", "...", "*Sorter<long>::run", "twice*", "twice*", "twice*", "main")
_RUST = (
    "...", "*hit", "*aim", "...", "*::run*", "*::twice", "*::twice", "*::twice", "*::main", "...",
)  # fmt: skip
_GO = (
    "...", "runtime.sigpanic", "main.hole.hit", "...", "main.aim", "main.numbers.Less", "...",
    "sort.Sort", "main.twice", "main.twice", "main.twice", "main.main", "runtime.main",
    "runtime.goexit*",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Recipe:
    """`commands` run in the build's own directory, with {source} and {output}; `named` is False
    where no names of the program are left."""

    compiler: str
    mode: str
    source: str
    commands: tuple[str, ...]
    chain: tuple[str, ...]
    named: bool = True

    @property
    def id(self) -> str:
        return f"{self.compiler}/{self.mode}"

    @property
    def real_frames(self) -> int:
        """How many frames of the chain have a place of their own on the stack."""
        return sum(1 for name in self.chain if name not in ("...", "aim", "*aim"))


_C_MODES = {
    "O0": "-g -O0",
    "O2": "-g -O2",
    "omit-frame-pointer": "-g -O2 -fomit-frame-pointer",
    "stripped": "-O2 -s",
    "static": "-g -O2 -static",
    "static-pie": "-g -O2 -static-pie",
    "pie": "-g -O2 -fPIE -pie",
    "no-pie": "-g -O2 -fno-PIE -no-pie",
    "lto": "-g -O2 -flto",
    "split-dwarf": "-g -O2 -gsplit-dwarf",
    "split-dwarf-4": "-gdwarf-4 -O2 -gsplit-dwarf",
    "compressed": "-g -O2 -gz=zlib",
    "no-tables": "-g -O2 -fno-asynchronous-unwind-tables -fno-exceptions",
}
_RUST_MODES = {
    "O0": "-g -C opt-level=0",
    "O2": "-g -C opt-level=2",
    "omit-frame-pointer": "-g -C opt-level=2 -C force-frame-pointers=no",
    "stripped": "-C opt-level=2 -C strip=symbols",
    "static": "-g -C opt-level=2 -C target-feature=+crt-static -C relocation-model=static",
    "static-pie": "-g -C opt-level=2 -C target-feature=+crt-static",
    "pie": "-g -C opt-level=2 -C relocation-model=pie",
    "no-pie": "-g -C opt-level=2 -C relocation-model=static",
    "lto": "-g -C opt-level=2 -C lto=fat",
    "split-dwarf": "-g -C opt-level=2 -C split-debuginfo=unpacked",
    "compressed": "-g -C opt-level=2 -C link-arg=-Wl,--compress-debug-sections=zlib",
    "v0": "-g -C opt-level=2 -C symbol-mangling-version=v0",
}
_GO_MODES = {
    "O0": "-gcflags=all='-N -l'",
    "O2": "",
    "stripped": "-ldflags='-s -w'",
    "static": "-ldflags='-linkmode=external -extldflags=-static'",
    "static-pie": "-buildmode=pie -ldflags='-linkmode=external -extldflags=-static-pie'",
    "pie": "-buildmode=pie",
    "compressed": "-ldflags=-compressdwarf=true",
    "uncompressed": "-ldflags=-compressdwarf=false",
}
# A debug file beside it, as distributions make them, and debug information in common (dwz).
_AFTERWARDS = {
    "debug-file": (
        "objcopy --only-keep-debug {output} {output}.debug",
        "objcopy --strip-all --add-gnu-debuglink={output}.debug {output}",
    ),
    "dwz": ("cp {output} {output}.twin", "dwz -m {output}.common {output} {output}.twin"),
}


def _c_recipes(compiler: str, source: str, chain: tuple[str, ...]) -> list[Recipe]:
    found = []
    for mode, flags in _C_MODES.items():
        if (compiler, mode) in _NOT_MADE:
            continue
        commands = (
            f"{compiler} -w -pthread -c -o part.o {{source}} {flags}",
            f"{compiler} -w -pthread -o {{output}} part.o {flags}",
        )
        found.append(Recipe(compiler, mode, source, commands, chain, named=mode != "stripped"))
    for mode, more in _AFTERWARDS.items():
        if (compiler, mode) not in _NOT_MADE:
            command = f"{compiler} -w -g -O2 -pthread -o {{output}} {{source}}"
            found.append(Recipe(compiler, mode, source, (command, *more), chain))
    return found


# What the tools of Debian 12 cannot make: its dwz knows no .debug_addr.
_NOT_MADE = frozenset({("clang", "dwz")})


def recipes() -> list[Recipe]:
    """Every build of the corpus."""
    found = []
    for compiler, source, chain in (
        ("gcc", "chain.c", _C), ("clang", "chain.c", _C), ("musl-gcc", "chain.c", _C),
        ("g++", "chain.cc", _CXX),
    ):  # fmt: skip
        found += _c_recipes(compiler, source, chain)
    for mode, flags in _RUST_MODES.items():
        command = f"rustc --edition 2021 -o {{output}} {{source}} {flags}"
        found.append(Recipe("rustc", mode, "chain.rs", (command,), _RUST, named=mode != "stripped"))
    for mode, flags in _GO_MODES.items():
        # (whoever links for it must be asked by cgo)
        cgo = "env CGO_ENABLED=1 " if "external" in flags else ""
        command = f"{cgo}go build -o {{output}} {flags} {{source}}"
        # Its own table, which stripping leaves, has no inlined functions.
        left_out = "main.aim" if mode == "stripped" else ""
        chain_of_go = tuple(name for name in _GO if name != left_out)
        found.append(Recipe("go", mode, "chain.go", (command,), chain_of_go))
    return found


def build_recipe(recipe: Recipe, place: Path) -> Path:
    """Build it in `place`; gives the program. ToolMissingError without the compiler, RuntimeError
    with its words where it fails."""
    if shutil.which(recipe.compiler) is None:
        raise ToolMissingError(f"{recipe.compiler} is not installed")
    place.mkdir(parents=True)
    output = place / recipe.id.replace("/", "-")[:15]
    environment = {
        **os.environ, "GOCACHE": str(place.parent / "go-cache"), "GO111MODULE": "off",
        "CGO_ENABLED": "0", "GOFLAGS": "",
    }  # fmt: skip
    for command in recipe.commands:
        words = [
            word.format(source=SOURCES / recipe.source, output=output.name)
            for word in shlex.split(command)
        ]
        done = subprocess.run(
            words, cwd=place, env=environment, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{recipe.id}: {' '.join(words)}\n{done.stderr}")
    return output
