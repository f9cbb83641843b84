"""The options of the ``azure`` system, and the checks that need no request to Azure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bigmachine import option
from bigmachine.system import VmOptions, check_options, each_once

from ._option_formats import (
    disk_type_problem,
    image_problem,
    location_name,
    location_problem,
    resource_group_problem,
    resource_problem,
    subscription_problem,
    tags_problem,
    vm_size_problem,
    zones_problem,
)

# By "Azure managed disk types" and "Introduction to Azure managed disks": an OS disk has at most
# 4,095 GiB, another one 32,767; Azure's images of Ubuntu and Debian have 30.
IMAGE_GIB, MAX_OS_GIB, MAX_GIB = 30, 4_095, 32_767


@dataclass(frozen=True, slots=True)
class AzureOptions(VmOptions):
    """Options of the ``azure`` system."""

    max_data_volumes: ClassVar[int] = 64  # of the largest sizes; a small one has 4 or 8
    volume_gib: ClassVar[tuple[int, int]] = (1, MAX_GIB)

    subscription: str = option(
        "",
        help="The Azure subscription: its ID or its name; by default AZURE_SUBSCRIPTION_ID, or "
        "the one that the az command uses.",
        other_names=("subscription_id", "account", "project", "aws_profile"),
    )
    location: str = option(
        "",
        help="Azure region; by default the az command's default location, or that of the resource "
        "group.",
        other_names=("region", "azure_region"),
    )
    resource_group: str = option(
        "",
        help="Name of the resource group, which is created if it does not exist, and kept; by "
        "default bigmachine-LOCATION.",
        other_names=("group", "rg", "resource_group_name"),
    )
    zones: tuple[str, ...] | str = option(
        (),
        help="Availability zones, like 1, in order of preference; by default none: Azure chooses.",
        other_names=("zone", "availability_zone"),
    )
    vm_size: tuple[str, ...] | str = option(
        (),
        help="VM sizes, in order of preference; by default Standard_D2s_v5, Standard_D2as_v5, "
        "Standard_D2s_v6, Standard_D2as_v6, Standard_B2s_v2 and Standard_B2as_v2, if the "
        "subscription may use them.",
        other_names=("instance_type", "machine_type", "node_type", "size", "sku"),
    )
    image: str = option(
        "",
        help="An image: PUBLISHER:OFFER:SKU:VERSION, or the ID of an image, or of an image in a "
        "gallery; by default the newest Ubuntu LTS, or Debian, that has the driver's version of "
        "Python.",
        other_names=("ami", "image_id", "image_reference", "source_image", "urn"),
    )
    disk: int = option(
        IMAGE_GIB,
        help="Size of the OS disk, in GiB; images of Ubuntu and Debian need 30.",
        other_names=("disk_size", "os_disk_size_gb", "root_volume_size", "volume_size"),
    )
    disk_type: str = option(
        "",
        help="Type of all disks, such as Premium_LRS; by default StandardSSD_LRS.",
        other_names=("volume_type", "storage_type", "storage_account_type", "disk_tier"),
    )
    network: str = option(
        "",
        help="The virtual network: its name in the resource group, or its ID; by default the "
        "network 'bigmachine' of the resource group, which is created if it does not exist.",
        other_names=("vnet", "virtual_network", "vpc", "vpc_id"),
    )
    subnet: str = option(
        "",
        help="Name of the subnet in the network; by default the only one, or 'machines'.",
        other_names=("subnetwork", "subnet_id"),
    )
    security_group: str = option(
        "",
        help="A network security group of yours: its name in the resource group, or its ID; by "
        "default one is created for the session.",
        other_names=("nsg", "network_security_group", "security_groups", "network_tags"),
    )
    identity: str = option(
        "",
        help="The user-assigned managed identity with which a machine deletes its VM: its name in "
        "the resource group, or its ID; by default 'bigmachine', which `bigmachine azure setup` "
        "creates.",
        other_names=("managed_identity", "service_account", "instance_profile", "iam_role"),
    )
    allow_billing_leak: bool = option(
        False,
        help="Whether to start machines without an identity: such a machine can't delete its VM "
        "when its driver is dead, and costs money until somebody does.",
    )
    tags: tuple[str, ...] = option(
        (), help="More tags for all resources, as KEY=VALUE.", other_names=("labels",)
    )
    detailed_tags: bool = option(
        True,
        help="Whether tags also name the driver's user, and its program with the options on its "
        "command line, without their values.",
        other_names=("detailed_description",),
    )

    @property
    def requested_location(self) -> str:
        """The location as Azure names it: ``westeurope`` for ``West Europe``; "" for none."""
        return location_name(self.location)

    @property
    def vm_sizes(self) -> tuple[str, ...]:
        """The requested VM sizes, in order of preference, each once."""
        return each_once(self.vm_size)

    @property
    def zone_names(self) -> tuple[str, ...]:
        """The requested zones, in order of preference, each once."""
        return each_once(self.zones)

    @property
    def own_tags(self) -> Mapping[str, str]:
        """The user's tags."""
        return {key: value for key, _, value in (tag.partition("=") for tag in self.tags)}


def check_offline(o: AzureOptions) -> None:
    """Raise a `UsageError` that lists all problems that need no request to Azure."""
    problems = o.problems()
    if o.allow and o.security_group:
        problems["allow"] = "is for the session's own security group, but security_group is given"
    if not 1 <= o.disk <= MAX_OS_GIB:
        problems["disk"] = f"must be 1 to {MAX_OS_GIB} GiB, as Azure's OS disks"
    if o.endpoint_url.startswith("http://"):
        problems["endpoint_url"] = "must begin with https://: Azure's SDK sends no token otherwise"
    check_options(
        o,
        **problems,
        subscription=subscription_problem(o.subscription),
        location=location_problem(o.location),
        resource_group=resource_group_problem(o.resource_group),
        zones=zones_problem(o.zone_names),
        vm_size=vm_size_problem(o.vm_sizes),
        image=image_problem(o.image),
        disk_type=disk_type_problem(o.disk_type),
        network=resource_problem(o.network, "Microsoft.Network/virtualNetworks"),
        subnet=resource_problem(o.subnet, "Microsoft.Network/virtualNetworks/subnets"),
        security_group=resource_problem(
            o.security_group, "Microsoft.Network/networkSecurityGroups"
        ),
        identity=resource_problem(o.identity, "Microsoft.ManagedIdentity/userAssignedIdentities"),
        tags=tags_problem(o.tags),
    )
