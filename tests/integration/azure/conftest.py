from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from tests.support.azure.fixtures import Kit
from tests.support.azure.fixtures import arm as arm
from tests.support.azure.fixtures import consistent as consistent
from tests.support.azure.fixtures import run as run
from tests.support.azure.fixtures import served_arm as served_arm


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is about how long Azure makes us wait, and nobody else uses this subscription."""
    monkeypatch.setattr("bigmachine.cloud._backoff._FIRST_DELAY", 0.02)
    monkeypatch.setattr("bigmachine.cloud._backoff._FIRST_POLL", 0.02)
    monkeypatch.setattr("bigmachine_azure._api._READ_RATE", 1000.0)
    monkeypatch.setattr("bigmachine_azure._api._WRITE_RATE", 1000.0)


@pytest.fixture
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are repeated at once, for tests that count them."""
    monkeypatch.setattr("random.uniform", lambda low, high: 0.0)


@pytest.fixture
def use(arm: Any, consistent: None) -> Callable[..., Any]:
    """Run a test with the API of a kit."""

    def use(test: Callable[[Any], Awaitable[Any]], **options: Any) -> Any:
        async def main() -> Any:
            api = Kit(arm, **options).api
            try:
                with trio.fail_after(60):
                    return await test(api)
            finally:
                await api.close()

        return trio.run(main)

    return use
