"""The limit on open files: raised for machines, or an error before any is started."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource

resource.setrlimit(resource.RLIMIT_NOFILE, (128, 400))

import trio

import bigmachine as bm
from bigmachine.testing import InProcessSystem

starts = []

class Counting(InProcessSystem):
    open_files_per_machine = 5

    async def start(self, count, request):
        starts.append(count)
        return await super().start(count, request)

async def main():
    async with bm.AsyncSession(Counting) as session:
        for count in (2, 8, 50, 80):
            try:
                machines = await session.start(count, services={"Len": len})
                print(len(machines), resource.getrlimit(resource.RLIMIT_NOFILE))
            except bm.StartError as exc:
                print(exc)
    print(starts)
    async with bm.AsyncSession(InProcessSystem) as session:
        print(len(await session.start(80, services={"Len": len})))

trio.run(main)
"""


def test_limit_is_raised_if_need_be_and_start_beyond_it_is_error_before_any_launch() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60
    )
    few, more, many, error, starts, in_memory = run.stdout.splitlines()
    assert few == "2 (128, 400)"
    assert more == "8 (400, 400)"  # for their lanes
    assert many == "50 (400, 400)"  # though not all their lanes have room
    assert error.startswith("can't start 80 machines: the driver would need 4")
    assert "its limit is 400 (at most 400); raise it with `ulimit -n 4" in error
    assert starts == "[2, 8, 50]"
    assert in_memory == "80"
