"""Compute Engine for tests, served once for all of a process; a ``conftest.py`` imports it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloudbox import why_no_drivers
from tests.support.gcp.box import GceBox, environ, gce_in_a_box
from tests.support.gcp.gce import ZONE, Gce
from tests.support.kits import CloudKit, run_with

TYPE = "n2-standard-2"
"""A machine type that is offered in all zones."""

Run = Callable[..., Any]


class Kit(CloudKit):
    """A ``gcp`` system, and what a session asks of it."""

    def __init__(self, gce: Gce, **options: Any) -> None:
        from bigmachine_gcp import GcpSystem

        given = {
            "endpoint_url": gce.url,
            "machine_type": TYPE,
            "zones": [ZONE],
            "allow": ["192.0.2.7/32"],
            **options,
        }
        super().__init__(GcpSystem, gce, given)

    @property
    def api(self) -> Any:
        """A connection of its own to the API; it is for the test to open and close."""
        from bigmachine_gcp.api._api import Api

        return Api(self.options)


async def error_of(call: Awaitable[Any]) -> Any:
    """Return the error of a call of `Api`, which must fail."""
    from bigmachine_gcp.api._errors import GcpError

    with pytest.raises(GcpError) as caught:
        await call
    return caught.value


_SERVED = pytest.StashKey[Gce]()


@pytest.fixture(scope="session")
def served_gce(pytestconfig: pytest.Config) -> Gce:
    """The Compute Engine of all tests of this process, whichever ``conftest.py`` they have."""
    if _SERVED not in pytestconfig.stash:
        with contextlib.ExitStack() as stack:
            gce = stack.enter_context(Gce().serving())
            pytestconfig.add_cleanup(stack.pop_all().close)
        pytestconfig.stash[_SERVED] = gce
    return pytestconfig.stash[_SERVED]


@pytest.fixture
def gce(served_gce: Gce, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gce]:
    """Compute Engine, with the key of a made-up service account; a test that leaves anything fails.

    So does one that sent what Google would refuse: `REFUSED` has it.
    """
    prefixes = ("GOOGLE_", "CLOUDSDK_", "GCE_", "BIGMACHINE_", "GCLOUD_")
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        monkeypatch.delenv(name)
    served_gce.reset()
    key = served_gce.oauth.write_key(tmp_path / "gcp-key.json", served_gce.url)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))  # there is none
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    yield served_gce
    served_gce.release()
    left = served_gce.leftovers()
    served_gce.reset()
    assert left == []


@pytest.fixture
def consistent(gce: Gce) -> None:
    """Compute Engine finds what is new at once, where a test counts requests."""
    gce.chance.probability = 0.0


@pytest.fixture(scope="module")  # others' instances are not to boot
def boxed_gce(served_gce: Gce) -> Iterator[GceBox]:
    if reason := why_no_drivers():
        pytest.skip(reason)
    with gce_in_a_box(served_gce) as box:
        yield box


@pytest.fixture
def gce_box(boxed_gce: GceBox, gce: Gce, monkeypatch: pytest.MonkeyPatch) -> Iterator[GceBox]:
    """GCE in a box, for drivers of this process and its children; nothing may be left."""
    for name, value in environ(gce).items():
        monkeypatch.setenv(name, value)
    yield boxed_gce
    running = boxed_gce.running()
    boxed_gce.clear()
    assert running == []


@pytest.fixture
def run(gce: Gce) -> Run:
    """Run an async test with a `Kit`, made with the options given, and shut its system down."""

    def run(test: Callable[[Kit], Awaitable[Any]], **options: Any) -> Any:
        return run_with(lambda: Kit(gce, **options), test)

    return run
