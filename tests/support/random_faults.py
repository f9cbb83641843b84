"""Two starts and a shutdown under faults that a test has arranged, the same for all clouds."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import trio

from bigmachine.errors import BigmachineError


async def start_and_shut_down(kit: Any, chance: random.Random) -> str:
    """Start twice, perhaps cancelled; return why the shutdown failed, if it did."""
    instances = []
    for _ in range(2):
        seconds = chance.choice([float("inf"), float("inf"), chance.uniform(0, 0.5)])
        with trio.move_on_after(seconds), contextlib.suppress(BigmachineError):
            instances += await kit.system.start(chance.randrange(1, 5), kit.request)
    assert len({each.id for each in instances}) == len(instances)
    if instances and chance.random() < 0.5:
        with contextlib.suppress(BigmachineError):
            await kit.system.stop(chance.choice(instances))
    try:
        await kit.system.shutdown()
    except BigmachineError as error:
        return str(error)
    return ""


async def reap(system: Any) -> None:
    """Free what another driver has left, as `bigmachine reap` does."""
    for resource in await system.instances():
        await system.stop(resource)
    await system.shutdown()
