"""What `System.check` returns: a provider's answers to the requests that sessions make."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """What a provider's answer to one request means for a session."""

    OK = "ok"
    """It would succeed."""
    DENIED = "denied"
    """The credentials lack the permission."""
    REFUSED = "refused"
    """The provider refuses it for another reason."""
    UNKNOWN = "unknown"
    """The provider can't say yet."""


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """One kind of request, and the provider's answer; or, with the name "setup", that of a setup.

    ``detail`` is what the provider said, or what follows from it. If it ``is_needed``, sessions
    fail where it is denied or refused; otherwise they only lack something.
    """

    name: str
    verdict: Verdict
    detail: str = ""
    is_needed: bool = True

    @property
    def fails(self) -> bool:
        """Whether sessions fail because of this answer."""
        return self.is_needed and self.verdict in (Verdict.DENIED, Verdict.REFUSED)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All answers; ``advice`` says what to change so that denied requests are permitted."""

    requests: Sequence[CheckedRequest]
    advice: str = ""
