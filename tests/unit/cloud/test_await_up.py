"""New instances are waited for until they are up or have ended, and failures are told."""

from __future__ import annotations

import dataclasses
import logging
import math

import pytest
import trio
from trio.testing import MockClock

from bigmachine.cloud import await_up, report_down
from bigmachine.errors import StartError

from .provider import Refused

logger = logging.getLogger("bigmachine.madeup")


@dataclasses.dataclass(frozen=True)
class Vm:
    id: str
    name: str
    address: str = ""
    has_ended: bool = False


def new(count):
    return [Vm(f"zones/a/i-{n}", f"m{n}") for n in range(count)]


def run(test):
    trio.run(test, clock=MockClock(autojump_threshold=0))


def provider(up_after, *, ended=()):
    """Return a function that describes instances, which get addresses after some seconds."""
    began = trio.current_time()
    asked = []

    async def describe(vm):
        asked.append(vm.name)
        await trio.lowlevel.checkpoint()
        if vm.name in ended:
            return dataclasses.replace(vm, address="10.0.0.2", has_ended=True)
        seconds = up_after[vm.name]
        if seconds is None:
            return None  # not found yet
        is_up = trio.current_time() >= began + seconds
        return dataclasses.replace(vm, address="10.0.0.1" if is_up else "")

    return describe, asked


def is_up(vm):
    return bool(vm.address)


def test_instances_are_returned_in_order_as_they_are_when_they_are_up():
    async def test():
        describe, _ = provider({"m0": 30, "m1": 0, "m2": 10})
        up, down = await await_up(new(3), describe=describe, is_up=is_up)
        assert [(vm.name, vm.address) for vm in up] == [(f"m{n}", "10.0.0.1") for n in range(3)]
        assert down == []
        assert 30 <= trio.current_time() < 40

    run(test)


def test_instance_that_ends_is_not_waited_for():
    async def test():
        began = trio.current_time()
        describe, asked = provider({"m1": 0}, ended=["m0"])
        up, down = await await_up(new(2), describe=describe, is_up=is_up)
        assert [vm.name for vm in up] == ["m1"]
        assert [(vm.name, vm.has_ended) for vm in down] == [("m0", True)]
        assert sorted(asked) == ["m0", "m1"]
        assert trio.current_time() == began

    run(test)


def test_instances_that_stay_without_an_address_or_unknown_are_given_up():
    async def test():
        began = trio.current_time()
        describe, asked = provider({"m0": math.inf, "m1": None, "m2": 0})
        up, down = await await_up(new(3), describe=describe, is_up=is_up)
        assert [vm.name for vm in up] == ["m2"]
        assert [vm.name for vm in down] == ["m0", "m1"]
        assert trio.current_time() == began + 120
        assert len(asked) < 70  # less often as time goes by

    run(test)


def test_instance_that_is_up_at_once_is_not_looked_at():
    async def test():
        describe, asked = provider({})
        [vm] = [dataclasses.replace(vm, address="10.0.0.9") for vm in new(1)]
        assert await await_up([vm], describe=describe, is_up=is_up) == ([vm], [])
        assert asked == []

    run(test)


def test_start_that_was_cancelled_does_not_go_on():
    async def test():
        with trio.CancelScope() as scope:
            scope.cancel()
            await await_up([], describe=provider({})[0], is_up=is_up)
            raise AssertionError("it went on")

    run(test)


def test_error_of_the_provider_is_raised_when_all_others_are_known():
    async def describe(vm):
        if vm.name == "m0":
            raise Refused("DOWN")
        await trio.sleep(20)
        return dataclasses.replace(vm, address="10.0.0.1")

    async def test():
        with pytest.raises(Refused):
            await await_up(new(2), describe=describe, is_up=is_up)
        assert trio.current_time() >= 20

    run(test)


def test_failures_are_warnings_if_others_are_up_and_else_the_error(caplog):
    first, *down = new(6)
    report_down([first], down[:2], why=lambda vm: "no address", logger=logger)
    told = [r.getMessage() for r in caplog.records]
    assert told == [f"m{n} (i-{n}) did not come up: no address" for n in (1, 2)]
    with pytest.raises(StartError) as caught:
        report_down([], down, why=lambda vm: "no address", logger=logger)
    assert str(caught.value).endswith("m3 (i-3) did not come up: no address; and 2 more did not")
