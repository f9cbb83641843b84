"""Errors of a provider's REST API, and of the way to it."""

from __future__ import annotations

from ._cloud_error import CloudError

# Google's and Azure's APIs say nothing of whether such a request was carried out.
_UNKNOWN_STATUS = frozenset({408, 500, 502, 503, 504})
_UNKNOWN_OUTCOME = frozenset({"ConnectionLost", "InvalidResponse", "ReadTimeout"})
_UNREACHABLE = frozenset({"ConnectionError", "ProxyError", "SSLError"})


class RestError(CloudError):
    """A request to a REST API, or an operation that it began, failed.

    ``status`` is the HTTP status, 0 for none. ``code`` is the provider's, or one of these for the
    connection: ConnectionError, ProxyError, SSLError, for a request that was not sent;
    ConnectionLost, ReadTimeout, InvalidResponse.
    """

    def __init__(
        self,
        action: str,
        code: str,
        message: str,
        *,
        status: int = 0,
        is_response: bool = True,
        is_operation: bool = False,
        clock_skew: float = 0.0,
    ) -> None:
        super().__init__(action, code, message)
        self.status = status
        self.is_response = is_response
        """Whether the provider answered."""
        self.is_operation = is_operation
        """Whether the provider accepted the request, and its operation failed."""
        self.clock_skew = clock_skew
        """How many seconds this computer's clock was ahead of the provider's."""

    @property
    def leaves_outcome_unknown(self) -> bool:
        """Whether this attempt alone may have been carried out."""
        if self.is_operation or self.is_throttled or self.is_capacity:
            return False
        return self.code in _UNKNOWN_OUTCOME or self.status in _UNKNOWN_STATUS

    @property
    def is_unreachable(self) -> bool:
        """Whether the provider could not be reached: the request was not sent."""
        return self.code in _UNREACHABLE
