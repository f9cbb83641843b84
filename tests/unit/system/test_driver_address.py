"""A driver's addresses are kept up to date, for the firewall of its machines."""

from __future__ import annotations

import logging

import trio
from trio.testing import MockClock

from bigmachine.errors import StartError
from bigmachine.system import DriverAddresses


class LookUp:
    def __init__(self, *blocks: str) -> None:
        self.blocks = blocks
        self.count = 0

    async def __call__(self) -> list[str]:
        await trio.lowlevel.checkpoint()
        self.count += 1
        if not self.blocks:
            raise StartError("there is no network")
        return [*self.blocks]


def test_changed_addresses_are_noticed_with_a_warning(caplog):
    async def main():
        look_up = LookUp("192.0.2.1/32", "10.0.0.7/32")
        driver = DriverAddresses(["10.0.0.7/32", "192.0.2.1/32"], look_up=look_up)
        assert not await driver.update()  # the order says nothing
        assert not caplog.records
        look_up.blocks = ()
        assert not await driver.update()
        assert "can't be looked up again: there is no network" in caplog.text
        look_up.blocks = ("192.0.2.2/32",)
        assert await driver.update()
        assert driver.blocks == ("192.0.2.2/32",)
        [*_, told] = caplog.records
        assert told.levelno == logging.WARNING
        assert "from 10.0.0.7/32, 192.0.2.1/32 to 192.0.2.2/32" in told.getMessage()

    with caplog.at_level(logging.INFO):
        trio.run(main)


def test_fresh_addresses_are_not_looked_up():
    async def main():
        look_up = LookUp("192.0.2.1/32")
        driver = DriverAddresses(["192.0.2.1/32"], look_up=look_up)
        await driver.update(max_age=60)
        assert look_up.count == 0
        await trio.sleep(61)
        await driver.update(max_age=60)
        await driver.update(max_age=60)
        assert look_up.count == 1

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_named_addresses_are_collapsed_and_never_change():
    async def main():
        named = ["192.0.2.7", "192.0.2.7/32", "10.0.0.0/8", "10.1.0.0/16"]
        driver = DriverAddresses(named, look_up=None)
        assert not await driver.update()
        assert driver.blocks == ("10.0.0.0/8", "192.0.2.7/32")

    trio.run(main)
