"""The options of the ``ec2`` system, and the checks that need no request to AWS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from bigmachine import option
from bigmachine.system import VmOptions, check_options, each_once, one_name_problem

from ._volumes import MAX_DATA_VOLUMES, MAX_GIB

TAG_PREFIX = "bigmachine:"
_MAX_TAGS = 39  # EC2 allows 50 on a resource, and up to 11 are bigmachine's
_MAX_KEY, _MAX_VALUE = 128, 256  # characters of a tag
# By the API reference of DescribeKey; an id is a UUID, or mrk-… for multi-Region keys.
_KMS_ARN = r"arn:aws[\w-]*:kms:[\w-]+:\d{12}:"
_KMS_KEY = rf"({_KMS_ARN})?alias/[\w/-]+|({_KMS_ARN}key/)?[\w-]{{36}}"


@dataclass(frozen=True, slots=True)
class Ec2Options(VmOptions):
    """Options of the ``ec2`` system."""

    region: str = option(
        "",
        help="AWS region; by default that of the AWS profile.",
        other_names=("location", "zone"),
    )
    aws_profile: str = option(
        "",
        help="Profile of the AWS configuration: credentials and the default region; by default "
        "the one that AWS_PROFILE names. There is no option for access keys, which are secrets.",
        other_names=("project", "account", "subscription"),
    )
    instance_type: tuple[str, ...] | str = option(
        (),
        help="Instance types, in order of preference; by default the first of m7i.large, "
        "m6i.large, m5.large and t3.large that a zone of the subnets has, and m7i-flex.large if "
        "the account's free tier includes it.",
        other_names=("machine_type", "vm_size", "node_type"),
    )
    image: str = option(
        "",
        help="An AMI, or the SSM parameter that names one; by default the newest Ubuntu LTS, "
        "or Debian, that has the driver's version of Python.",
        other_names=("ami", "image_id", "image_family", "source_image"),
    )
    encrypted: bool = option(
        False, help="Whether all EBS disks are encrypted, also where the account's default is not."
    )
    kms_key: str = option(
        "",
        help="The KMS key that encrypts all EBS disks: its id, alias (alias/NAME) or ARN; by "
        "default the account's default key for EBS.",
    )
    subnets: tuple[str, ...] = option(
        (),
        help="Subnets, in order of preference; by default those of the default VPC.",
        other_names=("network", "subnetwork", "vpc", "vpc_id", "vnet", "zone", "availability_zone"),
    )
    placement_group: str = option(
        "", help="Name of a placement group for the instances, such as a cluster in one zone."
    )
    security_groups: tuple[str, ...] = option(
        (),
        help="Security groups of the instances; by default one is created for the session, "
        "which allows only the driver and the session's machines.",
        other_names=("network_tags",),
    )
    instance_profile: str = option(
        "",
        help="Name or ARN of the instances' IAM instance profile.",
        other_names=("service_account", "scopes", "iam_role", "iam_instance_profile", "identity"),
    )
    key_pair: str = option(
        "", help="Name of an EC2 key pair for ssh to the instances, where ssh_key does not do."
    )
    tags: tuple[str, ...] = option(
        (),
        help="More tags for all resources, as KEY=VALUE.",
        other_names=("labels",),
    )
    detailed_tags: bool = option(
        True,
        help="Whether tags also name the driver's user, and its program with the options on its "
        "command line, without their values.",
        other_names=("detailed_description",),
    )
    max_data_volumes: ClassVar[int] = MAX_DATA_VOLUMES
    volume_gib: ClassVar[tuple[int, int]] = (1, MAX_GIB)
    lowest_price: ClassVar[float] = 0.001  # by the API reference of CreateFleet

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The requested instance types, in order of preference, each once."""
        return each_once(self.instance_type)

    @property
    def has_ssh(self) -> bool:
        """Whether somebody is to log in by ssh."""
        return bool(self.ssh_key or self.key_pair)

    @property
    def encrypts_disks(self) -> bool:
        """Whether all EBS disks must be encrypted."""
        return self.encrypted or bool(self.kms_key)

    @property
    def own_tags(self) -> Mapping[str, str]:
        """The user's tags."""
        return {key: value for key, _, value in (tag.partition("=") for tag in self.tags)}


def check_offline(o: Ec2Options) -> None:
    """Raise a `UsageError` that lists all problems that need no request to AWS."""
    problems = o.problems()
    if o.allow and o.security_groups:
        problems["allow"] = "is for the session's own security group, but security_groups are given"
    check_options(
        o,
        **problems,
        region=_region_problem(o.region),
        instance_type=_type_problem(o.instance_types),
        image=_image_problem(o.image),
        kms_key=_kms_key_problem(o.kms_key),
        subnets=_ids_problem("subnets", o.subnets, "subnet"),
        security_groups=_ids_problem("security_groups", o.security_groups, "sg"),
        tags=_tags_problem(o.tags),
    )


def _region_problem(region: str) -> str | None:
    if not region or re.fullmatch(r"[a-z]+(-[a-z]+)+-\d+", region):
        return None
    zone = re.fullmatch(r"([a-z]+(?:-[a-z]+)+-\d+)(-.*|[a-z])", region)
    if zone:
        return f"must be a region, not a zone: {zone[1]!r}, not {region!r}"
    return f"must be the name of a region, like 'eu-central-1', not {region!r}"


def _type_problem(types: tuple[str, ...]) -> str | None:
    if not all(types):
        return "must name a type"
    return next(filter(None, (one_name_problem("instance_type", name) for name in types)), None)


def _image_problem(image: str) -> str | None:
    if not image or image.startswith(("ami-", "/")):
        return None
    return f"must be an AMI (ami-…) or an SSM parameter (/…), not {image!r}"


def _kms_key_problem(key: str) -> str | None:
    if not key or re.fullmatch(_KMS_KEY, key, re.ASCII):
        return None
    return f"must be a key's id, its alias (alias/NAME), or an ARN of either, not {key!r}"


def _ids_problem(option: str, ids: tuple[str, ...], kind: str) -> str | None:
    invalid = [id for id in ids if not re.fullmatch(rf"{kind}-[0-9a-z]+", id)]
    if not invalid:
        return None
    one = one_name_problem(option, invalid[0])
    return one or f"must be ids ({kind}-…), not {', '.join(map(repr, invalid))}"


def _tags_problem(tags: tuple[str, ...]) -> str | None:
    keys = [tag.partition("=")[0] for tag in tags]
    if len(keys) > _MAX_TAGS:
        return f"must be at most {_MAX_TAGS}"
    if len(set(keys)) < len(keys):
        return "must not have a key twice"
    for tag, key in zip(tags, keys, strict=True):
        if "=" not in tag or not key:
            return f"must be KEY=VALUE, not {tag!r}"
        if key.lower().startswith(("aws:", TAG_PREFIX)) or key == "Name":
            return f"must not set {key!r}, which is reserved"
        if len(key) > _MAX_KEY or len(tag) - len(key) - 1 > _MAX_VALUE:
            return f"{key[:20]!r}: keys have at most {_MAX_KEY} characters, values {_MAX_VALUE}"
    return None
