"""The placement group that instances are launched into: that it exists, and fits the rest."""

from __future__ import annotations

from collections.abc import Sequence

from bigmachine.errors import UsageError

from ..api._api import Api
from ..catalog._instance_types import InstanceType
from ..resources._network import Network


async def check_placement_group(
    api: Api, name: str, *, types: Sequence[InstanceType], network: Network
) -> None:
    """Raise `UsageError` unless these types can be launched in this group; "" is no group.

    The rules are those of "Placement group rules and limitations" in the EC2 user guide.
    """
    if not name:
        return
    # By a filter, because an unknown name would be another error; filters have wildcards.
    filters = [{"Name": "group-name", "Values": [name]}]
    reply = await api.read("ec2:DescribePlacementGroups", Filters=filters)
    found = [group for group in reply["PlacementGroups"] if group["GroupName"] == name]
    if not found:
        raise UsageError(
            f"placement_group: there is no {name!r} in {api.region}; create it with `aws ec2 "
            f"create-placement-group --group-name {name} --strategy cluster`, or list all with "
            f"`aws ec2 describe-placement-groups --region {api.region}`"
        )
    state, strategy = found[0].get("State", "available"), found[0]["Strategy"]
    if state != "available":
        raise UsageError(f"placement_group: {name!r} is {state}: name another one")
    if misfits := [each.name for each in types if strategy not in each.placement_strategies]:
        raise UsageError(
            f"placement_group: {name!r} has the strategy {strategy!r}, which {', '.join(misfits)} "
            f"does not support: name other types, or another group"
        )
    zones = {subnet.zone: subnet.id for subnet in reversed(network.subnets)}
    if strategy == "cluster" and len(zones) > 1:
        listed = ", ".join(f"{id} is in {zone}" for zone, id in sorted(zones.items()))
        raise UsageError(
            f"placement_group: {name!r} is a cluster, which is in one zone: name the subnets of "
            f"one zone ({listed})"
        )
