"""`usercrash status` of a real server, with real crashes behind it."""

from __future__ import annotations

import json
import signal
import subprocess
import time

import pytest
from tests.support.build import build, programs
from tests.support.kernel import Installation, command

pytestmark = pytest.mark.usefixtures("needs_socket")


def until_all_are_complete(place: Installation) -> subprocess.CompletedProcess[str]:
    """What it says once the server has seen the end of the last job."""
    deadline = time.monotonic() + 30
    while True:
        done = command("status", "--json", config=place.config)
        counts = json.loads(done.stdout)["server"]["counts"]
        if counts["complete"] == counts["announced"]:
            return done
        assert time.monotonic() < deadline, done.stdout


def test_the_state_of_a_server_at_work() -> None:
    built = build(programs()["worker/debug"])
    with Installation("[reports]\nslots = 7\n") as place:
        place.start_server()
        with place.receiving(entrance="socket"):
            for _ in range(2):
                place.crash(built)
            done = until_all_are_complete(place)
            told = command("status", config=place.config)
            # Whatever else crashes on this machine meanwhile is counted too, and rightly.
            announced = [line["id"] for line in place.events() if line["what"] == "announced"]
            place.stop_server(signal.SIGKILL)
            dead = command("status", config=place.config)
    assert done.returncode == told.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["collecting"] and found["entrance"]["way"] == "socket"
    server = found["server"]
    assert server["workers"] == {"waiting": 2, "busy": 0, "wanted": 2}
    assert server["counts"]["announced"] == server["counts"]["complete"] == len(announced) >= 2
    assert {hold["source"] for hold in server["holds"]} == {"coredump_socket"}
    names = [hold["name"] for hold in server["holds"]]
    assert names.count(built.exe.name[:15]) == 2
    assert all(0 < hold["hold_ns"] < 10**9 for hold in server["holds"])
    assert server["queue"]["waiting"] == server["queue"]["running"] == 0
    assert found["kept"]["reports"] == min(7, len(announced)) and found["kept"]["slots"] == 7
    assert told.stdout.startswith("collecting: through the kernel's socket\n")
    assert max(map(len, told.stdout.split("\n"))) <= 80
    assert dead.returncode == 1 and "workers alone" in dead.stdout.split("\n")[0]
