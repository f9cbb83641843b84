"""The conformance kit on a real account of AWS: run by ``python -m tests.live ec2`` alone.

pytest does not collect this file by itself, and given it by name, it skips all.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import pytest

from bigmachine.boot import Driver
from bigmachine.session._loop_thread import LoopThread
from bigmachine.testing.conformance import Suite
from bigmachine_ec2 import Ec2Options, Ec2System
from bigmachine_ec2._api import Api
from bigmachine_ec2._errors import AwsError
from bigmachine_ec2._leftovers import FREED_AFTER_INSTANCES, FREED_BEFORE_INSTANCES, GROUP, TEMPLATE
from bigmachine_ec2._tags import DRIVER, SESSION, tag_specifications, tags_of
from bigmachine_ec2._vms import LIVE_STATES

T = TypeVar("T")
Things = dict[str, dict[str, str]]
"""The tags of things, by id."""

DEFAULTS = {
    "instance_type": "t3.small,t3a.small",  # the cheapest that have 2 GiB
    "lifetime": "14400",  # the last net: the run's tests share machines, for as long as it takes
}
RUN = "bigmachine-test"
"""The tag of all that a run makes, with the run's name."""


@dataclass(frozen=True)
class Facts:
    """What is known of an account before money is spent; ``price`` is the dearest machine's."""

    caller_arn: str
    region: str
    vpc: str
    price: float | None

    @property
    def account(self) -> str:
        """The account's number."""
        return self.caller_arn.split(":")[4]


async def look(system: Ec2System) -> Facts:
    """Check the options, and the right to buy, as every session does; nothing is made."""
    try:
        await system.setup()
        assert system._plan is not None
        prices = [system._prices.per_hour(offer.price_key) for offer in system._plan.offers]
        known = [price for price in prices if price is not None]
        return Facts(
            caller_arn=system._caller_arn,
            region=system._api.region,
            vpc=system._plan.network.vpc,
            price=max(known) if len(known) == len(prices) else None,
        )
    finally:
        await system.shutdown()


class Account:
    """All that is in an account's region, by the plugin's own code; for any thread, trio's too."""

    def __init__(self, options: Ec2Options, *, vpc: str, run: str) -> None:
        self.options = options
        self.run = run
        self._vpc = vpc
        self._api = Api(options)
        self._loop = LoopThread(contextlib.nullcontext())

    def things(self) -> Things:
        """Return the tags of all things of the kinds that sessions make, whosever, by id."""
        return self._wait(self._things)

    def make_group(self) -> str | None:
        """Make a security group that is no session's; None where that is not allowed."""
        return self._wait(self._make_group)

    def delete_group(self, id: str) -> None:
        """Delete such a group."""
        self._wait(lambda: self._api.write("ec2:DeleteSecurityGroup", GroupId=id))

    def close(self) -> None:
        """Close all connections."""
        self._wait(self._api.close)
        self._loop.close()

    def _wait(self, ask: Callable[[], Awaitable[T]]) -> T:
        return self._loop.portal.submit(ask).result()

    async def _things(self) -> Things:
        living = [{"Name": "instance-state-name", "Values": [*LIVE_STATES]}]
        reservations = await self._api.read_all(
            "ec2:DescribeInstances", "Reservations", Filters=living
        )
        found = {vm["InstanceId"]: tags_of(vm) for r in reservations for vm in r["Instances"]}
        for kind in (*FREED_BEFORE_INSTANCES, *FREED_AFTER_INSTANCES):
            raws = await self._api.read_all(kind.describe, kind.list_key, MaxResults=kind.page_size)
            found.update(
                {
                    r[kind.id_key]: tags_of(r)
                    for r in raws
                    if r.get("State") not in kind.deleted_states
                }
            )
        return found

    async def _make_group(self) -> str | None:
        try:
            reply = await self._api.write(
                "ec2:CreateSecurityGroup",
                GroupName=f"{RUN}-{secrets.token_hex(4)}",
                Description="Nobody's: a test looks whether it is left alone",
                VpcId=self._vpc,
                TagSpecifications=tag_specifications({RUN: self.run}, "security-group"),
            )
        except AwsError as error:
            if error.is_forbidden:
                return None
            raise
        return str(reply["GroupId"])


class TestEc2(Suite):
    account: ClassVar[Account | None] = None
    """Whose money it is: set by the script, and by nobody else."""
    timeout = 180.0  # EC2 takes a minute or more to terminate an instance
    payload_bytes = 4 << 20  # by somebody's own line
    bad_options = (
        {"market": "on-demand", "max_price": 0.1},
        {"disk": 0},
        {"disk": 1},
        {"instance_type": "t3.smal"},
        {"key_pair": "bigmachine-test-no-such-key-pair"},
        {"image": "ami-0bad"},
    )
    pytestmark = pytest.mark.timeout(1800)

    @pytest.fixture
    def system(self) -> Ec2System:
        if self.account is None:
            pytest.skip("a real account: `python -m tests.live ec2` asks for it")
        return Ec2System(self.account.options)

    def leftovers(self) -> Iterator[str]:
        assert self.account is not None
        yield from (id for id, tags in self.account.things().items() if not is_rest(id, tags))

    @contextlib.contextmanager
    def foreign_resource(self) -> Iterator[Any]:
        assert self.account is not None
        group = self.account.make_group()
        if group is None:
            yield None
            return
        try:
            yield lambda: group in self.account.things()
        finally:
            self.account.delete_group(group)


def sessions_of(things: Things, *, run: str) -> set[str]:
    """Return the sessions of a run that have one of these things."""
    found = {tags.get(SESSION, "") for tags in things.values() if tags.get(RUN) == run}
    return found - {""}


def is_rest(id: str, tags: Mapping[str, str]) -> bool:
    """Whether it costs nothing, and was left by a driver that was killed, which can't be helped."""
    return id.startswith((GROUP.id_prefix, TEMPLATE.id_prefix)) and _is_dead(tags.get(DRIVER, ""))


def _is_dead(driver: str) -> bool:
    return bool(driver) and Driver.parse(driver).is_alive() is False
