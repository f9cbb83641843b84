from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import trio

from tests.support.azure.entra import RESOURCE
from tests.support.azure.fixtures import Kit
from tests.support.azure.fixtures import arm as arm
from tests.support.azure.fixtures import azure_box as azure_box
from tests.support.azure.fixtures import boxed_arm as boxed_arm
from tests.support.azure.fixtures import consistent as consistent
from tests.support.azure.fixtures import run as run
from tests.support.azure.fixtures import served_arm as served_arm


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is about how long Azure makes us wait, and nobody else uses this subscription."""
    monkeypatch.setattr("bigmachine.cloud._backoff._FIRST_DELAY", 0.02)
    monkeypatch.setattr("bigmachine.cloud._backoff._FIRST_POLL", 0.02)
    monkeypatch.setattr("bigmachine_azure._vms._NEW_SECONDS", 2.0)  # that a VM may be hidden
    monkeypatch.setattr("bigmachine_azure._vms._LISTED_SECONDS", 2.0)
    monkeypatch.setattr("bigmachine_azure._api._READ_RATE", 1000.0)
    monkeypatch.setattr("bigmachine_azure._api._WRITE_RATE", 1000.0)
    monkeypatch.setattr("tests.support.azure.interfaces.RESERVED_SECONDS", 0.3)


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


@pytest.fixture
def client(arm: Any) -> Iterator[Callable[..., Any]]:
    """Return a client of Azure's SDK, by its class."""
    from azure.identity import DefaultAzureCredential

    made: dict[type, Any] = {}
    credential = DefaultAzureCredential(disable_instance_discovery=True)

    def client(kind: type, *args: str) -> Any:
        if kind not in made:
            made[kind] = kind(
                credential,
                *args,
                base_url=arm.url,
                credential_scopes=[f"{RESOURCE}/.default"],
                retry_total=0,
            )
        return made[kind]

    yield client
    for of in made.values():
        of.close()
    credential.close()
