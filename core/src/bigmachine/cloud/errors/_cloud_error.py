"""The base of a provider's errors, classified by what can be done about them."""

from __future__ import annotations

from ...errors import BigmachineError, sanitize


class CloudError(BigmachineError):
    """A request to a provider failed. ``code`` and ``message`` are the provider's own.

    ``action`` is what was requested, as the provider's permissions name it: `ec2:RunInstances`,
    `compute.instances.create`. A backend's subclass says of what kind the error is, by overriding
    properties: each is false here, unless it follows from others. Users don't get this error: the
    backend raises another one from it that tells them what to do.
    """

    def __init__(self, action: str, code: str, message: str) -> None:
        super().__init__(action, code, message)  # kept as `args`, so that it can be pickled
        self.action = action
        self.code = code
        self.message = message
        self._is_outcome_unknown: bool | None = None
        self.retry_after = 0.0
        """How many seconds the provider wants to pass before the next attempt; 0 for no wish."""

    def __str__(self) -> str:
        return sanitize(": ".join(str(part) for part in self.args if part))

    @property
    def is_throttled(self) -> bool:
        """Whether the provider did nothing, because there were too many requests."""
        return False

    @property
    def is_unreachable(self) -> bool:
        """Whether the provider could not be reached: the request was not sent."""
        return False

    @property
    def leaves_outcome_unknown(self) -> bool:
        """Whether this attempt alone may have been carried out."""
        return False

    @property
    def is_outcome_unknown(self) -> bool:
        """Whether this request, or an earlier attempt, may have been carried out; can be set."""
        if self._is_outcome_unknown is None:
            return self.leaves_outcome_unknown
        return self._is_outcome_unknown

    @is_outcome_unknown.setter
    def is_outcome_unknown(self, value: bool) -> None:
        self._is_outcome_unknown = value

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed a little later: what an earlier one did is no sign.

        One that is denied is denied again, also if the response to the first was lost.
        """
        return self.is_throttled or self.is_unreachable or self.leaves_outcome_unknown

    @property
    def is_capacity(self) -> bool:
        """Whether this zone has no such instance, and another zone may have one."""
        return False

    @property
    def is_quota(self) -> bool:
        """Whether the account may have no more of these resources."""
        return False

    @property
    def is_shortage(self) -> bool:
        """Whether there is no room for the instances: at the provider, or within the quotas."""
        return self.is_capacity or self.is_quota

    @property
    def is_not_found(self) -> bool:
        """Whether a named resource does not exist, or not yet."""
        return False

    @property
    def is_denied(self) -> bool:
        """Whether the credentials lack a permission."""
        return False

    @property
    def is_forbidden(self) -> bool:
        """Whether the provider rejects the caller, not the request's parameters."""
        return self.is_denied
