"""What AWS refuses, told apart by what can be done about it, and told so that it can be."""

from __future__ import annotations

import re

from bigmachine.errors import BigmachineError, StartError, UsageError

# Codes are those of the EC2 API reference ("Error codes for the Amazon EC2 API") and of its
# guide's "Common errors", where no other source is named.

_THROTTLED = frozenset(
    {
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "EC2ThrottledException",
        "BandwidthLimitExceeded",
    }
)
_UNKNOWN_OUTCOME = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "ServerInternal",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Unavailable",
        "RequestTimeout",
        "RequestTimeoutException",
        "500",  # botocore's codes for answers without a body
        "502",
        "503",
        "504",
        "ConnectionClosedError",  # and its own errors
        "HTTPClientError",
        "ReadTimeoutError",
        "ResponseParserError",
    }
)
_CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientCapacity",
        "InsufficientHostCapacity",
        "InsufficientFreeAddressesInSubnet",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",  # of fleets
        "InvalidFleetConfiguration",  # of one pool: "… not supported in your requested …"
        "Unsupported",  # "… is not supported in your requested Availability Zone"
    }
)
_QUOTA = frozenset(
    {
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
        "MaxSpotFleetRequestCountExceeded",
    }
)
_CREDENTIALS = frozenset(
    {
        "AuthFailure",
        "Blocked",
        "CredentialRetrievalError",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "NoCredentialsError",
        "NotSignedUp",
        "OptInRequired",
        "PartialCredentialsError",
        "RequestExpired",
        "SSOTokenLoadError",
        "SignatureDoesNotMatch",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "UnrecognizedClientException",
    }
)
_PERMISSION = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
        "UnauthorizedOperation",
    }
)
_UNREACHABLE = frozenset(
    {
        "ConnectTimeoutError",
        "EndpointConnectionError",
        "ProxyConnectionError",
        "SSLError",
    }
)

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
_PROFILE = re.compile(r"instance.?profile", re.IGNORECASE)
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)


class AwsError(Exception):
    """A call to AWS failed. ``code`` and ``message`` are AWS's, or botocore's own error's.

    ``action`` is what was called, named as in an IAM policy: ``"ec2:RunInstances"``.
    """

    def __init__(self, action: str, code: str, message: str) -> None:
        super().__init__(f"{action}: {code}: {message}")
        self.action = action
        self.code = code
        self.message = _ENCODED.sub("", message).strip()
        self.is_unknown = code in _UNKNOWN_OUTCOME
        """Whether nobody knows what became of the request, or of an earlier try of it."""

    @property
    def is_throttled(self) -> bool:
        """Whether AWS did nothing, for there were too many requests."""
        return self.code in _THROTTLED

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may well succeed a little later."""
        return self.is_throttled or self.code in _UNKNOWN_OUTCOME | _UNREACHABLE

    @property
    def is_capacity(self) -> bool:
        """Whether this zone has no such instance to sell, and another one may have."""
        return self.code in _CAPACITY

    @property
    def is_quota(self) -> bool:
        """Whether the account may have no more of this market's instances in the region."""
        return self.code in _QUOTA

    @property
    def is_missing(self) -> bool:
        """Whether what was named does not exist, or not yet."""
        return self.code.endswith((".NotFound", ".NotFoundException", ".Unknown"))

    @property
    def is_unknown_template(self) -> bool:
        """Whether EC2 does not know a launch template; a new one it will know in a moment."""
        return self.is_missing and self.code.startswith("InvalidLaunchTemplate")

    @property
    def is_forbidden(self) -> bool:
        """Whether it is who asks, and not what is asked for, that AWS does not like."""
        return self.code in _PERMISSION | _CREDENTIALS


def explain(error: AwsError, *, who: str = "") -> BigmachineError:
    """Return what a user is told: which option, what AWS answered, what to do next.

    ``who`` is the ARN of the credentials, where it is known.
    """
    said = f"AWS answered {error.code}: {error.message}"
    if error.code in _PERMISSION:
        return StartError(
            f"{who or 'the AWS identity in use'} may not call {error.action}: have that action "
            f"added to its IAM policy, or use other credentials ({said})"
        )
    if error.code in _CREDENTIALS:
        return StartError(
            f"AWS does not take the credentials: renew them (`aws sso login`, `aws configure`) "
            f"and see to it that the clock is right and the region is enabled "
            f"({error.action}: {said})"
        )
    if error.code in _UNREACHABLE:
        return StartError(
            f"AWS can't be reached: is the region right, and does this computer reach the "
            f"internet? ({error.action}: {error.message})"
        )
    option = _option(error)
    if option:
        return UsageError(f"{option}: {said} ({error.action})")
    if error.is_throttled:
        return StartError(
            f"AWS takes no more requests of this account for now; try again in some minutes, or "
            f"have its request limits raised ({error.action}: {said})"
        )
    return StartError(f"{error.action} failed: {said}")


def _option(error: AwsError) -> str | None:
    if error.code in _OPTIONS:
        return _OPTIONS[error.code]
    if error.code.startswith("InvalidParameter") and _PROFILE.search(error.message):
        return "instance_profile"
    return _OPTIONS.get(error.code.partition(".")[0])
