"""Errors of Azure, classified by what can be done about them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bigmachine.cloud import RestError

# ARM answers `{"error": {"code", "message", "target", "details": [...], "innererror", ...}}`, and
# the code tells what happened: the SDK's exception classes follow the HTTP status, so that a lack
# of quota or capacity (409) is a ResourceExistsError there. Codes are compared in lowercase: some
# providers write SubscriptionNotFound, some subscriptionNotFound.


def _codes(*codes: str) -> frozenset[str]:
    return frozenset(code.lower() for code in codes)


_THROTTLED = _codes(
    "TooManyRequests",  # "Troubleshoot API throttling errors" of Compute
    "SubscriptionRequestsThrottled",  # "Understand how Azure Resource Manager throttles requests"
    "ResourceRequestsThrottled",
    "ResourceCollectionRequestsThrottled",
    "RequestsThrottled",
    "RateLimiting",
)
_LATER = _codes(
    "AnotherOperationInProgress",  # of networks
    "RetryableError",  # of networks: 429 (terraform-provider-azurerm issue 7986)
    "RetryableErrorDueToAnotherOperation",
    "ReferencedResourceNotProvisioned",
    "ReferencedResourceUpdating",
    "CanceledAndSupersededDueToAnotherOperation",
    "ServerTimeout",
    "GatewayTimeout",
    "ServiceUnavailable",
)
_CAPACITY = _codes(
    # "Troubleshoot allocation failures", and karpenter-provider-azure (pkg/providers/instance).
    "AllocationFailed",
    "ZonalAllocationFailed",
    "OverconstrainedAllocationRequest",
    "OverconstrainedZonalAllocationRequest",
    "SkuNotAvailable",
    "SpotPriceGreaterThanProvidedMaxPrice",
    "Evicted",  # ours, of a VM that ended while it started,
    "Unfinished",  # and of one that did not start
)
_QUOTA = _codes("QuotaExceeded", "ResourceQuotaExceeded", "SubnetIsFull")
# PublicIPCountLimitReached, IPv4StandardSkuPublicIpCountLimitReached, …
_COUNT_LIMIT = re.compile(r"count(limit)?(reached|exceeded)$|limitreached$")
_NOT_FOUND = _codes(
    "NotFound",
    "ResourceNotFound",
    "ResourceGroupNotFound",
    "ParentResourceNotFound",
    "InvalidResourceReference",  # of networks: 400, for what a body refers to
)
_CREDENTIALS = _codes(
    "CredentialUnavailableError",  # of azure-identity
    "ClientAuthenticationError",
    "AuthenticationRequiredError",
    "AuthenticationFailed",  # of ARM: 401
    "AuthenticationFailedMissingToken",
    "AuthenticationFailedInvalidHeader",
    "InvalidAuthenticationToken",
    "InvalidAuthenticationTokenAudience",
    "InvalidAuthenticationTokenTenant",
    "ExpiredAuthenticationToken",
    "LoginFailed",
)
_DENIED = _codes(
    "AuthorizationFailed", "LinkedAuthorizationFailed", "AuthorizationFailedDueToDenyAssignment"
)
_POLICY = _codes("RequestDisallowedByPolicy", "RequestDisallowedByAzure")
_SUBSCRIPTION = _codes("SubscriptionNotFound", "InvalidSubscriptionId", "InvalidSubscription")
_DISABLED = _codes("ReadOnlyDisabledSubscription", "DisabledSubscription", "SubscriptionDisabled")

# "The client 'ME' with object id 'ID' does not have authorization to perform action 'ACTION' over
# scope 'SCOPE' or the scope is invalid."; "… has permission to perform action 'ACTION' on scope
# 'SCOPE'; however, it does not have permission to perform action(s) 'ACTION' on the linked
# scope(s) 'SCOPE' …" (Azure/bicep issue 4995, Azure/azure-cli issue 9505)
_LINKED_ACTION = re.compile(r"does not have permission to perform action(?:\(s\))? '([\w./*]+)'")
_ACTION = re.compile(r"perform action(?:\(s\))? '([\w./*]+)'")
_SCOPE = re.compile(r"(?:over scope|linked scope\(s\)|on scope) '([^']+)'")
_CLIENT = re.compile(r"[Tt]he client '([^']+)'")
_PROVIDER = re.compile(r"namespace '([\w.]+)'")
_QUOTA_TEXT = re.compile(r"\bquota\b", re.I)


class AzureError(RestError):
    """A request to Azure, or an operation that it began, failed.

    ``action`` is the SDK's method, ``"virtual_machines.create_or_update"``, or the HTTP method and
    path of a plain request. ``code`` and ``message`` are ARM's, or the class and text of an error
    of azure-identity, or one of ours for the connection: ConnectionError, ConnectionLost,
    ReadTimeout, SSLError, ProxyError, InvalidResponse. ``status`` is the HTTP status, 0 for none.
    """

    def __init__(
        self,
        action: str,
        code: str,
        message: str,
        *,
        status: int = 0,
        target: str = "",
        details: tuple[AzureError, ...] = (),
        policies: tuple[Mapping[str, Any], ...] = (),
        retry_after: float = 0.0,
        is_response: bool = True,
        is_operation: bool = False,
        clock_skew: float = 0.0,
    ) -> None:
        super().__init__(
            action,
            code,
            message,
            status=status,
            is_response=is_response,
            is_operation=is_operation,
            clock_skew=clock_skew,
        )
        self.target = target
        """What in the request it is about, such as a parameter's name; "" if not said."""
        self.details = details
        """The errors that caused this one."""
        self.policies = policies
        """The policies that are violated: the `info` of ARM's `additionalInfo`."""
        self.retry_after = retry_after
        self.subscription = ""
        """The subscription that was asked for."""

    @property
    def codes(self) -> frozenset[str]:
        """All codes of this error and of its details, in lowercase."""
        return frozenset(each.code.lower() for each in self._all())

    @property
    def is_throttled(self) -> bool:
        """Whether Azure did nothing, because there were too many requests.

        Compute's throttling has the code OperationNotAllowed, too ("Troubleshoot API throttling
        errors"), which with the status 409 is a quota of cores.
        """
        if self.codes & _LATER:
            return False
        return self.status == 429 or bool(self.codes & _THROTTLED)

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed a little later."""
        return super().is_temporary or bool(self.codes & _LATER)

    @property
    def is_capacity(self) -> bool:
        """Whether this location or zone has no such VM now, and another may have one."""
        return bool(self.codes & _CAPACITY)

    @property
    def is_quota(self) -> bool:
        """Whether the subscription, or the subnet, may have no more of these resources."""
        if self.is_throttled or self.is_capacity:
            return False
        if self.codes & _QUOTA or any(_COUNT_LIMIT.search(code) for code in self.codes):
            return True
        return any(
            each.code.lower() == "operationnotallowed" and bool(_QUOTA_TEXT.search(each.message))
            for each in self._all()
        )

    @property
    def is_not_found(self) -> bool:
        """Whether a named resource does not exist, or not yet."""
        if self.is_subscription_unknown:
            return False
        return bool(self.codes & _NOT_FOUND) or self.status == 404

    @property
    def is_group_not_found(self) -> bool:
        """Whether a resource group does not exist, or not yet."""
        return "resourcegroupnotfound" in self.codes

    @property
    def is_conflict(self) -> bool:
        """Whether a resource of this name exists already, where it was to be created only."""
        return self.status == 412

    @property
    def is_unregistered(self) -> bool:
        """Whether the subscription does not use this resource provider yet."""
        return bool(
            self.codes & _codes("MissingSubscriptionRegistration", "SubscriptionNotRegistered")
        )

    @property
    def provider(self) -> str:
        """The resource provider that is not registered, such as ``Microsoft.Compute``."""
        match = _PROVIDER.search(self.message)
        return match[1] if match else ""

    @property
    def is_policy(self) -> bool:
        """Whether a policy of the organization, or of Azure for such subscriptions, forbids it."""
        return bool(self.codes & _POLICY)

    @property
    def is_subscription_unknown(self) -> bool:
        """Whether there is no such subscription, or the caller may not see it."""
        return bool(self.codes & _SUBSCRIPTION)

    @property
    def is_subscription_disabled(self) -> bool:
        """Whether the subscription can only be read: it has ended, or is not paid for."""
        return bool(self.codes & _DISABLED)

    @property
    def is_wrong_tenant(self) -> bool:
        """Whether the credentials are of another tenant than the subscription."""
        return "invalidauthenticationtokentenant" in self.codes

    @property
    def is_denied(self) -> bool:
        """Whether the credentials lack a permission."""
        if self.is_policy or self.is_subscription_unknown or self.is_unregistered:
            return False
        return bool(self.codes & _DENIED)

    @property
    def denied_action(self) -> str:
        """The permission that is missing, as ``Microsoft.Compute/virtualMachines/write``, or ""."""
        match = _LINKED_ACTION.search(self.message) or _ACTION.search(self.message)
        return match[1] if match else ""

    @property
    def denied_scope(self) -> str:
        """Where the permission is missing: the ID of a resource, a group or a subscription."""
        found = _SCOPE.findall(self.message)
        return str(found[-1]) if found else ""

    @property
    def client(self) -> str:
        """Who lacks a permission: a user's name, or a service principal's ID; "" if not said."""
        match = _CLIENT.search(self.message)
        return match[1] if match else ""

    @property
    def is_unauthenticated(self) -> bool:
        """Whether there are no credentials, or Azure rejects them."""
        return self.status == 401 or bool(self.codes & _CREDENTIALS)

    @property
    def is_forbidden(self) -> bool:
        """Whether Azure rejects the caller or the subscription, not the request's parameters."""
        is_subscription = self.is_subscription_unknown or self.is_subscription_disabled
        return self.is_denied or self.is_unauthenticated or self.is_unregistered or is_subscription

    def _all(self) -> Iterator[AzureError]:
        yield self
        for each in self.details:
            yield from each._all()
