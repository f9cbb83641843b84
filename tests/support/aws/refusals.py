"""What AWS refuses on first use: codes and words as users have reported them, each with its source.

Where the source is not a page of AWS's documentation, it is an issue of a public repository.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.aws.aws import Aws
    from tests.support.aws.wire import Parameters


@dataclass(frozen=True)
class Refusal:
    """An error of AWS: its code and message, and where it was seen."""

    code: str
    message: str
    source: str
    status: int = 400


FREE_TYPES = ("t3.micro", "t3.small", "t4g.micro", "t4g.small", "c7i-flex.large", "m7i-flex.large")
"""What an account of today has on the free plan (RhinoSecurityLabs/cloudgoat issue 375)."""

FREE_TYPE = Refusal(
    "InvalidParameterCombination",
    "The specified instance type is not eligible for Free Tier. For a list of Free Tier instance "
    "types, run 'describe-instance-types' with the filter 'free-tier-eligible=true'.",
    "splunk/attack_range#1302",
)
FREE_IMAGE = Refusal(
    "InvalidParameterCombination",
    "The specified image is not eligible for Free Tier. For a list of Free Tier images, run "
    "'describe-images' with the filter 'free-tier-eligible=true'.",
    "bitnami/vms#1838",
)
NOT_FOR_SPOT = Refusal(
    "InvalidParameterValue",
    "Value (t2.micro) for parameter instanceType is invalid. 't2.micro' is an unsupported instance "
    "type",
    "jtriley/StarCluster#588",
)
NO_SPOT_ROLE = Refusal(
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    "The provided credentials do not have permission to create the service-linked role for EC2 "
    "Spot Instances.",
    "kubernetes/kops#16475",
    status=403,
)
ORGANIZATION = Refusal(
    "UnauthorizedOperation",
    "You are not authorized to perform this operation. User: arn:aws:sts::123456789012:user/moto "
    "is not authorized to perform: ec2:RunInstances on resource: "
    "arn:aws:ec2:us-east-1:123456789012:instance/* with an explicit deny in a service control "
    "policy. Encoded authorization failure message: g4oZPBqZ4Bni8dE5dGjxYTnOZ",
    "aws/karpenter-provider-aws#7370",
    status=403,
)
BOUNDARY = Refusal(
    "UnauthorizedOperation",
    "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/moto "
    "is not authorized to perform: ec2:RunInstances on resource: "
    "arn:aws:ec2:us-east-1:123456789012:instance/* because no permissions boundary allows the "
    "ec2:RunInstances action.",
    "IAM guide, Access denied error messages",
    status=403,
)
OWN_POLICY = Refusal(
    "UnauthorizedOperation",
    "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/moto "
    "is not authorized to perform: ec2:RunInstances on resource: "
    "arn:aws:ec2:us-east-1:123456789012:instance/* with an explicit deny in an identity-based "
    "policy.",
    "IAM guide, Access denied error messages",
    status=403,
)
PRIVATE_IMAGE = Refusal(
    "AuthFailure",
    "Not authorized for images: [ami-22de994a]",
    "StreisandEffect/streisand#183",
    status=403,
)
NO_FLEETS = Refusal(
    "MaxFleetCountExceeded",
    "You've reached your quota for maximum Fleet Requests for this account.",
    "runs-on/runs-on#88",
)
NO_FLEET_ROLE = Refusal(
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
    "The provided credentials do not have permission to create the service-linked role for EC2 "
    "Fleet.",
    "Coalfire-Research/npk#77, which is about Spot Fleet",
    status=403,
)
QUOTA = Refusal(
    "MaxSpotInstanceCountExceeded",
    "Max spot instance count exceeded",
    "EC2 API reference, Error codes",
)
PENDING = Refusal(
    "PendingVerification",
    "Your request for accessing resources in this region is being validated, and you will not be "
    "able to launch additional resources in this region until the validation is complete. We will "
    "notify you by email once your request has been validated.",  # and two sentences more
    "galaxyproject/cloudlaunch#172",
)
BLOCKED = Refusal(
    "Blocked",
    "This account is currently blocked and not recognized as a valid account. Please contact "
    "aws-verification@amazon.com if you have questions.",
    "coiled/feedback#225",
)
NOT_IN_THIS_PARTITION = Refusal(
    "AuthFailure",
    "AWS was not able to validate the provided access credentials",
    "EC2 API reference, Error codes",
    status=401,
)


def include_free(aws: Aws, types: Iterable[str]) -> None:
    """Have EC2 say of these types alone that the account's free tier includes them."""
    names = "|".join(map(re.escape, types)).encode() or b"none"
    pattern = rb"(<instanceType>(?:%b)</instanceType>.*?<freeTierEligible>)false<" % names
    aws.edit(
        "DescribeInstanceTypes",
        lambda content: re.sub(pattern, rb"\1true<", content, flags=re.DOTALL),
    )


