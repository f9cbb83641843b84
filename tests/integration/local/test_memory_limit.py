"""A machine without memory for what it is sent says so, and goes on."""

from __future__ import annotations

import sys
import threading
from typing import Any

import numpy as np
import pytest

import bigmachine as bm
from tests.integration.local.local_machines import children
from tests.integration.local.test_shared_memory import VARIABLE
from tests.support.memory_limit import limit_memory
from tests.support.waiting import until

if sys.platform != "linux":
    pytest.skip("only there has memory such a limit", allow_module_level=True)

ROOM_BYTES = 48 << 20
# A thread that starts as the limit is set maps 64 MiB more, which it soon gives back.
ARRAY = np.zeros(192 << 20, np.uint8)


class Limited:
    """Limits its machine's memory, once it has the threads that it needs."""

    def __init__(self) -> None:
        self.may_end: Any = None

    def limit(self) -> None:
        limit_memory(ROOM_BYTES)

    def setup(self, session: bm.PeerSession) -> None:
        self.may_end = threading.Event()

    @bm.concurrent
    def wait(self) -> str:
        self.may_end.wait()
        return "done"

    def release(self) -> None:
        self.may_end.set()

    def take(self, array: Any) -> int:
        return len(array)

    async def async_take(self, array: Any) -> int:
        return len(array)


class LimitedAtOnce(Limited):
    def setup(self, session: bm.PeerSession) -> None:
        self.limit()


class Model:
    def __init__(self, array: Any) -> None:
        self.array = array

    def size(self) -> int:
        return len(self.array)


pytestmark = pytest.mark.long
memory_switch = pytest.mark.parametrize("switch", ["0", "1"])


@memory_switch
def test_call_without_memory_for_its_arguments_ends_no_other(
    switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, switch)
    with bm.Session("local") as session:
        [machine] = session.start(1, services={"Limited": Limited()})
        waiting = machine.submit("Limited.wait")
        assert machine.call("Limited.take", ARRAY[:5]) == 5
        machine.call("Limited.limit")
        for method in ("Limited.take", "Limited.async_take"):
            with pytest.raises(bm.UsageError, match=f"{method}: the machine has no memory for"):
                machine.call(method, ARRAY)
            assert machine.call(method, ARRAY[:5]) == 5
        machine.call("Limited.release")
        assert waiting.result() == "done"


@memory_switch
@pytest.mark.parametrize("count", [1, 3])
def test_start_without_memory_for_a_service_fails_and_leaves_nothing(
    switch: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, switch)
    before = children()
    with bm.Session("local") as session:
        services = {"Limited": LimitedAtOnce(), "Model": Model(ARRAY)}
        with pytest.raises(bm.StartError, match=r"phase service 'Model': .* with more memory"):
            session.start(count, services=services)
        assert all(machine.state == bm.State.STOPPED for machine in session.machines)
    until(lambda: children() <= before)
