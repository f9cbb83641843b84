"""Who may connect to instances: the session's security group, or groups of the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import trio

from bigmachine.cloud import backoff
from bigmachine.errors import UsageError
from bigmachine.system import SSH_PORT

from ..api._api import Api
from ..api._errors import AwsError
from ..options._tags import tag_specifications
from ._network import Network

_ATTEMPTS = 8
_FIND_SECONDS = 60.0


async def check_groups(api: Api, network: Network, *, groups: Sequence[str]) -> None:
    """Raise `UsageError` unless all of these security groups are in the network's VPC."""
    if not groups:
        return
    raws = await api.read_all(
        "ec2:DescribeSecurityGroups",
        "SecurityGroups",
        Filters=[{"Name": "group-id", "Values": [*groups]}],
    )
    vpcs = {raw["GroupId"]: raw["VpcId"] for raw in raws}
    if missing := [id for id in groups if id not in vpcs]:
        raise UsageError(
            f"security_groups: {', '.join(missing)}: not in {api.region}, or not this account's; "
            f"list all with `aws ec2 describe-security-groups --region {api.region}`"
        )
    if foreign := [id for id in groups if vpcs[id] != network.vpc]:
        raise UsageError(
            f"security_groups: {', '.join(f'{id} is in {vpcs[id]}' for id in foreign)}, but the "
            f"subnets are in {network.vpc}: name groups of that VPC, or none"
        )


def group_request(name: str, *, vpc: str, tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of CreateSecurityGroup for a session's group."""
    return {
        "GroupName": name,
        "Description": "Machines of a bigmachine session; deleted with them",
        "VpcId": vpc,
        "TagSpecifications": tag_specifications(tags, "security-group"),
    }


class SessionSecurityGroup:
    """The session's security group: ``port`` is open to the driver and the session's machines.

    With ``has_ssh``, ssh's port is open to the driver, too.
    """

    def __init__(self, api: Api, *, session: str, vpc: str, port: int, has_ssh: bool) -> None:
        self.id = ""
        self._api = api
        self._name = f"bigmachine-{session}"
        self._vpc = vpc
        self._port = port
        self._ports = (port, SSH_PORT) if has_ssh else (port,)
        self._lock = trio.Lock()
        self._is_open = False  # to the session's machines
        self._allowed: dict[str, bool] = {}  # blocks, and whether that is confirmed

    async def open(self, *, allow: Sequence[str], tags: Mapping[str, str]) -> str:
        """Create the group, unless it exists, let in ``allow`` alone, and return its id.

        ``allow`` are the driver's CIDR blocks. Raises `AwsError`.
        """
        async with self._lock:
            if self.id and not self._api.is_new(self.id):
                await self._check_exists()
            if not self.id:
                self.id = await self._create(tags)
                self._api.note_new(self.id)
            await self._let_in(allow)
        return self.id

    async def let_in(self, allow: Sequence[str]) -> bool:
        """Let in these CIDR blocks of the driver, and its old ones no longer.

        Returns False: whether others have changed the group is not known. Raises `AwsError`.
        """
        async with self._lock:
            if self._is_open:
                await self._let_in(allow)
        return False

    async def _check_exists(self) -> None:
        """Forget the group if it was deleted: it may have been reaped between two starts."""
        filters = [{"Name": "group-id", "Values": [self.id]}]
        if await self._api.read_all(
            "ec2:DescribeSecurityGroups", "SecurityGroups", Filters=filters
        ):
            self._api.note_new(self.id)
        else:
            self.id, self._is_open, self._allowed = "", False, {}

    async def _create(self, tags: Mapping[str, str]) -> str:
        try:
            reply = await self._api.write(
                "ec2:CreateSecurityGroup", **group_request(self._name, vpc=self._vpc, tags=tags)
            )
            return str(reply["GroupId"])
        except AwsError as error:
            # Session names are unique, so an earlier attempt created it, and its response was lost.
            if not (error.is_outcome_unknown or error.code == "InvalidGroup.Duplicate"):
                raise
            failure = error
        filters = [
            {"Name": "group-name", "Values": [self._name]},
            {"Name": "vpc-id", "Values": [self._vpc]},
        ]
        with trio.move_on_after(_FIND_SECONDS, shield=True):  # else it is found by its tags
            for delay in backoff(_ATTEMPTS):
                found = await self._api.read_all(
                    "ec2:DescribeSecurityGroups", "SecurityGroups", Filters=filters
                )
                if found:
                    return str(found[0]["GroupId"])
                await trio.sleep(delay)  # it is new
        raise failure

    async def _let_in(self, allow: Sequence[str]) -> None:
        # First, so that at no time more are let in. A block that is not confirmed goes, too: the
        # response may be lost. By the API reference, descriptions are not needed to revoke.
        for block in [b for b, is_sure in self._allowed.items() if not is_sure or b not in allow]:
            await self._write(
                "ec2:RevokeSecurityGroupIngress", self._driver_rules([block]), done="NotFound"
            )
            del self._allowed[block]
        opened = [block for block in allow if block not in self._allowed]
        rules = self._driver_rules(opened, Description="the driver") if opened else []
        if not self._is_open:
            rules.append(self._rule(self._port, UserIdGroupPairs=[{"GroupId": self.id}]))
        if rules:
            self._allowed |= dict.fromkeys(opened, False)
            await self._write("ec2:AuthorizeSecurityGroupIngress", rules, done="Duplicate")
            self._allowed |= dict.fromkeys(opened, True)
            self._is_open = True

    async def _write(self, action: str, rules: Sequence[Mapping[str, Any]], *, done: str) -> None:
        """Change rules. The error ``InvalidPermission.<done>`` means that a response was lost."""
        try:
            await self._api.write(action, GroupId=self.id, IpPermissions=rules)
        except AwsError as error:
            if error.code != f"InvalidPermission.{done}":
                raise

    def _driver_rules(self, blocks: Sequence[str], **more: str) -> list[dict[str, Any]]:
        ranges = [{"CidrIp": block, **more} for block in blocks]
        return [self._rule(port, IpRanges=ranges) for port in self._ports]

    def _rule(self, port: int, **sources: Any) -> dict[str, Any]:
        return {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, **sources}
