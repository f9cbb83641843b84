"""The conformance kit on a real AWS account; only ``python -m tests.live ec2`` runs it.

pytest does not collect this file; if it is given by name, all its tests are skipped.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import pytest
import trio

from bigmachine.boot import Driver
from bigmachine.cloud import poll_intervals
from bigmachine.session._loop_thread import LoopThread
from bigmachine.testing.conformance import Suite
from bigmachine_ec2 import Ec2Options, Ec2System
from bigmachine_ec2._api import Api
from bigmachine_ec2._errors import AwsError
from bigmachine_ec2._leftovers import FREED_AFTER_INSTANCES, FREED_BEFORE_INSTANCES, GROUP, TEMPLATE
from bigmachine_ec2._tags import DRIVER, SESSION, tag_specifications, tags_of
from bigmachine_ec2._vms import LIVE_STATES

T = TypeVar("T")
Resources = dict[str, dict[str, str]]
"""Tags by resource id."""

DEFAULTS = {
    "instance_type": "t3.small,t3a.small",  # the cheapest types with 2 GiB
    "lifetime": "14400",  # seconds, a last resort: tests share machines for most of the run
}
RUN = "bigmachine-test"
"""The tag of all resources of a run; its value is the run's name."""


@dataclass(frozen=True)
class Facts:
    """What is known about an account before money is spent; ``price`` is the highest one."""

    caller_arn: str
    region: str
    vpc: str
    price: float | None

    @property
    def account(self) -> str:
        """The account's number."""
        return self.caller_arn.split(":")[4]


async def look(system: Ec2System) -> Facts:
    """Check the options and permissions, as every session does; nothing is created."""
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
    """The resources in an account's region; any thread may use it, trio's as well."""

    def __init__(self, options: Ec2Options, *, vpc: str, run: str) -> None:
        self.options = options
        self.run = run
        self._vpc = vpc
        self._api = Api(options)
        self._loop = LoopThread(contextlib.nullcontext())

    def resources(self) -> Resources:
        """Return the tags of all resources of the kinds that sessions create, by id."""
        return self._wait(self._resources)

    def make_group(self) -> str | None:
        """Create a security group that belongs to no session; None if that is not permitted."""
        return self._wait(self._make_group)

    def delete_group(self, id: str) -> None:
        """Delete a security group."""
        self._wait(lambda: self._api.write("ec2:DeleteSecurityGroup", GroupId=id))
        self._api.forget(id)

    def has(self, id: str) -> bool:
        """Whether there is this resource; a new one may not be listed yet."""
        return self._wait(lambda: self._has(id))

    def close(self) -> None:
        """Close all connections."""
        self._wait(self._api.close)
        self._loop.close()

    def _wait(self, ask: Callable[[], Awaitable[T]]) -> T:
        return self._loop.portal.submit(ask).result()

    async def _resources(self) -> Resources:
        living = [{"Name": "instance-state-name", "Values": [*LIVE_STATES]}]
        reservations = await self._api.read_all(
            "ec2:DescribeInstances", "Reservations", Filters=living
        )
        found = {vm["InstanceId"]: tags_of(vm) for r in reservations for vm in r["Instances"]}
        for kind in (*FREED_BEFORE_INSTANCES, *FREED_AFTER_INSTANCES):
            raws = await self._api.read_all(kind.describe, kind.list_key)
            found.update(
                {
                    r[kind.id_key]: tags_of(r)
                    for r in raws
                    if r.get("State") not in kind.deleted_states
                }
            )
        return found

    async def _has(self, id: str) -> bool:
        for delay in poll_intervals():
            if id in await self._resources():
                return True
            if not self._api.is_new(id):
                return False
            await trio.sleep(delay)
        raise AssertionError  # the polls do not end

    async def _make_group(self) -> str | None:
        try:
            reply = await self._api.write(
                "ec2:CreateSecurityGroup",
                GroupName=f"{RUN}-{secrets.token_hex(4)}",
                Description="A test checks that sessions do not delete it",
                VpcId=self._vpc,
                TagSpecifications=tag_specifications({RUN: self.run}, "security-group"),
            )
        except AwsError as error:
            if error.is_forbidden:
                return None
            raise
        id = str(reply["GroupId"])
        self._api.note_new(id)
        return id


class TestEc2(Suite):
    account: ClassVar[Account | None] = None
    """The account to test on; only the script sets it."""
    timeout = 180.0  # EC2 takes a minute or more to terminate an instance
    payload_bytes = 4 << 20  # the connection may be slow
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
        yield from (
            id for id, tags in self.account.resources().items() if not is_free_leftover(id, tags)
        )

    @contextlib.contextmanager
    def foreign_resource(self) -> Iterator[Any]:
        assert self.account is not None
        group = self.account.make_group()
        if group is None:
            yield None
            return
        try:
            yield lambda: self.account.has(group)
        finally:
            self.account.delete_group(group)


def sessions_of(resources: Resources, *, run: str) -> set[str]:
    """Return the sessions of a run that own one of these resources."""
    found = {tags.get(SESSION, "") for tags in resources.values() if tags.get(RUN) == run}
    return found - {""}


def is_free_leftover(id: str, tags: Mapping[str, str]) -> bool:
    """Whether a resource costs nothing and was left by a killed driver, which cannot be avoided."""
    return id.startswith((GROUP.id_prefix, TEMPLATE.id_prefix)) and _is_dead(tags.get(DRIVER, ""))


def _is_dead(driver: str) -> bool:
    return bool(driver) and Driver.parse(driver).is_alive() is False
