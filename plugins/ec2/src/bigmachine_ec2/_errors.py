"""What AWS refuses, told apart by what can be done about it."""

from __future__ import annotations

import re

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
        "LoginRefreshRequired",
        "LoginTokenLoadError",
        "MissingAuthenticationToken",
        "NoCredentialsError",
        "NotSignedUp",
        "OptInRequired",
        "PartialCredentialsError",
        "PendingVerification",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
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

_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)


class AwsError(Exception):
    """A call to AWS failed. ``code`` and ``message`` are AWS's, or botocore's own error's.

    ``action`` is what was called, named as in an IAM policy: ``"ec2:RunInstances"``, in
    ``region``. ``is_answer`` says that AWS answered, and ``ahead`` how many seconds this
    computer's clock was then ahead of AWS's.
    """

    def __init__(
        self,
        action: str,
        code: str,
        message: str,
        *,
        region: str = "",
        is_answer: bool = True,
        ahead: float = 0.0,
    ) -> None:
        super().__init__(f"{action}: {code}: {message}")
        self.action = action
        self.code = code
        self.message = _ENCODED.sub("", message).strip()
        self.region = region
        self.is_answer = is_answer
        self.ahead = ahead
        self.is_unknown = code in _UNKNOWN_OUTCOME
        """Whether nobody knows what became of the request, or of an earlier try of it."""

    @property
    def is_throttled(self) -> bool:
        """Whether AWS did nothing, for there were too many requests."""
        return self.code in _THROTTLED

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may well succeed a little later."""
        return self.is_throttled or self.is_unreachable or self.code in _UNKNOWN_OUTCOME

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
    def is_unreachable(self) -> bool:
        """Whether there was no way to AWS."""
        return self.code in _UNREACHABLE

    @property
    def is_denied(self) -> bool:
        """Whether who asks has no permission for that."""
        return self.code in _PERMISSION

    @property
    def is_unauthenticated(self) -> bool:
        """Whether AWS does not see who asks, or does not know the account in this region."""
        return self.code in _CREDENTIALS

    @property
    def is_forbidden(self) -> bool:
        """Whether it is who asks, and not what is asked for, that AWS does not like."""
        return self.is_denied or self.is_unauthenticated
