"""What `System.check` returns: a provider's answers to the requests that sessions make."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

_SETUP = "setup"  # no provider has a request of this name


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
    """One kind of request, and the provider's answer; or, `of_setup`, that to a whole setup.

    ``detail`` is what the provider said, or what follows from it. If it ``is_needed``, sessions
    fail where it is denied or refused; otherwise they only lack something.
    """

    name: str
    verdict: Verdict
    detail: str = ""
    is_needed: bool = True

    @classmethod
    def of_setup(cls, verdict: Verdict, detail: str = "") -> CheckedRequest:
        """Return the answer to what a session does when it opens, of whatever requests."""
        return cls(_SETUP, verdict, detail)

    @property
    def is_setup(self) -> bool:
        """Whether it is the answer to a whole setup, made by `of_setup`."""
        return self.name == _SETUP

    @property
    def fails(self) -> bool:
        """Whether sessions fail because of this answer."""
        return self.is_needed and self.verdict in (Verdict.DENIED, Verdict.REFUSED)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All answers; ``advice`` says what to change so that denied requests are permitted."""

    requests: Sequence[CheckedRequest]
    advice: str = ""
