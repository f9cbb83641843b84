"""What a user is told of an error of AWS: which option, what AWS answered, what to do next."""

from __future__ import annotations

import re

from bigmachine.errors import BigmachineError, StartError, UsageError

from ._errors import AwsError

# Seconds that a clock may be wrong: "in most cases, a request must reach AWS within five minutes
# of the time stamp in the request" ("AWS Signature Version 4 for API requests").
_MOST_SKEW = 300.0

# EC2 says RequestExpired of temporary credentials, too.
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_SIGNED_OFF = frozenset(  # botocore's
    {
        "LoginRefreshRequired",
        "LoginTokenLoadError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)
_ACCOUNT = frozenset({"Blocked", "NotSignedUp", "OptInRequired", "PendingVerification"})

# "Regions launched before March 20, 2019 are enabled by default" ("Enable or disable AWS
# Regions in your account"), and these are all of them that ever will be. Regions of other
# partitions have accounts of their own.
_ENABLED = frozenset(
    {
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-southeast-1",
        "ap-southeast-2",
        "ca-central-1",
        "eu-central-1",
        "eu-north-1",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
    }
)
_OTHER_PARTITIONS = ("cn-", "us-gov-", "us-iso", "eu-iso", "eusc-")

_OPTIONS = {
    "InvalidAMIID": "image",
    "InvalidBlockDeviceMapping": "disk",
    "InvalidGroup": "security_groups",
    "InvalidGroupId": "security_groups",
    "InvalidGroupI": "security_groups",
    "InvalidInstanceType": "instance_type",
    "InvalidKeyPair": "key_pair",
    "InvalidParameterValue.IamInstanceProfile": "instance_profile",
    "InvalidRegionError": "region",
    "InvalidSubnet": "subnets",
    "InvalidSubnetID": "subnets",
    "ParameterNotFound": "image",
}
_NEXT = {
    "disk": "AWS does not take it: set it to what the image needs, or more",
    "image": "AWS does not take it: do what it answers, pass another one, or leave it out",
    "instance_profile": "AWS does not take it; those that there are: `aws iam "
    "list-instance-profiles`",
    "instance_type": "AWS does not take it: pass another one, or leave it out",
    "key_pair": "AWS does not take it; those that there are: `aws ec2 describe-key-pairs`",
    "region": "pass one as 'eu-central-1'",
    "security_groups": "AWS does not take them; those that there are: `aws ec2 "
    "describe-security-groups`",
    "subnets": "AWS does not take them; those that there are: `aws ec2 describe-subnets`",
}
_PROFILE = re.compile(r"instance.?profile", re.IGNORECASE)


def explain(error: AwsError, *, who: str = "") -> BigmachineError:
    """Return what a user is told.

    ``who`` is the ARN of the credentials, where it is known.
    """
    said = f"{'AWS answered' if error.is_answer else 'boto3 says'} {error.code}: {error.message}"
    where = f"({error.action}: {said})"
    if error.is_denied:
        return StartError(
            f"{who or 'the AWS identity in use'} may not call {error.action}: have that action "
            f"added to its IAM policy, or use other credentials ({said})"
        )
    option = _option(error)
    if option:
        return UsageError(f"{option}: {_NEXT[option]} {where}")
    if error.is_unauthenticated:
        return StartError(f"{_credentials_advice(error)} {where}")
    if error.is_unreachable:
        return StartError(
            f"AWS can't be reached in {error.region or 'the region'}: does this computer reach "
            f"the internet, and is the region right? {where}"
        )
    if error.is_throttled:
        return StartError(
            f"AWS takes no more requests of this account for now; try again in some minutes, or "
            f"have its request limits raised {where}"
        )
    return StartError(f"{error.action} failed: {said}")


def _option(error: AwsError) -> str | None:
    if error.code in _OPTIONS:
        return _OPTIONS[error.code]
    if error.code.startswith("InvalidParameter") and _PROFILE.search(error.message):
        return "instance_profile"
    if error.code == "OptInRequired" and "marketplace" in error.message.lower():
        return "image"  # whose terms nobody has accepted; the answer says where
    return _OPTIONS.get(error.code.partition(".")[0])


def _credentials_advice(error: AwsError) -> str:
    """Say what to do. One code may mean many things, so what is sure comes first."""
    if abs(error.ahead) > _MOST_SKEW:
        minutes = f"{abs(error.ahead) / 60:.0f} minutes"
        return (
            f"this computer's clock is {minutes} {'ahead of' if error.ahead > 0 else 'behind'} "
            f"AWS's, which takes {_MOST_SKEW / 60:.0f} at most: set it right"
        )
    if error.code in _EXPIRED:
        return "the AWS credentials have expired: renew them, as by `aws sso login`"
    if error.code in _SIGNED_OFF:
        return "you are signed on to AWS no longer, or not yet: `aws sso login`, or `aws login`"
    if is_opt_in(error.region):
        return (
            f"region: AWS does not take the credentials in {error.region}, which an account must "
            f"enable: `aws account enable-region --region-name {error.region}`, and wait until "
            f"it is; or use another region. If it is enabled, renew the credentials"
        )
    if error.code in _ACCOUNT:
        return "the account can't use EC2 yet, or no more: see the AWS console, or AWS's support"
    return (
        "AWS does not take the credentials: renew them (`aws configure`, `aws sso login`), and "
        "see by `aws sts get-caller-identity` whether they are right"
    )


def is_opt_in(region: str) -> bool:
    """Whether an account has to enable this region before it can use it."""
    return bool(region) and region not in _ENABLED and not region.startswith(_OTHER_PARTITIONS)
