"""What Azure answers is told apart by its codes, and each error says what to do next."""

from __future__ import annotations

import pickle

import pytest

from bigmachine.errors import StartError, UsageError
from bigmachine_azure.api._advice import explain, missing_permission
from bigmachine_azure.api._error_parsing import error_of_operation, error_of_response
from bigmachine_azure.api._errors import AzureError

ID = "12345678-1234-1234-1234-123456789abc"
SCOPE = f"/subscriptions/{ID}/resourceGroups/mine"
HERE, THERE = ID, "87654321-4321-4321-4321-cba987654321"
QUOTA = (
    "Operation could not be completed as it results in exceeding approved standardDSv5Family Cores "
    "quota. Additional details - Deployment Model: Resource Manager, Location: eastus, Current "
    "Limit: 10, Current Usage: 8, Additional Required: 4, (Minimum) New Limit Required: 12. Submit "
    "a request for Quota increase at https://aka.ms/ProdportalCRP/#blade/Microsoft_Azure_Capacity"
)
DENIED = (
    f"The client 'ada@example.com' with object id '{ID}' does not have authorization to perform "
    f"action 'Microsoft.Compute/virtualMachines/write' over scope '{SCOPE}' or the scope is "
    "invalid. If access was recently granted, please refresh your credentials."
)
LINKED = (
    f"The client 'ada@example.com' with object id '{ID}' has permission to perform action "
    f"'Microsoft.Compute/virtualMachines/write' on scope '{SCOPE}/x'; however, it does not have "
    "permission to perform action(s) 'Microsoft.Network/virtualNetworks/subnets/join/action' on "
    f"the linked scope(s) '{SCOPE}/s' (respectively) or the linked scope(s) are invalid."
)
TENANT = (
    f"The access token is from the wrong issuer 'https://sts.windows.net/{HERE}/'. It must match "
    f"the tenant 'https://sts.windows.net/{THERE}/' associated with this subscription."
)
POLICY = {
    "error": {
        "code": "RequestDisallowedByPolicy",
        "message": "Resource 'bm-x-m0' was disallowed by policy. Policy identifiers: '[{…}]'.",
        "additionalInfo": [
            {"type": "PolicyViolation", "info": {"policyAssignmentDisplayName": "Require tags"}}
        ],
    }
}


def answered(code, message="It is wrong.", status=400, **more):
    body = {"error": {"code": code, "message": message, **more}}
    error = error_of_response("virtual_machines.create_or_update", status, body, {})
    error.subscription = ID
    return error


@pytest.mark.parametrize(
    ("error", "kinds"),
    [
        (answered("OperationNotAllowed", QUOTA, 409), "quota shortage"),
        (answered("OperationNotAllowed", "VM is marked for deletion.", 409), ""),
        (answered("OperationNotAllowed", "Too many.", 429), "throttled temporary"),
        (answered("TooManyRequests", status=429), "throttled temporary"),
        (answered("RetryableError", status=429), "temporary"),
        (answered("AnotherOperationInProgress", status=409), "temporary"),
        (answered("SkuNotAvailable", status=409), "capacity shortage"),
        (answered("ZonalAllocationFailed", status=0), "capacity shortage"),
        (answered("PublicIPCountLimitReached"), "quota shortage"),
        (answered("IPv4StandardSkuPublicIpCountLimitReached"), "quota shortage"),
        (answered("SubnetIsFull"), "quota shortage"),
        (answered("ResourceGroupNotFound", status=404), "not_found"),
        (answered("SubscriptionNotFound", status=404), "forbidden"),
        (answered("AuthorizationFailed", DENIED, 403), "denied forbidden"),
        (answered("RequestDisallowedByPolicy", status=403), "policy"),
        (answered("MissingSubscriptionRegistration", status=409), "unregistered forbidden"),
        (answered("ExpiredAuthenticationToken", status=401), "unauthenticated forbidden"),
        (answered("PreconditionFailed", status=412), "conflict"),
        (answered("InternalServerError", status=500), "temporary outcome_unknown"),
        (AzureError("x", "ConnectionLost", ""), "temporary outcome_unknown"),
        (AzureError("x", "ConnectionError", ""), "temporary unreachable"),
    ],
)
def test_error_is_of_its_kinds_only(error, kinds):
    names = ("quota", "throttled", "temporary", "capacity", "shortage", "not_found", "forbidden")
    names += ("denied", "policy", "unregistered", "unauthenticated", "conflict", "unreachable")
    names += ("outcome_unknown",)
    assert [name for name in names if getattr(error, f"is_{name}")] == [
        name for name in names if name in kinds.split()
    ]


def test_cause_counts_wherever_azure_puts_it():
    inner = {"code": "AllocationFailed", "message": "No room."}
    for body in (
        {"error": {"code": "Conflict", "message": "It failed.", "details": [inner]}},
        {"error": {"code": "DeploymentFailed", "message": "", "details": [{"details": [inner]}]}},
        {"error": {"code": "Conflict", "message": '{"error": {"code": "AllocationFailed"}}'}},
        {"error": {"code": "BadRequest", "message": "It failed.", "innererror": inner}},
        {"Code": "AllocationFailed", "Message": "No room."},
    ):
        assert error_of_response("x", 409, body, {}).is_capacity, body