def offer_less(aws: Aws, types: Iterable[str], *, zone: str) -> None:
    """Have a zone not offer these types."""
    names = "|".join(map(re.escape, types))
    no_end = "(?:(?!</item>).)*"
    pattern = f"<item>{no_end}>(?:{names})<{no_end}>{zone}<{no_end}</item>".encode()
    other = f"<item>{no_end}>{zone}<{no_end}>(?:{names})<{no_end}</item>".encode()
    aws.edit(
        "DescribeInstanceTypeOfferings",
        lambda content: re.sub(pattern + b"|" + other, b"", content, flags=re.DOTALL),
    )


def block_public_access(aws: Aws, subnets: Iterable[str], *, mode: str = "block-ingress") -> None:
    """Have VPC Block Public Access apply to these subnets, by the API reference's Subnet."""

    def edit(content: bytes) -> bytes:
        for subnet in subnets:
            tag = f"<subnetId>{subnet}</subnetId>"
            states = f"<internetGatewayBlockMode>{mode}</internetGatewayBlockMode>"
            states = f"<blockPublicAccessStates>{states}</blockPublicAccessStates>"
            content = content.replace(tag.encode(), (tag + states).encode())
        return content

    aws.edit("DescribeSubnets", edit)


def refuse_types(
    aws: Aws, refusal: Refusal, is_refused: Callable[[str], bool], *, dry_runs: bool
) -> None:
    """Refuse to launch some types; in dry runs, too, or not."""
    _refuse(aws, refusal, lambda place: is_refused(place.split()[1]), dry_runs=dry_runs)


def refuse_market(aws: Aws, market: str, refusal: Refusal, *, dry_runs: bool) -> None:
    """Refuse to launch instances on a market; in dry runs, too, or not."""
    _refuse(aws, refusal, lambda place: place.split()[0] == market, dry_runs=dry_runs)


def refuse_fleets(aws: Aws, refusal: Refusal = NO_FLEETS) -> None:
    """Refuse all fleets, also in dry runs."""
    aws.refuse("CreateFleet", refusal.code, refusal.message, status=refusal.status, times=99)


def _refuse(
    aws: Aws, refusal: Refusal, is_refused: Callable[[str], bool], *, dry_runs: bool
) -> None:
    def when(parameters: Parameters) -> bool:
        market = parameters.get("InstanceMarketOptions.MarketType", "on-demand")
        is_meant = dry_runs or _is_real(parameters)
        return is_meant and is_refused(f"{market} {parameters['InstanceType']}")

    def refuse_pool(place: str, count: int) -> tuple[str, str] | None:
        return (refusal.code, refusal.message) if is_refused(place) else None

    aws.refuse(
        "RunInstances", refusal.code, refusal.message, status=refusal.status, times=99, when=when
    )
    aws.refuse_pool = refuse_pool


def _is_real(parameters: Parameters) -> bool:
    return parameters.get("DryRun") != "true"
