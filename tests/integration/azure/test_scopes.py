"""What an error of Azure rules out: a size in a zone, a zone, a size, a market, or all."""

from __future__ import annotations

import pytest

from bigmachine_azure.api._error_parsing import error_of_operation, error_of_response
from bigmachine_azure.api._errors import AzureError
from bigmachine_azure.launch._scope import scope_of

QUOTA = (
    "Operation could not be completed as it results in exceeding approved {} quota. Additional "
    "details - Deployment Model: Resource Manager, Location: westeurope, Current Limit: {}, "
    "Current Usage: {}, Additional Required: 4, (Minimum) New Limit Required: 12. Submit a request "
    "for Quota increase at https://aka.ms/ProdportalCRP/"
)
FAMILY, REGIONAL, SPOT = "standardDSv5Family Cores", "Total Regional Cores", "LowPriorityCores"
NO_BOOT = "The selected VM size 'Standard_D2_v2' cannot boot Hypervisor Generation '2'."
NO_NVME = "The VM size 'Standard_D8s_v6' cannot boot with OS image or disk."
MANY_DISKS = "The maximum number of data disks allowed to be attached to a VM of this size is 4."
NO_ZONE = "The zone(s) '2' for resource 'x' is not supported. The supported zones … are '1,3'."


@pytest.mark.parametrize(
    ("code", "message", "scope"),
    [
        ("SkuNotAvailable", "… is currently not available in location 'x' zones '1' …", "POOL"),
        ("ZonalAllocationFailed", "", "POOL"),
        ("OverconstrainedZonalAllocationRequest", "", "POOL"),
        ("AllocationFailed", "", "TYPE"),
        ("OverconstrainedAllocationRequest", "", "TYPE"),
        ("SpotPriceGreaterThanProvidedMaxPrice", "", "TYPE"),
        ("AzureSpotIsNotSupportedForThisVMSize", "… for this VM size Standard_B2s.", "TYPE"),
        ("AzureSpotFeatureNotEnabledForSubscription", "", "MARKET"),
        ("AvailabilityZoneNotSupported", NO_ZONE, "ZONE"),
        ("OperationNotAllowed", QUOTA.format(FAMILY, 10, 10), "TYPE"),
        ("QuotaExceeded", QUOTA.format(FAMILY, 10, 8), "TYPE"),
        ("OperationNotAllowed", QUOTA.format(REGIONAL, 10, 8), "TYPE"),  # a smaller one may fit
        ("OperationNotAllowed", QUOTA.format(REGIONAL, 10, 10), "MARKET"),
        ("OperationNotAllowed", QUOTA.format(SPOT, 0, 0), "MARKET"),
        ("StaticPublicIPCountLimitReached", "Cannot create more than 3 public IP …", "ALL"),
        ("PublicIPCountLimitReached", "Cannot create more than 3 public IP addresses …", "ALL"),
        ("SubnetIsFull", "Subnet machines with address prefix … does not have enough …", "ALL"),
        ("QuotaExceeded", "… exceeding approved StandardDiskCount quota …", "ALL"),
        ("OperationNotAllowed", MANY_DISKS, "TYPE_ON_ALL_MARKETS"),
        ("BadRequest", NO_BOOT, "TYPE_ON_ALL_MARKETS"),
        ("InvalidParameter", NO_NVME, "TYPE_ON_ALL_MARKETS"),
        ("InvalidParameter", "The value of parameter adminUsername is invalid.", "ALL"),
        ("PlatformImageNotFound", "The platform image … is not available.", "ALL"),
        ("AuthorizationFailed", "… does not have authorization to perform action …", "ALL"),
        ("ReadOnlyDisabledSubscription", "", "ALL"),
        ("RequestDisallowedByAzure", "… not accepting creation of new … customers", "ALL"),
    ],
)
def test_refusal_rules_out_what_it_is_about(code, message, scope):
    status = 400 if code in ("BadRequest", "InvalidParameter") else 409
    body = {"error": {"code": code, "message": message}}
    error = error_of_response("virtual_machines.create_or_update", status, body, {})
    assert scope_of(error, market="on-demand").name == scope


@pytest.mark.parametrize(
    ("code", "scope"),
    [
        ("InternalExecutionError", "POOL"),
        ("NetworkingInternalOperationError", "POOL"),
        ("VMStartTimedOut", "POOL"),
        ("Evicted", "POOL"),
        ("Failed", "POOL"),
        ("KeyVaultAccessForbidden", "ALL"),
    ],
)
def test_operation_that_failed_by_itself_leaves_the_other_offers(code, scope):
    failed = {"status": "Failed", "error": {"code": code, "message": "…"}}
    error = error_of_operation("virtual_machines.create_or_update", failed)
    assert scope_of(error, market="on-demand").name == scope


def test_cause_within_another_error_counts():
    detail = {"code": "OverconstrainedZonalAllocationRequest", "target": "0", "message": "…"}
    text = "The resource operation completed with terminal provisioning state 'Failed'."
    error = {"code": "ResourceOperationFailure", "message": text, "details": [detail]}
    failed = error_of_operation("x", {"status": "Failed", "error": error})
    assert scope_of(failed, market="spot").name == "POOL"


@pytest.mark.parametrize(
    ("field", "path", "scope"),
    [
        (
            "Microsoft.Compute/virtualMachines/sku.name",
            "properties.hardwareProfile.vmSize",
            "TYPE_ON_ALL_MARKETS",
        ),
        ("Microsoft.Compute/virtualMachines/priority", "properties.priority", "MARKET"),
        ("tags[team]", "tags[team]", "ALL"),
    ],
)
def test_policy_rules_out_what_it_has_looked_at(field, path, scope):
    """The answer is as karpenter-provider-azure's users have got it (issue 794)."""
    looked_at = [
        {"result": "True", "expressionKind": "Field", "expression": "type", "path": "type"},
        {"result": "False", "expressionKind": "Field", "expression": field, "path": path},
    ]
    info = {"evaluationDetails": {"evaluatedExpressions": looked_at}}
    error = {
        "code": "RequestDisallowedByPolicy",
        "message": "Resource 'x' was disallowed by policy.",
        "additionalInfo": [{"type": "PolicyViolation", "info": info}],
    }
    refused = error_of_response("x", 403, {"error": error}, {})
    assert scope_of(refused, market="spot").name == scope


def test_spot_that_is_denied_leaves_on_demand():
    denied = AzureError("x", "AuthorizationFailed", "…", status=403)
    assert scope_of(denied, market="spot").name == "MARKET"
    assert scope_of(denied, market="on-demand").name == "ALL"


def test_unknown_outcome_ends_all():
    lost = AzureError("x", "ReadTimeout", "no answer")
    assert lost.is_outcome_unknown
    assert scope_of(lost, market="spot").name == "ALL"
