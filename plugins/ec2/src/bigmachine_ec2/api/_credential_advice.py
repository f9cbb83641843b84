"""What to do about credentials that AWS rejects, or that boto3 can't get."""

from __future__ import annotations

from bigmachine.cloud import clock_advice

from ._errors import AwsError

# EC2 also returns RequestExpired for temporary credentials.
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_NOT_SIGNED_IN = frozenset(  # botocore's
    {
        "LoginAuthorizationCodeError",
        "LoginError",
        "LoginRefreshRequired",
        "LoginTokenLoadError",
        "NoAuthTokenError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)
_ACCOUNT = frozenset(
    {"AccountDisabled", "Blocked", "NotSignedUp", "OptInRequired", "PendingVerification"}
)

# "Regions launched before March 20, 2019 are enabled by default" ("Enable or disable AWS
# Regions in your account"), and this list is final. Other partitions have
# accounts of their own.
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


def credentials_advice(error: AwsError) -> str:
    """Return what to do. A code may have several causes, so the certain ones come first."""
    if advice := clock_advice(error.clock_skew, "AWS"):
        return advice
    of_profile = f" --profile {error.profile}" if error.profile not in ("", "default") else ""
    sign_in = f"aws sso login{of_profile}"
    if error.code in _EXPIRED:
        return f"the AWS credentials have expired: renew them, for example with `{sign_in}`"
    if error.code in _NOT_SIGNED_IN:
        return f"you are not signed in to AWS: run `{sign_in}`, or `aws login{of_profile}`"
    if error.code == "CredentialRetrievalError":
        whose = f" of the profile {error.profile!r}" if of_profile else ""
        return f"the AWS credentials{whose} can't be obtained: correct what the answer names"
    if error.code == "RefreshWithMFAUnsupportedError":
        return (
            "the AWS credentials have expired, and boto3 can't renew those that need a "
            "multi-factor code: sign in again"
        )
    if error.code == "PendingVerification":
        return (
            "AWS is still verifying the account for this region: wait, usually for minutes and at "
            "most for 4 hours, or use another region"
        )
    if error.code == "Blocked":
        return (
            "AWS has blocked the account: sign in to its console and see what is missing, or write "
            "to aws-verification@amazon.com"
        )
    if error.region.startswith(_OTHER_PARTITIONS):
        return (
            f"AWS rejects the credentials in {error.region}: China, GovCloud and the sovereign "
            f"clouds have accounts of their own; use credentials of such an account, and check "
            f"them with `aws sts get-caller-identity --region {error.region}`"
        )
    if is_opt_in(error.region):
        return (
            f"region: AWS rejects the credentials in {error.region}, an opt-in region: enable it "
            f"with `aws account enable-region --region-name {error.region}` and wait, or use "
            f"another region. If it is enabled, renew the credentials"
        )
    if error.code in _ACCOUNT:
        return "the account can't use EC2: see the AWS console, or ask AWS Support"
    return (
        "AWS rejects the credentials: renew them (`aws configure`, `aws sso login`), and "
        "check them with `aws sts get-caller-identity`"
    )


def is_opt_in(region: str) -> bool:
    """Whether an account must enable this region before it can use it."""
    return bool(region) and region not in _ENABLED and not region.startswith(_OTHER_PARTITIONS)
