"""Clauses: each test cites the clause of the contract that it proves."""

from __future__ import annotations

import enum
import functools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from bigmachine.system import Capability

CONTRACT = 3
"""The version of the contract. It grows if clauses demand more, or public names change."""


class Level(enum.StrEnum):
    """How binding a clause is, in the words of RFC 2119."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Tier(enum.StrEnum):
    """How far a run goes; each tier includes the ones before it."""

    OFFLINE = "offline"
    """No machine is started."""
    LOCAL = "local"
    """Only machines that cost nothing are started."""
    LIVE = "live"
    """Machines that cost money are started, too."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause of the contract, as a test cites it.

    ``tier`` is ``OFFLINE``, or ``LOCAL`` if the test needs machines: ``LIVE`` if these are
    billed. ``needs`` is the capability without which the clause does not apply.
    """

    id: str
    level: Level
    tier: Tier
    needs: Capability | None


class Runner(Protocol):
    """What runs tests: the part of the `Kit` that this module needs."""

    def run(self, clause: Clause, test: Callable[[], Awaitable[None]]) -> None:
        """Run one test, if its clause applies."""


# A test before and after it is decorated. Arguments beyond the kit are fixtures.
Test = Callable[..., Coroutine[Any, Any, None]]
Decorated = Callable[..., None]


def must(
    id: str, *, tier: Tier = Tier.LOCAL, needs: Capability | None = None
) -> Callable[[Test], Decorated]:
    """Turn an ``async def`` method that takes a `Kit` into a test that cites a clause."""
    return _citing(Clause(id, Level.MUST, tier, needs))


def should(
    id: str, *, tier: Tier = Tier.LOCAL, needs: Capability | None = None
) -> Callable[[Test], Decorated]:
    """Like `must`; such a clause may be waived, with a reason."""
    return _citing(Clause(id, Level.SHOULD, tier, needs))


def may(
    id: str, *, tier: Tier = Tier.LOCAL, needs: Capability | None = None
) -> Callable[[Test], Decorated]:
    """Like `must`, for what a backend may do: if it does it, then in this way."""
    return _citing(Clause(id, Level.MAY, tier, needs))


def clause_of(suite: type, name: str) -> Clause | None:
    """Return the clause that the suite's test ``name`` cites, even if the test is overridden."""
    for cls in suite.__mro__:
        clause = getattr(vars(cls).get(name), "clause", None)
        if isinstance(clause, Clause):
            return clause
    return None


def _citing(clause: Clause) -> Callable[[Test], Decorated]:
    def decorate(test: Test) -> Decorated:
        @functools.wraps(test)
        def run(self: object, kit: Runner, **fixtures: object) -> None:
            kit.run(clause, functools.partial(test, self, kit, **fixtures))

        run.clause = clause  # type: ignore[attr-defined]
        return run

    return decorate
