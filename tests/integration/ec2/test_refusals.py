"""Each refusal of AWS: what it rules out for a launch, and what the user is told to do."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bigmachine.cloud import RuledOut, Scope
from bigmachine.errors import StartError, UsageError
from bigmachine.system import MARKETS
from bigmachine_ec2.api._advice import explain
from bigmachine_ec2.api._api import code_of
from bigmachine_ec2.api._errors import AwsError
from bigmachine_ec2.catalog._images import Image
from bigmachine_ec2.catalog._instance_types import InstanceType
from bigmachine_ec2.launch._run_instances import RunInstances
from bigmachine_ec2.launch._scope import scope_of
from bigmachine_ec2.plan._offers import Offer
from bigmachine_ec2.resources._network import Subnet
from tests.support.aws.refusals import (
    BLOCKED,
    BOUNDARY,
    FREE_IMAGE,
    FREE_TYPE,
    NO_FLEET_ROLE,
    NO_FLEETS,
    NO_SPOT_ROLE,
    NOT_FOR_SPOT,
    NOT_IN_THIS_PARTITION,
    ORGANIZATION,
    OWN_POLICY,
    PENDING,
    PRIVATE_IMAGE,
    Refusal,
)

ME = "arn:aws:sts::123456789012:user/moto"
REGION = "us-east-1"
ORGANIZATION_DISK = replace(
    ORGANIZATION, message=ORGANIZATION.message.replace(":instance/*", ":volume/*")
)
ORGANIZATION_REGION = replace(
    ORGANIZATION, message=re.sub("on resource: [^ ]+ ", "", ORGANIZATION.message)
)
SHORT = "We currently do not have sufficient capacity in the Availability Zone you requested"
FULL = "The specified subnet does not have enough free addresses to satisfy the request."
VCPUS = "You have requested more vCPU capacity than your current vCPU limit of 0 allows"


def error(refusal: Refusal, *, region: str = REGION) -> AwsError:
    return AwsError("ec2:RunInstances", refusal.code, refusal.message, region=region)


@pytest.mark.parametrize(
    ("refusal", "on_spot", "on_demand"),
    [
        (Refusal("InsufficientInstanceCapacity", SHORT, ""), Scope.POOL, Scope.POOL),
        (Refusal("InsufficientFreeAddressesInSubnet", FULL, ""), Scope.POOL, Scope.POOL),
        (Refusal("InsufficientVolumeCapacity", "", ""), Scope.POOL, Scope.POOL),
        (Refusal("VolumeTypeNotAvailableInZone", "", ""), Scope.POOL, Scope.POOL),
        (Refusal("VcpuLimitExceeded", VCPUS, ""), Scope.MARKET, Scope.MARKET),
        (Refusal("MaxSpotInstanceCountExceeded", "", ""), Scope.MARKET, Scope.MARKET),
        (FREE_TYPE, Scope.TYPE_ON_ALL_MARKETS, Scope.TYPE_ON_ALL_MARKETS),
        (FREE_IMAGE, Scope.ALL, Scope.ALL),
        (NO_SPOT_ROLE, Scope.MARKET, Scope.ALL),
        (ORGANIZATION, Scope.MARKET, Scope.ALL),
        (BOUNDARY, Scope.MARKET, Scope.ALL),
        (NO_FLEET_ROLE, Scope.METHOD, Scope.METHOD),
        (NO_FLEETS, Scope.METHOD, Scope.METHOD),
        (Refusal("MaxTemplateLimitExceeded", "", ""), Scope.METHOD, Scope.METHOD),
        (Refusal("AttachmentLimitExceeded", "", ""), Scope.TYPE, Scope.TYPE),
        (Refusal("EncryptedVolumesNotSupported", "", ""), Scope.TYPE, Scope.TYPE),
        (PENDING, Scope.ALL, Scope.ALL),
        (BLOCKED, Scope.ALL, Scope.ALL),
        (NOT_IN_THIS_PARTITION, Scope.ALL, Scope.ALL),
        (Refusal("OptInRequired", "You are not subscribed to this service.", ""), *[Scope.ALL] * 2),
        (Refusal("VolumeLimitExceeded", "", ""), Scope.ALL, Scope.ALL),
    ],
    ids=lambda value: value.code if isinstance(value, Refusal) else "",
)
def test_refusal_rules_out_what_it_is_about(refusal, on_spot, on_demand):
    assert scope_of(error(refusal), market="spot") is on_spot
    assert scope_of(error(refusal), market="on-demand") is on_demand


@pytest.mark.parametrize(
    ("refusal", "is_on_demand_left"), [(NOT_FOR_SPOT, True), (FREE_TYPE, False)], ids=["", "free"]
)
def test_type_that_spot_refuses_may_be_launched_on_demand(refusal, is_on_demand_left):
    everywhere = frozenset({"us-east-1a"})
    kind = InstanceType("t2.micro", 1, 1 << 30, "x86_64", frozenset(MARKETS), everywhere)
    image, subnet = Image("ami-1", "", "x86_64", "/dev/xvda", 8), Subnet("subnet-1", "us-east-1a")
    spot, on_demand = (Offer(market, kind, image, subnet) for market in MARKETS)
    ruled_out = RuledOut()
    refused = error(refusal)
    scope = scope_of(refused, market="spot")
    assert ruled_out.note([(spot, refused, scope)], method=RunInstances)
    assert ruled_out.covers([spot])
    assert ruled_out.covers([on_demand]) is not is_on_demand_left


@pytest.mark.parametrize(
    ("refusal", "region", "kind", "says"),
    [
        (
            FREE_IMAGE,
            REGION,
            UsageError,
            (
                "image: this account's free plan does not include it: pass Ubuntu's, image='/aws",
                "`aws ec2 describe-images --filters Name=free-tier-eligible,Values=true`",
            ),
        ),
        (
            ORGANIZATION,
            REGION,
            StartError,
            (
                f"a service control policy of the organization denies ec2:RunInstances to {ME}",
                "ask its administrator which types, markets and tags are allowed",
            ),
        ),
        (
            ORGANIZATION_DISK,
            REGION,
            StartError,
            ("ask its administrator whether disks must be encrypted or tagged",),
        ),
        (
            ORGANIZATION_REGION,
            REGION,
            StartError,
            ("ask its administrator what is allowed, and in which region",),
        ),
        (
            PRIVATE_IMAGE,
            REGION,
            UsageError,
            ("image: AWS rejects it: follow AWS's answer, pass another one, or omit it",),
        ),
        (
            BOUNDARY,
            REGION,
            StartError,
            (f"{ME} may not call ec2:RunInstances, because of a permissions boundary",),
        ),
        (
            OWN_POLICY,
            REGION,
            StartError,
            (f"an IAM policy denies ec2:RunInstances to {ME}: change the statement",),
        ),
        (
            PENDING,
            REGION,
            StartError,
            ("AWS is still verifying the account for this region: wait, usually for minutes",),
        ),
        (
            PENDING,
            "eu-south-2",
            StartError,
            ("AWS is still verifying the account for this region", "or use another region"),
        ),
        (BLOCKED, REGION, StartError, ("AWS has blocked the account", "aws-verification@amazon")),
        (
            Refusal("VolumeLimitExceeded", "Volume limit exceeded", "EC2 API reference"),
            REGION,
            StartError,
            ("a quota of this account is used up: request an increase (Service Quotas)",),
        ),
        *(
            (Refusal(code, "…", "EC2 API reference"), REGION, StartError, ("a quota of this acc",))
            for code in (
                "MaxIOPSLimitExceeded",
                "MaxTemplateLimitExceeded",
                "ResourceLimitExceeded",
            )
        ),
        (
            Refusal("AttachmentLimitExceeded", "…", "EC2 API reference"),
            REGION,
            UsageError,
            ("data_volumes: an instance of this type can't have so many disks: use fewer",),
        ),
        (
            Refusal("CustomerKeyHasBeenRevoked", "…", "EC2 API reference"),
            REGION,
            UsageError,
            ("kms_key: AWS can't encrypt a disk: often a disk's KMS key",),
        ),
        (
            Refusal("AccountDisabled", "…", "EC2 API reference"),
            REGION,
            StartError,
            ("the account can't use EC2: see the AWS console, or ask AWS Support",),
        ),
        (
            NOT_IN_THIS_PARTITION,
            "cn-north-1",
            StartError,
            (
                "AWS rejects the credentials in cn-north-1: China, GovCloud and the sovereign",
                "`aws sts get-caller-identity --region cn-north-1`",
            ),
        ),
        (
            Refusal("InternalError", "An internal error has occurred", "the API reference"),
            REGION,
            StartError,
            ("AWS has a fault: try again later; https://health.aws.amazon.com/health/status",),
        ),
        (
            Refusal(
                "RefreshWithMFAUnsupportedError",
                "Cannot refresh credentials: MFA token required.",
                "botocore",
            ),
            REGION,
            StartError,
            ("the AWS credentials have expired, and boto3 can't renew those", "sign in again"),
        ),
    ],
    ids=lambda value: value.code if isinstance(value, Refusal) else "",
)
def test_refusal_tells_what_to_do(refusal, region, kind, says):
    told = explain(error(refusal, region=region), caller_arn=ME)
    assert type(told) is kind
    for part in (*says, f"{refusal.code}: {refusal.message.partition(' Encoded')[0]}"):
        assert part in str(told)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (("SSLError", {"error": "CERTIFICATE_VERIFY_FAILED"}), "AWS's certificate can't be verif"),
        (("ProxyConnectionError", {"proxy_url": "p"}), "the proxy can't be used: correct HTTPS_"),
        (("EndpointConnectionError", {}), f"AWS can't be reached in {REGION}: check the internet"),
        (("ConnectTimeoutError", {}), f"AWS can't be reached in {REGION}: check the internet"),
        (("ReadTimeoutError", {}), "AWS does not answer: check the internet connection"),
        (("ConnectionClosedError", {}), "AWS can't be reached: check the internet connection"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_failed_connection_tells_what_to_do(failure, told):
    import botocore.exceptions  # here, not while tests are collected

    name, fields = failure
    exc = getattr(botocore.exceptions, name)(**{"endpoint_url": "u", "error": "e", **fields})
    failed = AwsError("x", code_of(exc), str(exc), region=REGION, is_response=False)
    assert failed.is_temporary
    assert type(explain(failed)) is StartError
    assert str(explain(failed)).startswith(told)
