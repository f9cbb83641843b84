"""The user's error for an error of AWS: which option, what AWS answered, what to do next."""

from __future__ import annotations

import re

from bigmachine.cloud import network_advice
from bigmachine.errors import BigmachineError, StartError, UsageError

from ._credential_advice import credentials_advice
from ._errors import AwsError

KEY_ADVICE = (
    "often a disk's KMS key, that of kms_key or the account's default one (see `aws ec2 "
    "get-ebs-default-kms-key-id`), is disabled, or may not be used: you need kms:CreateGrant, "
    "Decrypt, DescribeKey, GenerateDataKeyWithoutPlaintext and ReEncrypt*, and for spot instances "
    "the role AWSServiceRoleForEC2Spot needs a grant"
)
"""Why an instance ends while it is launched, and what to do; for users.

The actions are those of "Requirements for Amazon EBS encryption".
"""

_OPTIONS = {
    "AttachmentLimitExceeded": "data_volumes",
    "CustomerKeyHasBeenRevoked": "kms_key",
    "EncryptedVolumesNotSupported": "instance_type",
    "InvalidAMIID": "image",
    "InvalidBlockDeviceMapping": "disk",
    "InvalidGroup": "security_groups",
    "InvalidGroupId": "security_groups",
    "InvalidGroupI": "security_groups",
    "InvalidInstanceType": "instance_type",
    "InvalidKMSKey": "kms_key",
    "InvalidKeyPair": "key_pair",
    "InvalidParameterValue.IamInstanceProfile": "instance_profile",
    "InvalidPlacementGroup": "placement_group",
    "InvalidRegionError": "region",
    "InvalidSubnet": "subnets",
    "InvalidSubnetID": "subnets",
    "ParameterNotFound": "image",
    "TagPolicyViolation": "tags",
}
_ADVICE = {
    "data_volumes": "an instance of this type can't have so many disks: use fewer, or another type",
    "disk": "AWS rejects it: set it to the size that the image needs, or more",
    "image": "AWS rejects it: follow AWS's answer, pass another one, or omit it",
    "instance_profile": "AWS rejects it; list all with `aws iam list-instance-profiles`",
    "instance_type": "AWS rejects it: pass another one, or omit it",
    "kms_key": f"AWS can't encrypt a disk: {KEY_ADVICE}",
    "key_pair": "AWS rejects it; list all with `aws ec2 describe-key-pairs`",
    "placement_group": "AWS rejects it; list all with `aws ec2 describe-placement-groups`",
    "region": "pass one like 'eu-central-1'",
    "security_groups": "AWS rejects them; list all with `aws ec2 describe-security-groups`",
    "subnets": "AWS rejects them; list all with `aws ec2 describe-subnets`",
    "tags": "a tag policy of the organization rejects them: pass the values that it asks for",
}
_FREE_PLAN_ADVICE = {
    "instance type": "instance_type: this account's free plan does not include it: pass "
    "instance_type='m7i-flex.large' (2 vCPUs, 8 GiB), or another one that `aws ec2 "
    "describe-instance-types --filters Name=free-tier-eligible,Values=true` lists, or upgrade the "
    "account to the paid plan",
    "image": "image: this account's free plan does not include it: pass Ubuntu's, image="
    "'/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id', or "
    "another one that `aws ec2 describe-images --filters Name=free-tier-eligible,Values=true` "
    "lists, or upgrade the account to the paid plan",
}

# "User: … is not authorized to perform: ec2:RunInstances on resource: … with an explicit deny in a
# service control policy" (aws/karpenter-provider-aws issue 7370); the kinds of policies are those
# of "Access denied error messages" in the IAM guide.
_POLICY = re.compile(
    r"(?:explicit deny in an?|no) (service control|resource control|permissions boundary|"
    r"VPC endpoint|session|resource-based)(?: policy)?"
)
_EXPLICIT = "explicit deny"
_ORGANIZATION = frozenset({"service control", "resource control"})

# What an organization's policies usually demand of each kind of resource that a launch needs.
_RESOURCE = re.compile(r"on resource: arn:[^ ]*:([a-z-]+)/")
_DEMANDS = {
    "image": "which images are allowed",
    "instance": "which types, markets and tags are allowed",
    "network-interface": "whether public addresses are allowed",
    "subnet": "which subnets are allowed",
    "volume": "whether disks must be encrypted or tagged",
}

# Of the API reference's error codes; quotas of instances are not errors of one request alone.
_LIMITS = frozenset(
    {
        "MaxIOPSLimitExceeded",
        "NetworkInterfaceLimitExceeded",
        "ResourceLimitExceeded",
        "RulesPerSecurityGroupLimitExceeded",
        "SecurityGroupLimitExceeded",
        "SecurityGroupsPerInstanceLimitExceeded",
        "SecurityGroupsPerInterfaceLimitExceeded",
        "VolumeLimitExceeded",
    }
)

