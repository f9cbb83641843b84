from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.gcp.fixtures import boxed_gce as boxed_gce
from tests.support.gcp.fixtures import consistent as consistent
from tests.support.gcp.fixtures import gce as gce
from tests.support.gcp.fixtures import gce_box as gce_box
from tests.support.gcp.fixtures import run as run
from tests.support.gcp.fixtures import served_gce as served_gce


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is about how long Google makes us wait, and nobody else uses this project."""
    monkeypatch.setattr("bigmachine.cloud.requests._backoff._FIRST_DELAY", 0.02)
    monkeypatch.setattr("bigmachine.cloud.requests._backoff._FIRST_POLL", 0.02)
    monkeypatch.setattr("bigmachine_gcp.api._api._READ_RATE", 1000.0)
    monkeypatch.setattr("bigmachine_gcp.api._api._WRITE_RATE", 1000.0)


@pytest.fixture
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are repeated at once, for tests that count them."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)


@pytest.fixture
def use(run: Any, consistent: None) -> Callable[..., Any]:
    """Run a test with the API of a kit."""

    def use(test: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
        async def main(kit: Any) -> Any:
            api = kit.api
            try:
                return await test(api)
            finally:
                await api.close()

        return run(main, **options)

    return use
