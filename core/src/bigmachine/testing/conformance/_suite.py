"""The suite that a backend's author subclasses: its fixture, and what else he may say."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import pytest

from bigmachine.system import System

from ._clauses import Tier, clause_of, must
from ._kit import Kit
from ._plugin import meter_of
from .clauses._cancelling import Cancelling
from .clauses._capabilities import Capabilities
from .clauses._ending import Ending
from .clauses._identity import Identities
from .clauses._offline import Offline
from .clauses._starting import Starting
from .clauses._wire import Wire


class Suite(Offline, Starting, Wire, Identities, Ending, Cancelling, Capabilities):
    """The conformance tests of one backend.

    Subclass it under a name that begins with ``Test`` and give it the fixture
    ``system``. The rest is optional: what the kit can't find out by itself. A test may be
    overridden only with ``@pytest.mark.xfail(reason=…)``: that waives its clause, and
    the report says so.
    """

    timeout: ClassVar[float] = 30.0
    """How long anything that should be prompt may take on this backend, in seconds."""

    payload_bytes: ClassVar[int] = 16 << 20
    """How large the large payloads are."""

    cost_per_hour: ClassVar[float] = 1.0
    """What a machine costs an hour where its `Instance` doesn't say, in US dollars.

    Only of interest to a system that ``is_billed``.
    """

    bad_options: ClassVar[Sequence[Mapping[str, Any]]] = ()
    """Sets of options that ``setup`` must refuse."""

    @pytest.fixture
    def system(self) -> System:
        """The system under test."""
        raise NotImplementedError("write a fixture `system` that returns the system under test")

    def leftovers(self) -> Iterable[str]:
        """Name everything that exists now at the provider, of whatever session.

        What is there after a test and was not there before it has been leaked. The
        default finds processes of this computer only.
        """
        return ()

    def limited_capacity(self, count: int) -> System | None:
        """Make a system that can start ``count`` machines and not one more; None if it can't be."""
        return None

    def lost_response(self) -> System | None:
        """Make a system whose provider makes a machine but loses its first answer; or None."""
        return None

    @contextlib.contextmanager
    def foreign_resource(self) -> Iterator[Any]:
        """Make something at the provider that isn't ours; give a function that tells if it lives.

        The default gives None: nothing can be made.
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
        """What every test of the suite gets."""
        if "kit" not in _kits:
            meter = meter_of(request.config)
            meter.is_billed = system.is_billed
            meter.cost_per_hour = self.cost_per_hour
            _kits["kit"] = Kit(self, system, meter)
        return _kits["kit"]

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
            f"overridden: {', '.join(overridden)}; a clause is waived by overriding its test "
            'with @pytest.mark.xfail(reason="…"), and in no other way'
        )
