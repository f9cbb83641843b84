"""The suite that a backend's author subclasses: its fixture and its settings."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from bigmachine.system import System

from ._clauses import Tier, clause_of, must
from ._config import SuiteConfig
from ._kit import Kit
from ._plugin import budget_of
from .clauses._apart import Apart
from .clauses._cancelling import Cancelling
from .clauses._capabilities import Capabilities
from .clauses._ending import Ending
from .clauses._growth import Growth
from .clauses._identity import Identities
from .clauses._offline import Offline
from .clauses._recovery import Recovery
from .clauses._starting import Starting
from .clauses._surroundings import Surrounded
from .clauses._wire import Wire


class Suite(
    Offline,
    Starting,
    Recovery,
    Surrounded,
    Wire,
    Identities,
    Ending,
    Apart,
    Growth,
    Cancelling,
    Capabilities,
):
    """The conformance tests of one backend.

    Write a subclass whose name begins with ``Test``, and give it the fixture ``system``.
    The rest is optional: what the kit cannot find out by itself. If a test is overridden,
    it must be marked with ``@pytest.mark.xfail(reason=…)``. This waives its clause, and
    the report shows it.
    """

    timeout: ClassVar[float] = 30.0
    """How many seconds anything that must be prompt may take on this backend."""

    payload_bytes: ClassVar[int] = 16 << 20
    """The size of large payloads."""

    cost_per_hour: ClassVar[float] = 1.0
    """The price of a machine per hour, in US dollars, if its `Instance` does not say it.

    Only used if the system ``is_billed``.
    """

    bad_options: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Sets of options, each of which ``setup`` must refuse."""

    refusal: ClassVar[str] = ""
    """Words of the provider's own error when `limited_capacity` has nothing left."""

    @pytest.fixture
    def system(self) -> System:
        """The system under test."""
        raise NotImplementedError("write a fixture `system` that returns the system under test")

    def leftovers(self) -> Iterable[str]:
        """Name everything that exists at the provider now, of all sessions.

        A name that is new after a test is a leak. By default, the kit finds only processes
        of this computer.
        """
        return ()

    def limited_capacity(self, count: int) -> System | None:
        """Create a system that can start ``count`` machines and no more; or return None."""
        return None

    def lost_response(self) -> System | None:
        """Create a system whose provider loses the response to its first create; or return None."""
        return None

    @contextlib.contextmanager
    def foreign_resource(self) -> Iterator[Any]:
        """Create a resource that is not ours; yield a function that tells whether it exists.

        The default yields None: nothing can be created.
        """
        yield None

    @pytest.fixture(scope="class")
    @classmethod
    def _kits(cls) -> Iterator[dict[str, Kit]]:
        kits: dict[str, Kit] = {}
        yield kits
        for kit in kits.values():
            kit.close()

    @pytest.fixture
    def kit(self, _kits: dict[str, Kit], system: System, request: pytest.FixtureRequest) -> Kit:
        """The backend under test, for every test of the suite."""
        if "kit" not in _kits:
            budget = budget_of(request.config)
            budget.is_billed = system.is_billed
            budget.cost_per_hour = self.cost_per_hour
            _kits["kit"] = Kit(self._config(), system, budget)
        return _kits["kit"]

    def _config(self) -> SuiteConfig:
        return SuiteConfig(
            timeout=self.timeout,
            payload_bytes=self.payload_bytes,
            cost_per_hour=self.cost_per_hour,
            bad_options=self.bad_options,
            refusal=self.refusal,
            leftovers=self.leftovers,
            limited_capacity=self.limited_capacity,
            lost_response=self.lost_response,
            foreign_resource=self.foreign_resource,
        )

    @must("WAIVER-1", tier=Tier.OFFLINE)
    async def test_no_test_is_overridden_without_a_reason(self, kit: Kit) -> None:
        overridden = []
        for name in dir(Suite):
            if name.startswith("test_") and getattr(type(self), name) is not getattr(Suite, name):
                marks = getattr(getattr(type(self), name), "pytestmark", [])
                if not any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks):
                    clause = clause_of(Suite, name)
                    overridden.append(f"{name} ({clause.id if clause else 'no clause'})")
        assert not overridden, (
            f"overridden: {', '.join(overridden)}. To waive a clause, mark the test that overrides "
            'its test with @pytest.mark.xfail(reason="…")'
        )
