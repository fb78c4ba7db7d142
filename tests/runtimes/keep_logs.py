"""Makes the kept files of Java virtual machines: `python -m tests.runtimes.keep_logs JAVA_HOME…`.

Each is what capture keeps of a hs_err_pidN.log, without the lines that tell of the machine on which
it was made.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.spawn import compile_c

HERE = Path(__file__).parent
KEPT = HERE / "kept"
MODES = ("thread", "native", "compiled")
OPTIONS = ("-Xmx64m", "-XX:+UseSerialGC", "-Xbatch")
_LOCAL = re.compile(
    rb"^(Command Line|Host|Time|# Core dump will be written.*|# http.*):?.*\n", re.M
)
_END = b"\nRegisters:\n"


def java_arguments(place: Path, mode: str) -> list[str]:
    """What comes behind `java`, to be run in `place`, where the classes are made (by javac)."""
    more = []
    if mode == "native":
        flags = ("-O1", "-shared", "-fPIC")
        library = compile_c(place, "libpoke.so", (HERE / "poke.c").read_text(), *flags)
        more = [str(library)]
    return [*OPTIONS, "-cp", str(place), "Shop", mode, *more]


def keep(home: Path) -> None:
    """The files of one Java, named by its version and the mode."""
    version = home.name.partition("-")[2].partition(".")[0].split("-")[0]
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        made = [str(home / "bin/javac"), "-nowarn", "-d", directory, str(HERE / "Shop.java")]
        subprocess.run(made, check=True, capture_output=True)
        for mode in MODES:
            log = place / f"{mode}.log"
            words = [str(home / "bin/java"), f"-XX:ErrorFile={log}", "-XX:-CreateCoredumpOnCrash"]
            subprocess.run(
                [*words, *java_arguments(place, mode)], cwd=place, capture_output=True, check=False
            )
            data = _LOCAL.sub(b"", log.read_bytes().partition(_END)[0])
            (KEPT / f"java{version}.{mode}.log").write_bytes(data)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        keep(Path(argument))
