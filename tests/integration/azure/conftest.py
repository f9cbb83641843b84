from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.azure.entra import RESOURCE
from tests.support.azure.fixtures import arm as arm
from tests.support.azure.fixtures import consistent as consistent
from tests.support.azure.fixtures import run as run
from tests.support.azure.fixtures import served_arm as served_arm


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