_PROFILE = re.compile(r"instance.?profile", re.IGNORECASE)


def explain(error: AwsError, *, caller_arn: str = "") -> BigmachineError:
    """Return the error for the user.

    ``caller_arn`` is the ARN of the credentials, if known.
    """
    answer = (
        f"{'AWS answered' if error.is_response else 'boto3 says'} {error.code}: {error.message}"
    )
    where = f"({error.action}: {answer})"
    if error.is_denied:
        who = caller_arn or "the AWS identity in use"
        return StartError(f"{_permission_advice(error, who)} ({answer})")
    if error.outside_free_plan:
        return UsageError(f"{_FREE_PLAN_ADVICE[error.outside_free_plan]} {where}")
    option = _option(error)
    if option:
        return UsageError(f"{option}: {_ADVICE[option]} {where}")
    if error.is_unauthenticated:
        return StartError(f"{credentials_advice(error)} {where}")
    if error.is_unreachable or (error.is_outcome_unknown and not error.is_response):
        return StartError(f"{_network_advice(error)} {where}")
    if error.is_fleet_refused or error.code in _LIMITS:
        return StartError(
            f"a quota of this account is used up: request an increase (Service Quotas), or delete "
            f"what is not needed any more {where}"
        )
    if error.is_throttled:
        return StartError(
            f"AWS throttles the requests of this account; try again in some minutes, or request "
            f"an increase of its API request limits {where}"
        )
    if error.is_temporary:
        return StartError(
            f"AWS has a fault: try again later; https://health.aws.amazon.com/health/status tells "
            f"what is known of it {where}"
        )
    return StartError(f"{error.action} failed: {answer}")


def _network_advice(error: AwsError) -> str:
    if error.code != "ConnectionError":
        return network_advice(error, "AWS")
    return (
        f"AWS can't be reached in {error.region or 'the region'}: check the internet connection "
        f"and the region's name, and HTTPS_PROXY if it is set"
    )


def missing_permission(error: AwsError) -> str | None:
    """Return the action that an IAM policy must permit; None if that would not help."""
    if error.is_spot_role_missing:
        return "iam:CreateServiceLinkedRole"
    if error.is_fleet_refused:
        return None
    if not error.is_denied or _EXPLICIT in error.message or _POLICY.search(error.message):
        return None
    return error.denied_action


def _permission_advice(error: AwsError, who: str) -> str:
    if error.is_spot_role_missing:
        return (
            f"the account has no service-linked role for spot instances, and {who} may not create "
            f"it: have an administrator run `aws iam create-service-linked-role "
            f"--aws-service-name spot.amazonaws.com` once, or pass market='on-demand'"
        )
    if error.is_fleet_refused:
        return (
            f"the account has no service-linked role for fleets, and {who} may not create it: "
            f"have an administrator run `aws iam create-service-linked-role --aws-service-name "
            f"ec2fleet.amazonaws.com` once"
        )
    action = error.denied_action
    if "explicit deny in an identity-based policy" in error.message:
        return (
            f"an IAM policy denies {action} to {who}: change the statement that does, or use other "
            f"credentials"
        )
    policy = _POLICY.search(error.message)
    if policy is None:
        needed = "" if action == error.action else f", which {error.action} needs"
        return (
            f"{who} may not call {action}{needed}: add that action to its IAM policy, or use other "
            f"credentials"
        )
    if policy[1] in _ORGANIZATION:
        resource = _RESOURCE.search(error.message)
        demand = _DEMANDS.get(
            resource[1] if resource else "", "what is allowed, and in which regions"
        )
        return (
            f"a {policy[1]} policy of the organization denies {action} to {who}, and an IAM policy "
            f"can't change that: ask its administrator {demand}"
        )
    name = policy[1] if policy[1] == "permissions boundary" else f"{policy[1]} policy"
    return (
        f"{who} may not call {action}, because of a {name}: have it allow that action, or use "
        f"other credentials"
    )


def _option(error: AwsError) -> str | None:
    if error.code in _OPTIONS:
        return _OPTIONS[error.code]
    if error.is_of_key:
        return "kms_key"
    if error.code.startswith("InvalidParameter") and _PROFILE.search(error.message):
        return "instance_profile"
    if error.code == "AuthFailure" and "authorized for images" in error.message:
        return "image"  # it is private, or was deleted (StreisandEffect/streisand issue 183)
    if error.code == "OptInRequired" and "marketplace" in error.message.lower():
        return "image"  # its terms are not accepted; the answer has the link
    return _OPTIONS.get(error.code.partition(".")[0])
