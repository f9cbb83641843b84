"""The options of the ``gcp`` system, and the checks that need no request to Google."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bigmachine import option
from bigmachine.system import VmOptions, check_options, each_once

from ._access_scopes import DEFAULT_SCOPES, scope_url, scopes_problem
from ._kms_key import key_problem
from ._option_formats import (
    accelerator_problem,
    image_problem,
    labels_problem,
    machine_type_problem,
    name_problem,
    place_problems,
    project_problem,
    service_account_problem,
    tags_problem,
)

# By "Persistent Disk" and "Hyperdisk" of the Compute Engine documentation: 10 GiB is the least
# of all balanced disks, 64 TiB the most.
MIN_GIB, MAX_GIB = 10, 65_536


@dataclass(frozen=True, slots=True)
class GcpOptions(VmOptions):
    """Options of the ``gcp`` system."""

    max_data_volumes: ClassVar[int] = 15  # shared-core types have 16 disks at most, others more
    volume_gib: ClassVar[tuple[int, int]] = (MIN_GIB, MAX_GIB)

    project: str = option(
        "",
        help="The Google Cloud project's ID; by default GOOGLE_CLOUD_PROJECT, or the project of "
        "the credentials or of gcloud.",
        other_names=("aws_profile", "account", "subscription"),
    )
    region: str = option(
        "",
        help="Google Cloud region; by default that of the zones, or the one gcloud has.",
        other_names=("location",),
    )
    zones: tuple[str, ...] | str = option(
        (),
        help="Zones of one region, in order of preference; by default all of the region.",
        other_names=("availability_zone",),
    )
    machine_type: tuple[str, ...] | str = option(
        (),
        help="Machine types, in order of preference; by default the first of e2-standard-2, "
        "n2-standard-2, n2d-standard-2 and n1-standard-2 that a zone has.",
        other_names=("instance_type", "vm_size", "node_type"),
    )
    accelerator: str = option(
        "",
        help="GPUs to attach to each instance, as nvidia-tesla-t4 or nvidia-tesla-t4:2; only for "
        "types that come without, such as n1-standard-4.",
        other_names=("gpu", "gpu_type"),
    )
    image: str = option(
        "",
        help="An image or an image family, as projects/PROJECT/global/images/NAME or "
        "projects/PROJECT/global/images/family/NAME; by default the newest Ubuntu LTS, or "
        "Debian, that has the driver's version of Python.",
        other_names=("ami", "image_id", "image_family", "source_image"),
    )
    disk_type: str = option(
        "",
        help="Type of all disks, such as pd-ssd; by default pd-balanced, or hyperdisk-balanced "
        "where the machine type takes no persistent disks.",
        other_names=("volume_type", "storage_type"),
    )
    kms_key: str = option(
        "",
        help="The key of Cloud KMS that encrypts all disks but local SSDs, as "
        "projects/PROJECT/locations/PLACE/keyRings/RING/cryptoKeys/KEY; by default Google's.",
        other_names=("encrypted",),
    )
    network: str = option(
        "",
        help="The VPC network: its name, or projects/HOST/global/networks/NAME; by default that "
        "of the subnetwork, or the network 'default'.",
        other_names=("vpc", "vpc_id", "vnet"),
    )
    subnetwork: str = option(
        "",
        help="The subnetwork: its name, or projects/HOST/regions/REGION/subnetworks/NAME; "
        "needed for a network in custom mode.",
        other_names=("subnet", "subnet_id"),
    )
    network_tags: tuple[str, ...] = option(
        (),
        help="Network tags of the instances, for which firewall rules of yours allow the driver "
        "and the session's machines; by default a rule is created for the session.",
        other_names=("security_group",),
    )
    service_account: str = option(
        "",
        help="E-mail address of the service account that instances act as, or 'default' for the "
        "project's default one; by default none.",
        other_names=("instance_profile", "iam_instance_profile", "iam_role", "identity"),
    )
    scopes: tuple[str, ...] = option(
        DEFAULT_SCOPES,
        help="Access scopes of the service account: names, also those of gcloud, or URLs that "
        "begin with https://www.googleapis.com/auth/.",
    )
    secure_boot: bool = option(
        False, help="Whether instances start with Secure Boot, as some organizations require."
    )
    labels: tuple[str, ...] = option(
        (),
        help="More labels for all instances and disks, as KEY=VALUE.",
        other_names=("tags",),
    )
    detailed_description: bool = option(
        True,
        help="Whether descriptions of resources also name the driver's user, and its program "
        "with the options on its command line, without their values.",
        other_names=("detailed_tags",),
    )

    @property
    def machine_types(self) -> tuple[str, ...]:
        """The requested machine types, in order of preference, each once."""
        return each_once(self.machine_type)

    @property
    def zone_names(self) -> tuple[str, ...]:
        """The requested zones, in order of preference, each once."""
        return each_once(self.zones)

    @property
    def accelerator_type(self) -> str:
        """The type of the GPUs to attach; "" for none."""
        return self.accelerator.partition(":")[0]

    @property
    def accelerator_count(self) -> int:
        """How many GPUs to attach to each instance."""
        return int(self.accelerator.partition(":")[2] or 1) if self.accelerator else 0

    @property
    def scope_urls(self) -> tuple[str, ...]:
        """The access scopes of the service account, as Google writes them."""
        return tuple(map(scope_url, self.scopes))

    @property
    def own_labels(self) -> Mapping[str, str]:
        """The user's labels."""
        return {key: value for key, _, value in (label.partition("=") for label in self.labels)}


def check_offline(o: GcpOptions) -> None:
    """Raise a `UsageError` that lists all problems that need no request to Google."""
    problems = o.problems()
    if o.allow and o.network_tags:
        problems["allow"] = "is for the session's own firewall rule, but network_tags are given"
    if not MIN_GIB <= o.disk <= MAX_GIB:
        problems["disk"] = f"must be {MIN_GIB} to {MAX_GIB} GiB, as Google's disks"
    check_options(
        o,
        **problems,
        project=project_problem(o.project),
        **place_problems(o.region, o.zone_names),
        machine_type=machine_type_problem(o.machine_types),
        accelerator=accelerator_problem(o.accelerator),
        image=image_problem(o.image),
        disk_type=name_problem(o.disk_type, "a disk type, like 'pd-balanced'"),
        kms_key=key_problem(o.kms_key),
        network=name_problem(
            o.network, "a network's name, or projects/HOST/global/networks/NAME", "networks"
        ),
        subnetwork=name_problem(
            o.subnetwork,
            "a subnetwork's name, or projects/HOST/regions/REGION/subnetworks/NAME",
            "subnetworks",
        ),
        network_tags=tags_problem(o.network_tags),
        service_account=service_account_problem(o.service_account),
        scopes=scopes_problem(o.scopes, o.service_account),
        labels=labels_problem(o.labels),
    )
