"""Errors of AWS, classified by what can be done about them."""

from __future__ import annotations

import re

from bigmachine.cloud import CloudError

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
        "ConcurrentTagAccess",
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
        "RetryableError",
        "500",  # botocore's codes for answers without a body
        "502",
        "503",
        "504",
        "ConnectionLost",  # and of its own errors
        "InvalidResponse",
        "ReadTimeout",
    }
)
_CAPACITY = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientAddressCapacity",
        "InsufficientCapacity",
        "InsufficientCapacityOnHost",
        "InsufficientHostCapacity",
        "InsufficientFreeAddressesInSubnet",
        "InsufficientVolumeCapacity",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",  # of fleets
        "InvalidFleetConfiguration",  # of one pool: "… not supported in your requested …"
        "Unsupported",  # "… is not supported in your requested Availability Zone"
        "VolumeTypeNotAvailableInZone",
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
_FLEETS = frozenset(
    {
        "MaxFleetCountExceeded",
        "MaxTemplateLimitExceeded",  # of launch templates, which fleets need
    }
)
_TYPES = frozenset(
    {
        "AttachmentLimitExceeded",  # of the disks and network interfaces of one instance
        "EncryptedVolumesNotSupported",
    }
)
_CREDENTIALS = frozenset(
    {
        "AccountDisabled",
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
        "LoginAuthorizationCodeError",
        "LoginError",
        "LoginInsufficientPermissions",
        "LoginRefreshRequired",
        "LoginTokenLoadError",
        "MissingAuthenticationToken",
        "NoAuthTokenError",
        "NoCredentialsError",
        "NotSignedUp",
        "OptInRequired",
        "PartialCredentialsError",
        "PendingVerification",
        "RequestExpired",
        "RequestInTheFuture",
        "RefreshWithMFAUnsupportedError",
        "RequestTimeTooSkewed",
        "SSOTokenLoadError",
        "SignatureDoesNotMatch",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
        "UnrecognizedClientException",
    }
)
_NO_ROLE = "AuthFailure.ServiceLinkedRoleCreationNotPermitted"
_PERMISSION = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        _NO_ROLE,
        "UnauthorizedOperation",
    }
)
_UNREACHABLE = frozenset(
    {
        "ConnectionError",
        "ProxyError",
        "SSLError",
    }
)

# Accounts on the free plan get InvalidParameterCombination: "The specified instance type is not
# eligible for Free Tier. For a list of Free Tier instance types, run 'describe-instance-types' with
# the filter 'free-tier-eligible=true'." (splunk/attack_range issue 1302; for images: bitnami/vms
# issue 1838). A dry run may not notice.
_FREE_TIER = re.compile(r"specified (image|instance type) is not eligible for free tier", re.I)

# An instance that can't use a disk's key may end with no more than "Client.InternalError: Client
# error on launch", and with Server.InternalError and either of these as the message (issues 12683
# of Packer, 1407 of Karpenter, 8 of CiscoDevNet/cloud-cml, and AWS's "Why can't my IAM user start
# an EC2 instance").
_OF_KEY = re.compile(r"KMSKey|CustomerKey|Client\.InternalError")

_DENIED_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]+:\w+)")
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.DOTALL)


class AwsError(CloudError):
    """A request to AWS failed. ``code`` and ``message`` are AWS's, or those of a botocore error.

    Of the connection, the code is one of `network_advice`, or ConnectionLost.

    ``action`` is named as in an IAM policy: ``"ec2:RunInstances"``. ``profile`` is the profile of
    the AWS configuration that is used. ``is_response`` is whether AWS answered, and ``clock_skew``
    how many seconds this computer's clock was then ahead of AWS's.
    """

    def __init__(
        self,
        action: str,
        code: str,
        message: str,
        *,
        region: str = "",
        profile: str = "",
        is_response: bool = True,
        clock_skew: float = 0.0,
    ) -> None:
        super().__init__(action, code, message)
        self.message = _ENCODED.sub("", message).strip()
        self.region = region
        self.profile = profile
        self.is_response = is_response
        self.clock_skew = clock_skew

    @property
    def is_throttled(self) -> bool:
        """Whether AWS did nothing, because there were too many requests."""
        return self.code in _THROTTLED

    @property
    def leaves_outcome_unknown(self) -> bool:
        """Whether this attempt alone may have been carried out."""
        return self.code in _UNKNOWN_OUTCOME

    @property
    def is_capacity(self) -> bool:
        """Whether this zone has no such instance, and another zone may have one."""
        return self.code in _CAPACITY

    @property
    def is_quota(self) -> bool:
        """Whether the account may have no more of this market's instances in the region."""
        return self.code in _QUOTA

    @property
    def is_shortage(self) -> bool:
        """Whether there is no room for the instances: with EC2, or within the account's quotas."""
        return self.is_capacity or self.is_quota or self.is_fleet_refused

    @property
    def is_fleet_refused(self) -> bool:
        """Whether the account may create no fleets, and RunInstances may succeed.

        "You've reached your quota for maximum Fleet Requests for this account." New accounts get
        this for their first fleet (runs-on/runs-on issue 88, coiled/feedback issue 225). A role
        for fleets is not required for instant ones ("EC2 Fleet prerequisites"). Fleets also need
        launch templates, of which an account may have no more.
        """
        is_role = self.code == _NO_ROLE and "EC2 Fleet" in self.message
        return is_role or self.code in _FLEETS

    @property
    def outside_free_plan(self) -> str:
        """What the account's free plan does not include: "image" or "instance type"; else ""."""
        match = _FREE_TIER.search(self.message)
        return match[1].lower() if match else ""

    @property
    def is_type_refused(self) -> bool:
        """Whether this instance type is refused, and another type may be accepted."""
        is_parameter = self.code.startswith(("InvalidParameter", "Unsupported"))
        is_about_type = is_parameter and "instance type" in self.message.lower()
        return is_about_type or self.code in _TYPES

    @property
    def is_spot_role_missing(self) -> bool:
        """Whether the account lacks EC2's role for spot, and the caller may not create it.

        "The provided credentials do not have permission to create the service-linked role for EC2
        Spot Instances." (kubernetes/kops issue 16475, determined-ai/determined issue 1830)
        """
        return self.code == _NO_ROLE and not self.is_fleet_refused

    @property
    def is_of_key(self) -> bool:
        """Whether a disk's KMS key may be the cause."""
        return bool(_OF_KEY.search(f"{self.code} {self.message}"))

    @property
    def is_not_found(self) -> bool:
        """Whether a named resource does not exist, or not yet."""
        return self.code.endswith((".NotFound", ".NotFoundException", ".Unknown"))

    @property
    def is_unreachable(self) -> bool:
        """Whether AWS could not be reached."""
        return self.code in _UNREACHABLE

    @property
    def is_denied(self) -> bool:
        """Whether the credentials lack a permission."""
        return self.code in _PERMISSION

    @property
    def denied_action(self) -> str:
        """The action that is not permitted, which may be another one than the requested one.

        What creates and tags also needs ec2:CreateTags, and with an instance profile
        iam:PassRole; AWS's answer names these (skypilot, pull request 9492).
        """
        named = _DENIED_ACTION.search(self.message)
        return named[1] if named else self.action

    @property
    def is_unauthenticated(self) -> bool:
        """Whether AWS rejects the credentials, or the account has no access to this region."""
        return self.code in _CREDENTIALS

    @property
    def is_forbidden(self) -> bool:
        """Whether AWS rejects the caller, not the request's parameters."""
        return self.is_denied or self.is_unauthenticated
