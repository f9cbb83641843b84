"""The suites of the reference backends and of the broken backends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import pytest

from bigmachine.system import System
from bigmachine.testing.conformance import Suite
from bigmachine_local import LocalSystem
from tests.conformance.broken import load_all
from tests.conformance.cloud import ACCOUNT, CloudSystem, leftovers

TIMEOUT = 5.0  # of a broken backend: a clause that hangs takes that long, or twice as long
PAYLOAD_BYTES = 6 << 20  # large enough to be cut into pieces
RUNS_IN_DRIVER = "its machines run in the driver's process, which owns their child processes"


class InProcessSuite(Suite):
    """For machines that run in the driver's process: clauses on their processes are waived."""

    @pytest.mark.xfail(reason=RUNS_IN_DRIVER, run=False)
    def test_child_processes_end_with_their_machine(self, kit):
        super().test_child_processes_end_with_their_machine(kit)

    @pytest.mark.xfail(reason=RUNS_IN_DRIVER, run=False)
    def test_child_processes_are_gone_after_driver_is_killed(self, kit):
        super().test_child_processes_are_gone_after_driver_is_killed(kit)


class CloudSuite(InProcessSuite):
    bad_options = ({"maxprocs": 0}, {"zone": "nowhere"}, {"rpc_timeout": -1.0})
    refusal = "InsufficientCapacity"
    system_class: type[System] = CloudSystem
    options: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def system(self) -> System:
        return self._made()

    def _made(self, **options: Any) -> System:
        return self.system_class(self.system_class.Options(**self.options, **options))

    def leftovers(self) -> Iterable[str]:
        return leftovers()

    def limited_capacity(self, count: int) -> System:
        ACCOUNT.capacity["tiny"] = count
        return self._made(zone="tiny")

    def lost_response(self) -> System:
        ACCOUNT.lost_responses = 1
        return self._made()

    @contextlib.contextmanager
    def foreign_resource(self) -> Iterator[Callable[[], bool]]:
        theirs = [ACCOUNT.add(kind, tags={"owner": "billing"}) for kind in ("vm", "disk")]
        try:
            yield lambda: all(resource.id in ACCOUNT.resources for resource in theirs)
        finally:
            for resource in theirs:
                ACCOUNT.resources.pop(resource.id, None)


class LocalSuite(Suite):
    bad_options = ({"maxprocs": 0}, {"host": ""}, {"port": -1}, {"port": 65536})
    system_class: type[System] = LocalSystem
    options: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def system(self) -> System:
        return self.system_class(self.system_class.Options(**self.options))


class Trusting(Suite):
    """Takes for granted that machines start, before each test: a run of single tests is quicker."""

    @pytest.fixture(autouse=True)
    def _trust(self, kit):
        kit._are_basics_proven = True


def suite_of(name: str, *, timeout: float = TIMEOUT, is_whole: bool = True) -> type[Suite]:
    """Return the suite of a broken backend; ``is_whole`` if all its tests are run."""
    fault = load_all()[name]
    cls = fault.load()
    if issubclass(cls, Suite):
        return type(f"Test{name}", (cls,), {})
    base = CloudSuite if issubclass(cls, CloudSystem) else LocalSuite
    settings = {
        "timeout": fault.timeout or timeout,
        "payload_bytes": PAYLOAD_BYTES,
        "system_class": cls,
        "options": fault.options,
    }
    bases = (base,) if is_whole else (base, Trusting)
    return type(f"Test{name}", bases, settings)
