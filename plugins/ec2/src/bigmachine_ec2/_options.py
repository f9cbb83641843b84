"""The options of the ``ec2`` system, and the checks that need no request to AWS."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from bigmachine import option
from bigmachine.boot import PORT
from bigmachine.system import CloudOptions, check_options

from ._volumes import MAX_DATA_VOLUMES, MAX_GIB

Market = Literal["spot", "on-demand", "spot-then-on-demand"]
MARKETS = ("spot", "on-demand")

TAG_PREFIX = "bigmachine:"
SSH_PORT = 22
_MAX_TAGS = 39  # EC2 allows 50 on a resource, and up to 11 are bigmachine's
_MAX_KEY, _MAX_VALUE = 128, 256  # characters of a tag
# By the API reference of DescribeKey; an id is a UUID, or mrk-… for multi-Region keys.
_KMS_ARN = r"arn:aws[\w-]*:kms:[\w-]+:\d{12}:"
_KMS_KEY = rf"({_KMS_ARN})?alias/[\w/-]+|({_KMS_ARN}key/)?[\w-]{{36}}"
_UNIT_NAME = r"[\w:.\\-]+\.(service|socket|timer|mount|automount|swap|path|slice|target)"


@dataclass(frozen=True, slots=True)
class Ec2Options(CloudOptions):
    """Options of the ``ec2`` system."""

    region: str = option("", help="AWS region; by default that of the AWS profile.")
    aws_profile: str = option(
        "",
        help="Profile of the AWS configuration: credentials and the default region; by default "
        "the one that AWS_PROFILE names. There is no option for access keys, which are secrets.",
    )
    instance_type: tuple[str, ...] | str = option(
        (),
        help="Instance types, in order of preference; by default the first of m7i.large, "
        "m6i.large, m5.large and t3.large that a zone of the subnets has, and m7i-flex.large if "
        "the account's free tier includes it.",
    )
    market: Market = option(
        "spot-then-on-demand",
        help="How instances are purchased: spot instances may be interrupted.",
    )
    max_price: float | None = option(
        None,
        help="The highest price of a spot instance, in US dollars an hour; "
        "by default the on-demand price.",
    )
    image: str = option(
        "",
        help="An AMI, or the SSM parameter that names one; by default the newest Ubuntu LTS, "
        "or Debian, that has the driver's version of Python.",
    )
    disk: int = option(20, help="Size of the root disk, in GiB.")
    data_disk: int = option(
        0,
        help="Size of a data disk at /mnt/data, in GiB, which also holds temporary and cached "
        "files; 0 is none.",
    )
    data_volumes: int = option(
        4, help="How many EBS volumes the data disk is striped over; each adds throughput."
    )
    local_disks: bool = option(
        False,
        help="Whether the machine's local NVMe disks (instance store) are a data disk at "
        "/mnt/data, together with the volumes of data_disk, if there are any.",
    )
    encrypted: bool = option(
        False, help="Whether all EBS disks are encrypted, also where the account's default is not."
    )
    kms_key: str = option(
        "",
        help="The KMS key that encrypts all EBS disks: its id, alias (alias/NAME) or ARN; by "
        "default the account's default key for EBS.",
    )
    files: tuple[str, ...] = option(
        (), help="Files for the machines, as /PATH/THERE=path/here, owned by root, with their mode."
    )
    units: tuple[str, ...] = option(
        (), help="Paths of systemd units that a machine starts before it serves."
    )
    subnets: tuple[str, ...] = option(
        (), help="Subnets, in order of preference; by default those of the default VPC."
    )
    placement_group: str = option(
        "", help="Name of a placement group for the instances, such as a cluster in one zone."
    )
    security_groups: tuple[str, ...] = option(
        (),
        help="Security groups of the instances; by default one is created for the session, "
        "which allows only the driver and the session's machines.",
    )
    allow: tuple[str, ...] = option(
        (),
        help="CIDR blocks that the session's security group allows; by default the driver's "
        "own address.",
    )
    public_address: bool = option(
        True, help="Whether instances have public addresses, and the driver uses these."
    )
    port: int = option(
        PORT,
        help="The port where machines listen; filters of outgoing traffic often allow only 443.",
        minimum=1,
        maximum=65535,
    )
    instance_profile: str = option("", help="Name or ARN of the instances' IAM instance profile.")
    ssh_key: tuple[str, ...] | str = option(
        (),
        help="A public key of yours for ssh to the instances, or its file, as in "
        "~/.ssh/id_ed25519.pub. The session's security group then allows ssh from the driver.",
    )
    key_pair: str = option(
        "", help="Name of an EC2 key pair for ssh to the instances, where ssh_key does not do."
    )
    tags: tuple[str, ...] = option((), help="More tags for all resources, as KEY=VALUE.")
    detailed_tags: bool = option(
        True,
        help="Whether tags also name the driver's user, and its program with the options on its "
        "command line, without their values.",
    )
    verify_boot: bool = option(
        False,
        help="Whether the key of a new instance must be on its console, so that nobody who can "
        "read its user data can pose as it.",
    )
    endpoint_url: str = option(
        "", help="URL of all AWS services, for emulators; by default the region's URLs."
    )

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The requested instance types, in order of preference, each once."""
        given = self.instance_type
        return tuple(dict.fromkeys((given,) if isinstance(given, str) else given))

    @property
    def has_ssh(self) -> bool:
        """Whether somebody is to log in by ssh."""
        return bool(self.ssh_key or self.key_pair)

    @property
    def markets(self) -> tuple[str, ...]:
        """The markets to try, in this order: of ``"spot"`` and ``"on-demand"``."""
        return MARKETS if self.market == "spot-then-on-demand" else (self.market,)

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
    check_options(
        o,
        **o.problems(),
        region=_region_problem(o.region),
        instance_type=None if all(o.instance_types) else "must name a type",
        max_price=_price_problem(o),
        image=_image_problem(o.image),
        disk=None if o.disk >= 1 else "must be at least 1 GiB",
        data_disk=_data_disk_problem(o),
        data_volumes=None
        if 1 <= o.data_volumes <= MAX_DATA_VOLUMES
        else f"must be 1 to {MAX_DATA_VOLUMES}",
        kms_key=_kms_key_problem(o.kms_key),
        files=_files_problem(o.files),
        units=_units_problem(o.units),
        subnets=_id_problem(o.subnets, "subnet"),
        security_groups=_id_problem(o.security_groups, "sg"),
        allow=_allow_problem(o),
        port="is ssh's own port: choose another" if o.port == SSH_PORT else None,
        tags=_tags_problem(o.tags),
        endpoint_url=None
        if not o.endpoint_url or re.match(r"https?://[^/]", o.endpoint_url)
        else "must begin with http:// or https://",
    )


