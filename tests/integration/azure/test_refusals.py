"""Each refusal of Azure becomes an error that says what to do next."""

from __future__ import annotations

import pytest
import trio

from bigmachine.errors import StartError, UsageError
from bigmachine_azure import AzureOptions
from bigmachine_azure.api._advice import explain
from bigmachine_azure.api._api import Api
from bigmachine_azure.api._errors import AzureError
from tests.support.azure import first_use as r
from tests.support.azure.arm import LOCATION
from tests.support.azure.entra import CLIENT

CASES = [
    (r.SPENDING_LIMIT, StartError, "is disabled, because it has ended or is not paid for"),
    (r.WRONG_TENANT, StartError, "the credentials are of the tenant 2222.*: run `az login"),
    (r.NO_SUBSCRIPTION, UsageError, "subscription: Azure has no subscription '5555"),
    (r.UNREGISTERED, StartError, "az provider register --namespace Microsoft.Network --wait"),
    (
        r.NO_RIGHT,
        StartError,
        f"'{CLIENT}' lacks the permission Microsoft.Compute/virtualMachines/write on /subscr",
    ),
    (r.NO_JOIN, StartError, "Microsoft.Network/virtualNetworks/subnets/join/action on /subsc"),
    (r.STUDENT_LOCATION, StartError, "location: Azure does not allow it to this kind of subsc"),
    (r.POLICY, StartError, "forbids it: 'LTIM - Network interfaces should not have public IPs"),
    (r.SIZE_RESTRICTED, StartError, "no such VMs just now: try again later, or name more VM"),
    (r.SIZE_FULL, StartError, "no such VMs just now"),
    (r.NO_ROOM, StartError, "no such VMs just now"),
    (r.CORES, StartError, "Total Regional Cores in eastus, 10, of which 10 are in use"),
    (r.CORES_BY_NEW_CODE, StartError, "Total Regional Cores in westus, 100, of which 56"),
    (r.SPOT_CORES, StartError, "LowPriorityCores in westus2, 0, of which 0 are in use"),
    (r.ADDRESSES, StartError, "or pass public_address=False"),
    (r.NO_SPOT, UsageError, "market: .*pass market='on-demand'"),
    (r.TERMS, UsageError, "az vm image terms accept --urn URN"),
    (r.NO_PLAN, UsageError, "az vm image terms accept --urn URN"),
    (r.NO_IMAGE, UsageError, "image: Azure rejects it"),
    (r.GENERATION, UsageError, "image: Azure rejects it"),
    (r.CONTROLLER, UsageError, "vm_size: Azure rejects it"),
    (r.ARCHITECTURE, UsageError, "image: Azure rejects it"),
    (r.SMALL_DISK, UsageError, "disk: Azure rejects it: set it to the size that the image nee"),
    (r.LOCK, StartError, "a lock forbids the change: have it removed"),
    (r.UNREADY_GUEST, StartError, "did not finish in the allotted time"),
]
NAMES = {id(value): name for name, value in vars(r).items() if isinstance(value, r.Refusal)}


def errors_of(arm, refusals, monkeypatch):
    """Return the errors that refusals of the tests' Azure become, through Azure's SDK."""

    async def main():
        api = Api(AzureOptions(endpoint_url=arm.url, resource_group="ours"))
        try:
            return [await error_of(api, refusal) for refusal in refusals]
        finally:
            await api.close()

    async def error_of(api, refusal):
        def fail(document):
            arm.resources.remove(document["id"])
            raise refusal.error

        with monkeypatch.context() as patch:
            if refusal.is_late:
                patch.setattr(arm.security_groups, "finish", fail)
            else:
                arm.refuse("network_security_groups.create_or_update", refusal.error)
            with pytest.raises(AzureError) as caught:
                await api.change_and_wait(
                    "network_security_groups.create_or_update",
                    network_security_group_name="new",
                    parameters={"location": LOCATION, "properties": {}},
                )
        return caught.value

    arm.groups.add("ours")
    return trio.run(main)


def test_refusal_says_what_to_do_next(arm, consistent, monkeypatch):
    errors = errors_of(arm, [refusal for refusal, _, _ in CASES], monkeypatch)
    for error, (refusal, kind, says) in zip(errors, CASES, strict=True):
        name, explained = NAMES[id(refusal)], explain(error)
        assert (name, type(explained)) == (name, kind)
        for part in says.split(".*"):
            assert part in str(explained), name
        answer = f"Azure answered {error.code}: {refusal.error.message[:40]}"
        assert answer in str(explained), name
        assert (name, error.is_outcome_unknown, error.is_temporary) == (name, False, False)
