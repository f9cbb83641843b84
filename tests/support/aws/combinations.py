"""Parameters that EC2 refuses together, each alone being fine: its models can't say so.

The rules are quoted from EC2's API reference, unless another source is named. A request in the
tests that breaks one fails its test, like one that breaks the model.
"""

from __future__ import annotations

import base64
import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Sent = Mapping[str, Any]

_USER_DATA_BYTES = 16384  # "before base64" ("Run commands when you launch an EC2 instance")
_RULES = 60  # "Inbound or outbound rules per security group" ("Amazon VPC quotas")
# The sizes are of gp3 today, and of the others in "Amazon EBS volume types".
_SIZES = {
    "gp2": (1, 16384),
    "gp3": (1, 65536),
    "io1": (4, 16384),
    "io2": (4, 65536),
    "st1": (125, 16384),
    "sc1": (125, 16384),
    "standard": (1, 1024),
}
_IOPS = ("gp3", "io1", "io2")
_OF_MAINTAINED = (
    "ExcessCapacityTerminationPolicy",
    "ReplaceUnhealthyInstances",
    "TerminateInstancesWithExpiration",
)
_IDS = ("InstanceIds", "VolumeIds", "GroupIds", "SubnetIds", "VpcIds", "ImageIds")


def refused_together(action: str, sent: Sent) -> list[str]:
    """Return what EC2 would refuse of a request, decoded as it was given to botocore."""
    rules = {
        "AuthorizeSecurityGroupIngress": _of_rules,
        "RevokeSecurityGroupIngress": _of_rules,
        "CreateFleet": _of_fleet,
        "CreateLaunchTemplate": lambda sent: _of_instance(sent["LaunchTemplateData"], is_run=False),
        "RunInstances": lambda sent: _of_instance(sent, is_run=True),
    }
    problems = [*_of_tags(sent), *_of_pages(sent)]
    if action in rules:
        problems += rules[action](sent)
    return [f"{action}: {problem}" for problem in problems]


def _of_tags(sent: Sent) -> Iterator[str]:
    specifications = sent.get("TagSpecifications", ())
    kinds = [each["ResourceType"] for each in specifications]
    if twice := _twice(kinds):
        yield f"TagSpecifications: {twice} is there twice"
    for tags in ([*each.get("Tags", ())] for each in specifications):
        if twice := _twice(tag["Key"] for tag in tags):
            yield f"the tag key {twice!r} is there twice (InvalidParameterValue: Duplicate tag key)"


def _of_pages(sent: Sent) -> Iterator[str]:
    # "You cannot specify this parameter and the instance IDs in the same request."
    if "MaxResults" in sent and (ids := [key for key in _IDS if key in sent]):
        yield f"MaxResults can't be given with {ids[0]}"


def _of_rules(sent: Sent) -> Iterator[str]:
    blocks = [
        (each["IpProtocol"], each.get("FromPort"), each.get("ToPort"), of_range["CidrIp"])
        for each in sent["IpPermissions"]
        for of_range in each.get("IpRanges", ())
    ]
    for *_, block in blocks:
        try:  # "CIDR block … is malformed" (kubernetes/kops issue 13848)
            is_block = str(ipaddress.IPv4Network(block)) == block
        except ValueError:
            is_block = False
        if not is_block:
            yield f"the CIDR block {block} is malformed"
    if twice := _twice(blocks):  # hashicorp/terraform-provider-aws issue 29492
        yield f"the same permission must not appear multiple times: {twice}"
    if len(blocks) > _RULES:
        yield f"{len(blocks)} rules, and a group has {_RULES} at most"


def _of_instance(sent: Sent, *, is_run: bool) -> Iterator[str]:
    if is_run and sent["MinCount"] > sent["MaxCount"]:
        yield "MinCount is more than MaxCount"
    yield from _of_interfaces(sent)
    yield from _of_disks(sent.get("BlockDeviceMappings", ()))
    data = "" if is_run else sent.get("UserData", "")  # `Aws` answers that of RunInstances
    if len(base64.b64decode(data)) > _USER_DATA_BYTES:
        yield f"user data is limited to {_USER_DATA_BYTES} bytes"
    market = sent.get("InstanceMarketOptions", {})
    spot = market.get("SpotOptions", {})
    # "hibernate or stop … only if the Spot Instance request type is persistent"
    behavior = spot.get("InstanceInterruptionBehavior", "terminate")
    if spot.get("SpotInstanceType", "one-time") == "one-time" and behavior != "terminate":
        yield f"a one-time spot request can't {behavior} its instance"
    kinds = [each["ResourceType"] for each in sent.get("TagSpecifications", ())]
    if is_run and market.get("MarketType") != "spot" and "spot-instances-request" in kinds:
        yield "tags for spot requests, and none is created"  # Karpenter's issue 5850


def _of_interfaces(sent: Sent) -> Iterator[str]:
    interfaces = sent.get("NetworkInterfaces", ())
    # "If you specify a network interface, you must specify any security groups [subnets] as part
    # of the network interface instead."
    for key in ("SubnetId", "SecurityGroupIds", "SecurityGroups", "PrivateIpAddress"):
        if interfaces and key in sent:
            yield f"{key} belongs into the network interface"
    # "You cannot specify more than one network interface in the request", "only for eth0".
    public = [each for each in interfaces if "AssociatePublicIpAddress" in each]
    if public and (len(interfaces) > 1 or public[0].get("DeviceIndex") != 0):
        yield "AssociatePublicIpAddress is for a single interface, with the device index 0"
    if twice := _twice(each.get("DeviceIndex") for each in interfaces):
        yield f"the device index {twice} is there twice"


def _of_disks(mappings: Sequence[Sent]) -> Iterator[str]:
    if twice := _twice(each["DeviceName"] for each in mappings):
        yield f"{twice} is mapped twice"
    for name, disk in ((each["DeviceName"], each.get("Ebs", {})) for each in mappings):
        kind, size = disk.get("VolumeType"), disk.get("VolumeSize")
        if "KmsKeyId" in disk and not disk.get("Encrypted"):
            yield f"{name}: KmsKeyId without Encrypted"
        if kind and "Iops" in disk and kind not in _IOPS:
            yield f"{name}: {kind} has no Iops"
        if kind in ("io1", "io2") and "Iops" not in disk:
            yield f"{name}: {kind} needs Iops"
        if kind and "Throughput" in disk and kind != "gp3":
            yield f"{name}: {kind} has no Throughput"
        if kind and size is not None and not _SIZES[kind][0] <= size <= _SIZES[kind][1]:
            yield f"{name}: {kind} has {_SIZES[kind]} GiB, not {size}"


def _of_fleet(sent: Sent) -> Iterator[str]:
    # "Supported only for fleets of type maintain"
    if sent["Type"] != "maintain" and (keys := [key for key in _OF_MAINTAINED if key in sent]):
        yield f"{keys[0]} is for fleets that are maintained"
    overrides = [o for config in sent["LaunchTemplateConfigs"] for o in config.get("Overrides", ())]
    # "Valid values are whole numbers starting at 0."
    if any(o.get("Priority", 0) < 0 or o.get("Priority", 0) % 1 for o in overrides):
        yield "a Priority is a whole number, 0 or more"
    if twice := _twice((o.get("InstanceType"), o.get("SubnetId")) for o in overrides):
        yield f"the override {twice} is there twice"


def _twice(items: Iterable[Any]) -> Any:
    """Return an item that is there more than once; None if there is none."""
    return next((item for item, count in Counter(items).items() if count > 1), None)