def test_failed_operation_is_no_request_of_unknown_outcome():
    error = error_of_operation("x", {"status": "Failed", "error": {"code": "AllocationFailed"}})
    assert (error.is_capacity, error.is_operation, error.is_outcome_unknown) == (True, True, False)
    assert error_of_operation("x", {"status": "Canceled"}).code == "Canceled"


def test_answer_that_is_not_of_azure_is_told_without_its_markup():
    error = error_of_response("x", 502, "<html><style>a{}</style><h1>Bad</h1> gateway</html>", {})
    assert (error.code, error.message) == ("502", "Bad gateway")


@pytest.mark.parametrize(
    ("value", "seconds"), [("17", 17), ("", 0), ("soon", 0), ("Wed, 01 Jan 2020 00:00:00 GMT", 0)]
)
def test_time_to_wait_is_read_from_header(value, seconds):
    assert error_of_response("x", 429, {}, {"Retry-After": value}).retry_after == seconds


def test_error_can_be_pickled():
    assert pickle.loads(pickle.dumps(answered("NotFound"))).code == "NotFound"


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (
            answered("OperationNotAllowed", QUOTA, 409),
            StartError,
            "the quota standardDSv5Family Cores in eastus, 10, of which 8 are in use, of the subs",
        ),
        (answered("PublicIPCountLimitReached"), StartError, "or pass public_address=False"),
        (answered("SubnetIsFull"), StartError, "subnet: it has no more free addresses"),
        (
            answered("AuthorizationFailed", DENIED, 403),
            StartError,
            "'ada@example.com' lacks the permission Microsoft.Compute/virtualMachines/write on /s",
        ),
        (
            answered("LinkedAuthorizationFailed", LINKED, 403),
            StartError,
            f"the permission Microsoft.Network/virtualNetworks/subnets/join/action on {SCOPE}/s",
        ),
        (error_of_response("x", 403, POLICY, {}), StartError, "forbids it: 'Require tags'. Comply"),
        (
            answered(
                "RequestDisallowedByPolicy",
                'It was. Policy identifiers: \'[{"policyAssignment":{"name":"No addresses"}}]\'.',
                403,
            ),
            StartError,
            "a policy of your organization forbids it: 'No addresses'. Comply",
        ),
        (answered("RequestDisallowedByAzure", status=403), StartError, "location: Azure does not"),
        (
            answered("SubscriptionNotFound", status=404),
            UsageError,
            f"subscription: Azure has no subscription '{ID}', or the credentials may not use it",
        ),
        (
            answered("ReadOnlyDisabledSubscription", status=409),
            StartError,
            f"the subscription '{ID}' is disabled, because it has ended or is not paid for",
        ),
        (
            answered(
                "MissingSubscriptionRegistration",
                "The subscription is not registered to use namespace 'Microsoft.Network'. See x.",
                409,
            ),
            StartError,
            "register it with `az provider register --namespace Microsoft.Network --wait`",
        ),
        (
            answered("InvalidAuthenticationTokenTenant", TENANT, 401),
            StartError,
            f"run `az login --tenant {THERE}` and `az account set --subscription {ID}`",
        ),
        (answered("SkuNotAvailable", status=409), StartError, "Azure has no such VMs just now"),
        (answered("ScopeLocked", status=409), StartError, "a lock forbids the change"),
        (answered("ServiceUnavailable", status=503), StartError, "Azure has a fault: try again"),
        (
            answered("ImageNotFound", status=404),
            UsageError,
            "image: Azure rejects it: pass another one, or omit it; list all of a publisher",
        ),
        (
            answered("ResourcePurchaseValidationFailed"),
            UsageError,
            "`az vm image terms accept --urn URN`",
        ),
        (
            answered("InvalidParameter", "The value 'x' is invalid.", target="vmSize"),
            UsageError,
            "vm_size: Azure rejects it",
        ),
        (
            answered(
                "InvalidParameter",
                "The VM size 'Standard_D2s_v6' cannot boot with OS image or disk. Please check that"
                " disk controller types supported by the OS image or disk is one of the supported.",
            ),
            UsageError,
            "image: Azure rejects it",
        ),
        (
            answered("InvalidResourceReference", f"Resource {SCOPE}/subnets/x was not found."),
            UsageError,
            "subnet: Azure rejects it",
        ),
        (
            answered("AzureSpotFeatureNotEnabledForSubscription"),
            UsageError,
            "pass market='on-demand', or another vm_size",
        ),
        (AzureError("x", "SSLError", "", is_response=False), StartError, "REQUESTS_CA_BUNDLE"),
        (AzureError("x", "ProxyError", "", is_response=False), StartError, "correct HTTPS_PROXY"),
        (AzureError("x", "ReadTimeout", "", is_response=False), StartError, "does not answer"),
        (answered("Unheard", "Of it."), StartError, "failed: Azure answered Unheard: Of it."),
    ],
)
def test_user_is_told_what_to_do(error, kind, says):
    caught = explain(error)
    assert type(caught) is kind
    text = str(caught)
    assert says in text
    assert "\n" not in text
    assert len(text) < 8 * 80


def test_missing_permission_is_named_for_a_role():
    error = answered("LinkedAuthorizationFailed", LINKED, 403)
    assert missing_permission(error) == "Microsoft.Network/virtualNetworks/subnets/join/action"
    assert missing_permission(answered("NotFound", status=404)) is None
