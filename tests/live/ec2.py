"""The conformance kit on a real AWS account: ``python -m tests.live ec2`` runs it."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from bigmachine_ec2 import Ec2System
from bigmachine_ec2.api._api import Api
from bigmachine_ec2.api._errors import AwsError
from bigmachine_ec2.options._tags import DRIVER, SESSION, tag_specifications, tags_of
from bigmachine_ec2.resources._leftovers import (
    FREED_AFTER_INSTANCES,
    FREED_BEFORE_INSTANCES,
    GROUP,
    TEMPLATE,
)
from bigmachine_ec2.resources._vms import LIVE_STATES
from tests.live import account
from tests.live.account import RUN, Facts, Resource, highest
from tests.live.suite import LiveSuite


class Account(account.Account[Ec2System]):
    """The resources in an AWS account's region."""

    system_class = Ec2System
    defaults: ClassVar = {
        "instance_type": "t3.small,t3a.small",  # the cheapest types with 2 GiB
        "lifetime": "14400",  # seconds, a last resort: tests share machines for most of the run
    }
    tags_option = "tags"

    def __init__(self, system: Ec2System, *, network: str, run: str) -> None:
        super().__init__(system, network=network, run=run)
        self._api = Api(system.options)

    @staticmethod
    async def facts(system: Ec2System) -> Facts:
        """Describe the account and the plan of a system that is set up."""
        assert system._plan is not None
        return Facts(
            account=f"{system._caller_arn.split(':')[4]}, as {system._caller_arn}",
            place=system._api.region,
            machines=f"{' or '.join(system.options.instance_types)}, {system.options.market}",
            network=system._plan.network.vpc,
            price=highest(system._prices.per_hour(o) for o in system._plan.offers),
        )

    async def find(self) -> Iterable[Resource]:
        """Return all instances, and what else sessions create."""
        living = [{"Name": "instance-state-name", "Values": [*LIVE_STATES]}]
        reservations = await self._api.read_all(
            "ec2:DescribeInstances", "Reservations", Filters=living
        )
        found = [_resource(vm["InstanceId"], vm) for r in reservations for vm in r["Instances"]]
        for kind in (*FREED_BEFORE_INSTANCES, *FREED_AFTER_INSTANCES):
            raws = await self._api.read_all(kind.describe, kind.list_key)
            found += [
                _resource(raw[kind.id_key], raw)
                for raw in raws
                if raw.get("State") not in kind.deleted_states
            ]
        return found

    async def create_foreign(self) -> str | None:
        """Create a security group of no session."""
        try:
            reply = await self._api.write(
                "ec2:CreateSecurityGroup",
                GroupName=f"bigmachine-test-{secrets.token_hex(4)}",
                Description="A test checks that sessions do not delete it",
                VpcId=self.network,
                TagSpecifications=tag_specifications({RUN: self.run}, "security-group"),
            )
        except AwsError as error:
            if error.is_forbidden:
                return None
            raise
        id = str(reply["GroupId"])
        self._api.note_new(id)
        return id

    async def delete_foreign(self, id: str) -> None:
        """Delete a security group."""
        await self._api.write("ec2:DeleteSecurityGroup", GroupId=id)
        self._api.forget(id)

    def is_new(self, id: str) -> bool:
        """Whether lists may not have it yet."""
        return self._api.is_new(id)

    async def disconnect(self) -> None:
        """Close all connections."""
        await self._api.close()


class TestEc2(LiveSuite):
    bad_options = (
        {"market": "on-demand", "max_price": 0.1},
        {"disk": 0},
        {"disk": 1},
        {"instance_type": "t3.smal"},
        {"key_pair": "bigmachine-test-no-such-key-pair"},
        {"image": "ami-0bad"},
    )


def _resource(id: str, raw: Mapping[str, Any]) -> Resource:
    tags = tags_of(raw)
    return Resource(
        id,
        run=tags.get(RUN, ""),
        session=tags.get(SESSION, ""),
        driver=tags.get(DRIVER, ""),
        is_billed=not id.startswith((GROUP.id_prefix, TEMPLATE.id_prefix)),
    )
