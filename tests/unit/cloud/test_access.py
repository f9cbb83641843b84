"""A session's firewall stays open to its driver, wherever that moves, and is mended."""

from __future__ import annotations

import pytest
import trio

from bigmachine.cloud import Access
from bigmachine.errors import StartError
from bigmachine.system import VmOptions

from .provider import Refused

HERE = "127.0.0.1/32"  # towards the network below, which is this computer's own
NETWORK = ["127.0.0.0/24"]
OLD = "198.51.100.4/32"


class Wall:
    """A firewall, which may fail, or be opened further by somebody else."""

    def __init__(self):
        self.open_to = []
        self.failure = ""
        self.asked = 0

    async def let_in(self, allow):
        self.asked += 1
        if self.failure:
            raise Refused(self.failure)
        is_changed = "0.0.0.0/0" in self.open_to
        self.open_to = [*allow]
        return is_changed


class WallAccess(Access[Wall, Refused]):
    system = "madeup"

    def explain(self, error):
        return StartError(f"what to do about {error.code}")


def access(allow=(OLD,), *, options=None, **more):
    made = WallAccess(
        options or VmOptions(public_address=False),
        allow=allow,
        blocks=NETWORK,
        address_service_url="",
        **more,
    )
    made.firewall = Wall()
    return made


def run(test):
    trio.run(test)


def test_driver_that_has_moved_is_let_in_at_its_new_address_alone(caplog):
    async def test():
        made = access()
        await made.restore()
        assert made.firewall.open_to == [HERE]
        assert tuple(made.allow) == (HERE,)
        await made.restore()  # it has not moved again

    run(test)
    [warning] = [r.getMessage() for r in caplog.records]
    assert f"has changed from {OLD} to {HERE}" in warning


@pytest.mark.parametrize(
    ("options", "more"),
    [
        (VmOptions(public_address=False, allow=(OLD,)), {}),
        (VmOptions(public_address=False), {"has_firewall": False}),
    ],
    ids=["allow", "own firewall"],
)
def test_addresses_that_the_user_has_decided_never_change(options, more):
    async def test():
        made = access(options=options, **more)
        await made.restore()
        assert made.firewall.open_to == [OLD]

    run(test)


def test_address_is_looked_up_again_after_a_minute(monkeypatch):
    async def test():
        made = access()
        await made.look_up()
        assert tuple(made.allow) == (OLD,)
        monkeypatch.setattr("bigmachine.cloud._access._FRESH_SECONDS", 0.0)
        await made.look_up()
        assert tuple(made.allow) == (HERE,)

    run(test)


def test_each_kind_of_failure_is_told_once_until_it_is_over(caplog):
    async def test():
        made = access([HERE])
        for failure in ("DENIED", "DENIED", "DOWN", "", "DOWN"):
            made.firewall.failure = failure
            await made.restore()
        assert made.firewall.asked == 5
        made.firewall = None
        await made.restore()

    run(test)
    told = [r.getMessage().rpartition(": ")[2] for r in caplog.records]
    assert told == [f"what to do about {code}" for code in ("DENIED", "DOWN", "DOWN")]
    assert all(r.name == "bigmachine.madeup" for r in caplog.records)


def test_firewall_that_somebody_has_opened_further_is_mended_and_told(caplog):
    async def test():
        made = access([HERE])
        made.firewall.open_to = [HERE, "0.0.0.0/0"]
        await made.restore()
        assert made.firewall.open_to == [HERE]

    run(test)
    assert "somebody has changed or deleted the session's firewall: it is restored" in caplog.text
