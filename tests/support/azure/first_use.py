"""What Azure refuses on first use, in the words that users have shown in public issue trackers.

The refusals that the tests' Azure makes by itself are not here: those of quotas, capacity, spot,
images, policies, roles and providers are beside what they guard.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.azure.entra import CLIENT, OTHER_TENANT, TENANT
from tests.support.azure.errors import ArmError

SUBSCRIPTION = "55555555-5555-4555-8555-555555555555"
VM = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/bigmachine-westeurope/providers/"
    "Microsoft.Compute/virtualMachines/bm-test-0123abcd-m0"
)


@dataclass(frozen=True)
class Refusal:
    """One answer, and where it was seen."""

    error: ArmError
    seen: str
    is_late: bool = False
    """Whether the request is accepted, and its operation fails."""


def refusal(status: int, code: str, message: str, *, seen: str, target: str = "") -> Refusal:
    return Refusal(ArmError(status, code, message, target), seen)


def late(code: str, message: str, *, seen: str) -> Refusal:
    return Refusal(ArmError(409, code, message), seen, is_late=True)


SPENDING_LIMIT = refusal(
    409,
    "ReadOnlyDisabledSubscription",
    f"The subscription '{SUBSCRIPTION}' is disabled and therefore marked as read only. You cannot "
    "perform any write actions on this subscription until it is re-enabled.",
    seen="microsoft/vscode-azureappservice issue 1485",
)
WRONG_TENANT = refusal(
    401,
    "InvalidAuthenticationTokenTenant",
    f"The access token is from the wrong issuer 'https://sts.windows.net/{OTHER_TENANT}/'. It must "
    f"match the tenant 'https://sts.windows.net/{TENANT}/' associated with this subscription. "
    f"Please use the authority (URL) 'https://login.windows.net/{TENANT}' to get the token. Note, "
    "if the subscription is transferred to another tenant there is no impact to the services, but "
    "information about new tenant could take time to propagate (up to an hour).",
    seen="Azure/azure-cli issue 11871",
)
NO_SUBSCRIPTION = refusal(
    404,
    "SubscriptionNotFound",
    f"The subscription '{SUBSCRIPTION}' could not be found.",
    seen="'Resolve errors for subscription not found' of Azure's documentation",
)
UNREGISTERED = refusal(
    409,
    "MissingSubscriptionRegistration",
    "The subscription is not registered to use namespace 'Microsoft.Network'. See "
    "https://aka.ms/rps-not-found for how to register subscriptions.",
    seen="'Resolve errors for resource provider registration' of Azure's documentation",
)
NO_RIGHT = refusal(
    403,
    "AuthorizationFailed",
    f"The client '{CLIENT}' with object id '{CLIENT}' does not have authorization to perform "
    f"action 'Microsoft.Compute/virtualMachines/write' over scope '{VM}' or the scope is invalid. "
    "If access was recently granted, please refresh your credentials.",
    seen="'Troubleshoot Azure RBAC' of Azure's documentation",
)
NO_JOIN = refusal(
    403,
    "LinkedAuthorizationFailed",
    f"The client '{CLIENT}' with object id '{CLIENT}' has permission to perform action "
    f"'Microsoft.Compute/virtualMachines/write' on scope '{VM}'; however, it does not have "
    "permission to perform action 'Microsoft.Network/virtualNetworks/subnets/join/action' on the "
    f"linked scope(s) '/subscriptions/{SUBSCRIPTION}/resourceGroups/network/providers/"
    "Microsoft.Network/virtualNetworks/main/subnets/default' or the linked scope(s) are invalid.",
    seen="microsoft/planetary-computer-hub pull request 25, of a route table",
)
STUDENT_LOCATION = refusal(
    403,
    "RequestDisallowedByAzure",
    "Resource 'bm-test-0123abcd-m0' was disallowed by Azure: This policy maintains a set of best "
    "available regions where your subscription can deploy resources. The objective of this policy "
    "is to ensure that your subscription has full access to Azure services with optimal "
    "performance. Should you need additional or different regions, contact support..",
    seen="Azure/azure-cli issue 32913",
)
POLICY = refusal(
    403,
    "RequestDisallowedByPolicy",
    "Resource 'my-vmVMNic' was disallowed by policy. Policy identifiers: "
    '\'[{"policyAssignment":{"name":"LTIM - Network interfaces should not have public IPs","id":'
    '"/providers/Microsoft.Management/managementGroups/x/providers/Microsoft.Authorization/'
    'policyAssignments/68cb"},"policyDefinition":{"name":"LTIM - Network interfaces should not '
    'have public IPs","id":"/providers/x/policyDefinitions/4dd4","version":"1.0.0"}}]\'.',
    seen="Azure/azure-cli issue 32417",
)
SIZE_RESTRICTED = refusal(
    409,
    "SkuNotAvailable",
    f"The requested size for resource '{VM}' is currently not available in location 'eastus2' "
    f"zones '' for subscription '{SUBSCRIPTION}'. Please try another size or deploy to a different "
    "location or zones. See https://aka.ms/azureskunotavailable for details.",
    seen="Azure/Azure-Network-Security pull request 30",
)
SIZE_FULL = refusal(
    409,
    "SkuNotAvailable",
    "The requested VM size for resource 'Following SKUs have failed for Capacity Restrictions: "
    "Standard_B2s' is currently not available in location 'eastus'. Please try another size or "
    "deploy to a different location or different zone. See https://aka.ms/azureskunotavailable "
    "for details.",
    seen="Azure-Samples/azuresandbox issue 70",
)
NO_ROOM = late(
    "AllocationFailed",
    "Allocation failed. We do not have sufficient capacity for the requested VM size in this "
    "region. Read more about improving likelihood of allocation success at "
    "http://aka.ms/allocation-guidance",
    seen="dstackai/dstack issue 3699",
)
CORES = refusal(
    409,
    "OperationNotAllowed",
    "Operation could not be completed as it results in exceeding approved Total Regional Cores "
    "quota. Additional details - Deployment Model: Resource Manager, Location: eastus, Current "
    "Limit: 10, Current Usage: 10, Additional Required: 2, (Minimum) New Limit Required: 12. Setup "
    "Alerts when Quota reaches threshold. Learn more at https://aka.ms/quotamonitoringalerting . "
    "Submit a request for Quota increase at https://aka.ms/ProdportalCRP/#blade/"
    "Microsoft_Azure_Capacity/UsageAndQuota.ReactView/Parameters/%7B%22subscriptionId%22:%22e4b62b3b",
    seen="logs of terraform-provider-azurerm's acceptance tests, 2026",
)
CORES_BY_NEW_CODE = Refusal(
    ArmError(
        409,
        "QuotaExceeded",
        "Operation could not be completed as it results in exceeding approved Total Regional Cores "
        "quota. Additional details - Deployment Model: Resource Manager, Location: westus, Current "
        "Limit: 100, Current Usage: 56, Additional Required: 56, (Minimum) New Limit Required: 112",
    ),
    "'QuotaExceeded error' of Azure's documentation",
)
SPOT_CORES = refusal(
    409,
    "OperationNotAllowed",
    "Operation could not be completed as it results in exceeding approved LowPriorityCores quota. "
    "Additional details - Deployment Model: Resource Manager, Location: westus2, Current Limit: 0, "
    "Current Usage: 0, Additional Required: 32, (Minimum) New Limit Required: 32.",
    seen="Azure/karpenter-provider-azure, the errors of its tests",
)
ADDRESSES = late(
    "PublicIPCountLimitReached",
    "Cannot create more than 3 public IP addresses for this subscription in this region.",
    seen="MicrosoftDocs/azure-docs issue 106096",
)
NO_SPOT = refusal(
    409,
    "AzureSpotFeatureNotEnabledForSubscription",
    "Subscription not enabled with Azure Spot Virtual Machine feature.",
    seen="'Error messages for Azure Spot Virtual Machines' of Azure's documentation",
)
TERMS = refusal(
    400,
    "ResourcePurchaseValidationFailed",
    "User failed validation to purchase resources. Error message: 'You have not accepted the legal "
    f"terms on this subscription: '{SUBSCRIPTION}' for this plan. Before the subscription can be "
    "used, you need to accept the legal terms of the image. To read and accept legal terms, use "
    "the Azure CLI commands described at https://go.microsoft.com/fwlink/?linkid=2110637 or the "
    "PowerShell commands available at https://go.microsoft.com/fwlink/?linkid=862451.'",
    seen="nforgeio/neonKUBE issue 1673",
)
NO_PLAN = late(
    "VMMarketplaceInvalidInput",
    "Creating a virtual machine from Marketplace image or a custom image sourced from a "
    f"Marketplace image requires Plan information in the request. VM: '{VM}'.",
    seen="Azure/sap-automation issue 433",
)
NO_IMAGE = refusal(
    404,
    "PlatformImageNotFound",
    "The platform image 'redhat:RHEL:7-LVM:7.9.2020100116' is not available. Verify that all "
    "fields in the storage profile are correct. For more details about storage profile "
    "information, "
    "please refer to https://aka.ms/storageprofile",
    seen="hashicorp/packer issue 10600",
    target="imageReference",
)
GENERATION = refusal(
    400,
    "BadRequest",
    "The selected VM size 'Standard_D16ads_v6' cannot boot Hypervisor Generation '1'. If this was "
    "a Create operation please check that the Hypervisor Generation of the Image matches the "
    "Hypervisor Generation of the selected VM Size. If this was an Update operation please select "
    "a Hypervisor Generation '1' VM Size. For more information, see https://aka.ms/azuregen2vm",
    seen="redhat-developer/mapt issue 489",
)
CONTROLLER = refusal(
    400,
    "InvalidParameter",
    "The VM size 'Standard_D2ads_v7' cannot boot with OS image or disk. Please check that disk "
    "controller types supported by the OS image or disk is one of the supported disk controller "
    "types for the VM size 'Standard_D2ads_v7'. Please query sku api at "
    "https://aka.ms/azure-compute-skus  to determine supported disk controller types for the VM "
    "size.",
    seen="skypilot-org/skypilot issue 10375",
    target="vmSize",
)
ARCHITECTURE = refusal(
    400,
    "BadRequest",
    "Cannot create a VM of size 'Standard_B2pts_v2' because this VM size only supports a CPU "
    "Architecture of 'Arm64', but an image or disk with CPU Architecture 'x64' was given. Please "
    "check that the CPU Architecture of the image or disk is compatible with that of the VM size.",
    seen="a public diary of the first steps with Azure, 2026",
)
SMALL_DISK = refusal(
    409,
    "OperationNotAllowed",
    "The specified disk size 64 GB is smaller than the size of the corresponding disk in the VM "
    "image: 127 GB. This is not allowed. Please choose equal or greater size or do not specify an "
    "explicit size.",
    seen="Azure/azure-sdk-for-python issue 23051",
    target="osDisk.diskSizeGB",
)
LOCK = refusal(
    409,
    "ScopeLocked",
    f"The scope '{VM}' cannot perform delete operation because following scope(s) are locked: "
    f"'/subscriptions/{SUBSCRIPTION}/resourceGroups/bigmachine-westeurope'. Please remove the lock "
    "and try again.",
    seen="'Lock your resources' of Azure's documentation",
)
UNREADY_GUEST = late(
    "OSProvisioningTimedOut",
    "OS Provisioning for VM 'bm-test-0123abcd-m0' did not finish in the allotted time. The VM may "
    "still finish provisioning successfully. Please check provisioning state later.",
    seen="'Troubleshoot VM provisioning errors' of Azure's documentation",
)
