"""Bad input is refused when a session opens: with the option, a remedy, and nothing created.

What is particular to sizes, images, networks, quotas and policies is tested with each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from bigmachine.errors import BigmachineError, StartError, UsageError
from tests.support.azure.arm import SUBSCRIPTION, Arm
from tests.support.azure.entra import OTHER_TENANT, TENANT

LINES = 8
"""How many lines of 80 columns a message has at most; Azure's own may have ten."""
OTHER = "66666666-6666-4666-8666-666666666666"
NO_SECRET = dict.fromkeys(("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"))
BY_AZ = {**NO_SECRET, "AZURE_TOKEN_CREDENTIALS": "AzureCliCredential"}


@dataclass(frozen=True)
class Bad:
    """One kind of bad input, and parts of what is said of it."""

    id: str
    says: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    arrange: Callable[[Arm], Any] = lambda arm: None
    environ: Mapping[str, str | None] = field(default_factory=dict)
    error: type[BigmachineError] = StartError


BAD = [
    Bad(
        "no credentials",
        ("there are no Azure credentials: install the az command and run `az login`, or set AZ",),
        {"location": ""},  # that is missing, too
        environ={**BY_AZ, "PATH": "/nowhere"},
    ),
    Bad(
        "expired secret",
        ("the secret in AZURE_CLIENT_SECRET has expired: create another with `az ad app cred",),
        arrange=lambda arm: setattr(arm.entra, "is_secret_expired", True),
    ),
    Bad(
        "wrong tenant",
        (f"the credentials are of the tenant {TENANT}, and the subscription", "`az login --tena"),
        arrange=lambda arm: arm.places.tenants.update({SUBSCRIPTION: OTHER_TENANT}),
    ),
    Bad(
        "unknown subscription",
        (f"subscription: Azure has no subscription '{OTHER}', or the credentials may not use it",),
        {"subscription": OTHER},
        error=UsageError,
    ),
    Bad(
        "no default among several subscriptions",
        ("set neither by the option nor by the environment or az, and there are several",),
        arrange=lambda arm: arm.places.tenants.update({OTHER: TENANT}),
        environ={"AZURE_SUBSCRIPTION_ID": None},
        error=UsageError,
    ),
    Bad(
        "unregistered provider",
        ("this subscription does not use Microsoft.Compute yet: register it once",),
        arrange=lambda arm: arm.places.registrations.update({"Microsoft.Compute": "NotRegistered"}),
    ),
    Bad(
        "unknown location",
        ("location: Azure has no location 'westeurop' for this subscription; did you mean 'west",),
        {"location": "westeurop"},
        error=UsageError,
    ),
    Bad(
        "unknown size",
        ("vm_size: ", "Standard_D3s_v5"),
        {"vm_size": "Standard_D3s_v5"},
        error=UsageError,
    ),
    Bad(
        "identity that does not exist",
        ("identity: there is no", "run `bigmachine azure setup -o location=westeurope -o res"),
        {"identity": "mine", "resource_group": "lab"},
        error=UsageError,
    ),
    Bad(
        "missing permission",
        ("lacks the permission Microsoft.Network/virtualNetworks/read on /sub", "have a role gra"),
        arrange=lambda arm: (
            arm.groups.add(f"bigmachine-{arm.location}"),
            arm.access.denied.add("Microsoft.Network/virtualNetworks/read"),
        ),
    ),
    Bad(
        "reserved tag",
        ("tags: must not set 'azure-team': Azure reserves the prefixes azure, microsoft and wind",),
        {"tags": ["azure-team=ml"]},
        error=UsageError,
    ),
]


@pytest.mark.usefixtures("consistent")
@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.id)
def test_bad_input_is_refused_before_anything_is_created(arm, run, monkeypatch, bad):
    for name, value in bad.environ.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    bad.arrange(arm)

    async def test(kit):
        with pytest.raises(bad.error) as caught:
            await kit.setup()
        return str(caught.value)

    text = run(test, **bad.options)
    assert [part for part in bad.says if part not in text] == []
    assert "\n" not in text
    assert len(text) <= LINES * 80, len(text)
    assert [call.method for call in arm.asked if call.verb != "GET"] == []