def _region_problem(region: str) -> str | None:
    if not region or re.fullmatch(r"[a-z]+(-[a-z]+)+-\d+", region):
        return None
    zone = re.fullmatch(r"([a-z]+(?:-[a-z]+)+-\d+)(-.*|[a-z])", region)
    if zone:
        return f"must be a region, not a zone: {zone[1]!r}, not {region!r}"
    return f"must be the name of a region, like 'eu-central-1', not {region!r}"


def _price_problem(o: Ec2Options) -> str | None:
    if o.max_price is None:
        return None
    if o.market == "on-demand":
        return "is for spot instances, but market is 'on-demand': omit one of them"
    limit = 0.001  # by the API reference of CreateFleet
    return None if o.max_price > limit else f"must be more than {limit} US dollars an hour"


def _image_problem(image: str) -> str | None:
    if not image or image.startswith(("ami-", "/")):
        return None
    return f"must be an AMI (ami-…) or an SSM parameter (/…), not {image!r}"


def _data_disk_problem(o: Ec2Options) -> str | None:
    lowest, highest = max(o.data_volumes, 1), MAX_GIB * max(o.data_volumes, 1)
    if o.data_disk and not lowest <= o.data_disk <= highest:
        return f"must be {lowest} to {highest} GiB on {o.data_volumes} volumes, or 0 for none"
    return None


def _kms_key_problem(key: str) -> str | None:
    if not key or re.fullmatch(_KMS_KEY, key, re.ASCII):
        return None
    return f"must be a key's id, its alias (alias/NAME), or an ARN of either, not {key!r}"


def _files_problem(files: tuple[str, ...]) -> str | None:
    paths = [file.partition("=")[0] for file in files]
    for file, path in zip(files, paths, strict=True):
        if not all(file.partition("=")):
            return f"must be /PATH/THERE=path/here, not {file!r}"
        if str(PurePosixPath(path)) != path or not path.startswith("/") or ".." in path.split("/"):
            return f"must have an absolute path on the machine, not {path!r}"
    return _duplicate(paths)


def _units_problem(units: tuple[str, ...]) -> str | None:
    names = [re.split(r"[/\\]", unit)[-1] for unit in units]
    invalid = [name for name in names if not re.fullmatch(_UNIT_NAME, name)]
    if invalid:
        return f"must be paths of systemd units (NAME.service, …), not {invalid[0]!r}"
    return _duplicate(names)


def _duplicate(names: list[str]) -> str | None:
    duplicates = [name for name in names if names.count(name) > 1]
    return f"must not have {duplicates[0]!r} twice" if duplicates else None


def _id_problem(ids: tuple[str, ...], kind: str) -> str | None:
    invalid = [id for id in ids if not re.fullmatch(rf"{kind}-[0-9a-z]+", id)]
    return f"must be ids ({kind}-…), not {', '.join(map(repr, invalid))}" if invalid else None


def _allow_problem(o: Ec2Options) -> str | None:
    if o.allow and o.security_groups:
        return "is for the session's own security group, but security_groups are given"
    for block in o.allow:
        try:
            ipaddress.IPv4Network(block)
        except ValueError as exc:
            return f"must be IPv4 CIDR blocks: {exc}"
    return None


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
