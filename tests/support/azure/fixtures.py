"""Azure for tests, served once for all of a process; a ``conftest.py`` imports it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.azure import box
from tests.support.azure.arm import LOCATION, Arm
from tests.support.azure.box import AzureBox, azure_in_a_box
from tests.support.azure.entra import CLIENT, SECRET, TENANT
from tests.support.cloudbox import why_no_drivers
from tests.support.kits import CloudKit, run_with

SIZE = "Standard_D2s_v5"
"""A size that is offered in all locations."""

Run = Callable[..., Any]


def own_identity(arm: Arm) -> str:
    """Return the ID of an identity of the user's that may delete VMs, made if need be."""
    from bigmachine_azure._setup import ACTIONS

    if "identities" not in arm.groups.all:
        arm.groups.add("identities")
        identity = arm.identities.add("machines", group="identities")
        scope = f"/subscriptions/{arm.subscription}"
        arm.roles.grant(identity["properties"]["principalId"], ACTIONS, scope=scope)
    return arm.id_in("identities", arm.identities.type, "machines")


class Kit(CloudKit):
    """An ``azure`` system, and what a session asks of it."""

    def __init__(self, arm: Arm, **options: Any) -> None:
        from bigmachine_azure import AzureSystem

        given = {
            "endpoint_url": arm.url,
            "location": LOCATION,
            "vm_size": SIZE,
            "allow": ["192.0.2.7/32"],
            **options,
        }
        super().__init__(AzureSystem, arm, given)

    @property
    def api(self) -> Any:
        """A connection of its own to the API; it is for the test to open and close."""
        from bigmachine_azure.api._api import Api

        return Api(self.options)


async def error_of(call: Awaitable[Any]) -> Any:
    """Return the error of a call of `Api`, which must fail."""
    from bigmachine_azure.api._errors import AzureError

    with pytest.raises(AzureError) as caught:
        await call
    return caught.value


_SERVED = pytest.StashKey[Arm]()


@pytest.fixture(scope="session")
def served_arm(pytestconfig: pytest.Config) -> Arm:
    """The Azure of all tests of this process, whichever ``conftest.py`` they have."""
    if _SERVED not in pytestconfig.stash:
        with contextlib.ExitStack() as stack:
            arm = stack.enter_context(Arm().serving())
            pytestconfig.add_cleanup(stack.pop_all().close)
        pytestconfig.stash[_SERVED] = arm
    return pytestconfig.stash[_SERVED]


def environ(arm: Arm, folder: Path) -> dict[str, str]:
    """Return the variables with which programs use ``arm``, with the driver's client secret.

    Azure's SDK trusts only what ``REQUESTS_CA_BUNDLE`` has; ``folder`` is for files. Machines have
    the identity `own_identity`.
    """
    authority = folder / "azure-ca.pem"
    authority.write_text(arm.certificate)
    return {
        "AZURE_AUTHORITY_HOST": arm.url,
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": SECRET,
        "AZURE_SUBSCRIPTION_ID": arm.subscription,
        "AZURE_CONFIG_DIR": str(folder / "azure"),  # there is none
        "REQUESTS_CA_BUNDLE": str(authority),
        "SSL_CERT_FILE": str(authority),
        "BIGMACHINE_AZURE_IDENTITY": own_identity(arm),
    }


@pytest.fixture
def arm(served_arm: Arm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Arm]:
    """Azure, with the client secret of a service principal; a test that leaves anything fails.

    So does one that sent what Azure would refuse: `REFUSED` has it.
    """
    prefixes = ("AZURE_", "ARM_", "BIGMACHINE_", "IDENTITY_", "MSI_")
    for name in [name for name in os.environ if name.startswith(prefixes)]:
        monkeypatch.delenv(name)
    served_arm.reset()
    for name, value in environ(served_arm, tmp_path).items():
        monkeypatch.setenv(name, value)
    yield served_arm
    served_arm.release()
    left = served_arm.leftovers()
    served_arm.reset()
    assert left == [], left  # a module of helpers is not rewritten by pytest


@pytest.fixture
def consistent(arm: Arm) -> None:
    """Azure finds what is new at once, where a test counts requests."""
    arm.chance.probability = 0.0


@pytest.fixture
def run(arm: Arm) -> Run:
    """Run an async test with a `Kit`, made with the options given, and shut its system down."""

    def run(test: Callable[[Kit], Awaitable[Any]], **options: Any) -> Any:
        return run_with(lambda: Kit(arm, **options), test)

    return run


@pytest.fixture(scope="module")  # others' virtual machines are not to boot
def boxed_arm(served_arm: Arm) -> Iterator[AzureBox]:
    if reason := why_no_drivers():
        pytest.skip(reason)
    with azure_in_a_box(served_arm) as boxed:
        yield boxed


@pytest.fixture
def azure_box(boxed_arm: AzureBox, arm: Arm, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureBox]:
    """Azure in a box, for drivers of this process and its children; nothing may be left."""
    boxed_arm.arrange()
    for name, value in box.environ(arm).items():
        monkeypatch.setenv(name, value)
    yield boxed_arm
    running = boxed_arm.running()
    boxed_arm.clear()
    assert running == []
