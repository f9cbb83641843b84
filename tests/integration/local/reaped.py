"""A driver whose `start` never returns: it creates resources, and waits until it is killed."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import trio

import bigmachine as bm
from tests.support.shelf import ShelfOptions, ShelfSystem, put

session: bm.AsyncSession


class ReapedSystem(ShelfSystem):
    uses_reaper = "reaper" in sys.argv

    def __init__(self, options: ShelfOptions) -> None:
        super().__init__(options)
        if Path(options.folder, "broken").exists():
            raise ValueError("it is broken")

    async def start(self, count: int, request: bm.LaunchRequest) -> Sequence[bm.Instance]:
        for kind in ("instance", "volume", "security-group"):
            put(self.options.folder, f"resource.{request.session}", kind)
        process = session._reaper._process
        say(session=request.session, reaper=process and process.pid)
        if "fails" in sys.argv:
            raise bm.StartError("it fails")
        if "loses its reaper" in sys.argv:
            assert process is not None
            process.kill()
            while session._reaper._process in (None, process):
                await trio.sleep(0.01)
            say(reaper=session._reaper._process.pid)
        if "forks" in sys.argv and os.fork() == 0:
            say(child=os.getpid())
            time.sleep(1000)
        await trio.sleep_forever()
        raise AssertionError

    async def shutdown(self) -> None:
        if "frees" in sys.argv:
            for resource in await self.instances():
                await self.stop(resource)


class Nothing:
    def do_nothing(self) -> None:
        pass


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def main() -> None:
    """Run the driver, whose resources are in the folder that is the first argument."""
    trio.run(_drive)


async def _drive() -> None:
    global session
    async with bm.AsyncSession(ReapedSystem, folder=sys.argv[1]) as session:
        try:
            await session.start(1, services={"Nothing": Nothing()})
        except bm.StartError as error:
            say(error=str(error))
