"""What a user may set of the ``ec2`` system, and what of it is wrong before AWS is asked."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bigmachine import option
from bigmachine.system import check_options

Market = Literal["spot", "on-demand", "spot-then-on-demand"]

TAG_PREFIX = "bigmachine:"
_MOST_TAGS = 40  # EC2 takes 50 on a resource, some of which are ours
_MOST_KEY, _MOST_VALUE = 128, 256  # characters of a tag


@dataclass(frozen=True, slots=True)
class Ec2Options:
    """Options of the ``ec2`` system."""

    region: str = option("", help="AWS region; by default that of the AWS configuration.")
    instance_type: tuple[str, ...] | str = option(
        (),
        help="Instance types, in order of preference; by default the first of m7i.large, "
        "m6i.large and m5.large that the region has.",
    )
    market: Market = option(
        "spot-then-on-demand", help="How instances are bought: spot ones may be taken back."
    )
    max_price: float | None = option(
        None,
        help="The most to pay for a spot instance, in US dollars an hour; "
        "by default the on-demand price.",
    )
    max_session_cost: float | None = option(
        None,
        help="The most that a session may cost, in US dollars: before it would cost more, "
        "all its machines are stopped.",
    )
    image: str = option(
        "",
        help="An AMI, or the SSM parameter that names one; by default the newest Ubuntu LTS, "
        "or Debian, that has the driver's version of Python.",
    )
    disk: int = option(20, help="Size of the root disk, in GiB.")
    subnets: tuple[str, ...] = option(
        (), help="Subnets, in order of preference; by default those of the default VPC."
    )
    security_groups: tuple[str, ...] = option(
        (),
        help="Security groups of the instances; by default one is made for the session, "
        "which lets in the driver alone.",
    )
    allow: tuple[str, ...] = option(
        (),
        help="Who the session's security group lets in, as CIDR blocks; "
        "by default the driver's own address.",
    )
    public_address: bool = option(
        True, help="Whether instances have public addresses, and are reached by them."
    )
    instance_profile: str = option("", help="Name or ARN of the instances' IAM instance profile.")
    key_pair: str = option("", help="Name of an EC2 key pair for ssh to the instances.")
    tags: tuple[str, ...] = option((), help="Further tags for all that is made, as KEY=VALUE.")
    lifetime: float | None = option(
        None, help="When an instance ends whatever happens, in seconds after its boot."
    )
    endpoint_url: str = option(
        "", help="URL of all AWS services, for emulators; by default those of the region."
    )

    @property
    def instance_types(self) -> tuple[str, ...]:
        """The instance types that were asked for, in order of preference, each once."""
        given = self.instance_type
        return tuple(dict.fromkeys((given,) if isinstance(given, str) else given))

    @property
    def markets(self) -> tuple[str, ...]:
        """The markets to try, in this order: ``"spot"`` and ``"on-demand"``."""
        return ("spot", "on-demand") if self.market == "spot-then-on-demand" else (self.market,)

    @property
    def own_tags(self) -> Mapping[str, str]:
        """The user's tags."""
        return {key: value for key, _, value in (tag.partition("=") for tag in self.tags)}


def check_offline(o: Ec2Options) -> None:
    """Raise a `UsageError` that lists what can't be right, whatever AWS has."""
    check_options(
        o,
        instance_type=None if all(o.instance_types) else "must name a type",
        max_price=_price_problem(o),
        max_session_cost=None
        if o.max_session_cost is None or o.max_session_cost > 0
        else "must be more than 0 US dollars",
        image=_image_problem(o.image),
        disk=None if o.disk >= 1 else "must be at least 1 GiB",
        subnets=_id_problem(o.subnets, "subnet"),
        security_groups=_id_problem(o.security_groups, "sg"),
        allow=_allow_problem(o),
        tags=_tags_problem(o.tags),
        lifetime=None if o.lifetime is None or o.lifetime > 0 else "must be more than 0 seconds",
        endpoint_url=None
        if not o.endpoint_url or re.match(r"https?://[^/]", o.endpoint_url)
        else "must begin with http:// or https://",
    )


def _price_problem(o: Ec2Options) -> str | None:
    if o.max_price is None:
        return None
    if o.market == "on-demand":
        return "is for spot instances, and market is 'on-demand': leave one of them out"
    return None if o.max_price > 0 else "must be more than 0 US dollars an hour"


def _image_problem(image: str) -> str | None:
    if not image or image.startswith(("ami-", "/")):
        return None
    return f"must be an AMI (ami-…) or an SSM parameter (/…), not {image!r}"


def _id_problem(ids: tuple[str, ...], kind: str) -> str | None:
    strange = [id for id in ids if not re.fullmatch(rf"{kind}-[0-9a-z]+", id)]
    return f"must be ids ({kind}-…), not {', '.join(map(repr, strange))}" if strange else None


def _allow_problem(o: Ec2Options) -> str | None:
    if o.allow and o.security_groups:
        return "is for the session's own security group, and security_groups are given"
    for block in o.allow:
        try:
            ipaddress.IPv4Network(block)
        except ValueError as exc:
            return f"must be IPv4 CIDR blocks: {exc}"
    return None


def _tags_problem(tags: tuple[str, ...]) -> str | None:
    keys = [tag.partition("=")[0] for tag in tags]
    if len(keys) > _MOST_TAGS:
        return f"must be {_MOST_TAGS} at most"
    if len(set(keys)) < len(keys):
        return "must not have a key twice"
    for tag, key in zip(tags, keys, strict=True):
        if "=" not in tag or not key:
            return f"must be KEY=VALUE, not {tag!r}"
        if key.lower().startswith(("aws:", TAG_PREFIX)) or key == "Name":
            return f"must not set {key!r}, which is not the user's"
        if len(key) > _MOST_KEY or len(tag) - len(key) - 1 > _MOST_VALUE:
            return f"{key[:20]!r}: keys have {_MOST_KEY} characters at most, values {_MOST_VALUE}"
    return None
