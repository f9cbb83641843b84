from __future__ import annotations

import importlib
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
    monkeypatch.setattr("bigmachine.cloud.requests._backoff._FIRST_DELAY", 0.02)
    monkeypatch.setattr("bigmachine.cloud.requests._backoff._FIRST_POLL", 0.02)
    # A new VM may be hidden.
    monkeypatch.setattr("bigmachine_azure.resources._vms._NEW_SECONDS", 2.0)
    monkeypatch.setattr("bigmachine_azure.resources._vms._LISTED_SECONDS", 2.0)
    monkeypatch.setattr("bigmachine_azure.api._api._READ_RATE", 1000.0)
    monkeypatch.setattr("bigmachine_azure.api._api._WRITE_RATE", 1000.0)
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


_CLIENTS = {
    "compute": "azure.mgmt.compute.ComputeManagementClient",
    "network": "azure.mgmt.network.NetworkManagementClient",
    "resources": "azure.mgmt.resource.resources.ResourceManagementClient",
    "subscriptions": "azure.mgmt.resource.subscriptions.SubscriptionClient",
}


@pytest.fixture
def client(arm: Any) -> Iterator[Callable[[str], Any]]:
    """Return a client of Azure's SDK, by its name in `_CLIENTS`.

    The SDK takes seconds to import, so that only those import it that run such a test.
    """
    from azure.identity import DefaultAzureCredential

    made: dict[str, Any] = {}
    credential = DefaultAzureCredential(disable_instance_discovery=True)

    def client(name: str) -> Any:
        if name not in made:
            module, _, kind = _CLIENTS[name].rpartition(".")
            made[name] = getattr(importlib.import_module(module), kind)(
                credential,
                *([] if name == "subscriptions" else [arm.subscription]),
                base_url=arm.url,
                credential_scopes=[f"{RESOURCE}/.default"],
                retry_total=0,
            )
        return made[name]

    yield client
    for of in made.values():
        of.close()
    credential.close()
