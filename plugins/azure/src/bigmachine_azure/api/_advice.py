"""The user's error for an error of Azure: which option, what Azure answered, what to do next."""

from __future__ import annotations

import re

from bigmachine.cloud import network_advice
from bigmachine.errors import BigmachineError, StartError, UsageError

from ._credential_advice import credentials_advice, said
from ._errors import AzureError

_MAX_ANSWER = 240  # characters of what Azure answered
_QUOTA_URL = "https://portal.azure.com/#view/Microsoft_Azure_Capacity/QuotaMenuBlade/~/myQuotas"

# "… exceeding approved standardDSv5Family Cores quota. Additional details - Deployment Model:
# Resource Manager, Location: eastus, Current Limit: 10, Current Usage: 8, Additional Required: 4
# …" (karpenter-provider-azure issue 192); "Total Regional" and "LowPriorityCores" likewise.
_QUOTA = re.compile(
    r"approved (?P<name>.+?) quota\b.*?Location: (?P<place>\w+), Current Limit: (?P<limit>\d+), "
    r"Current Usage: (?P<usage>\d+)",
    re.S,
)
# Of what follows, links of hundreds of characters are the most part.
_CUT = re.compile(
    r"\s*(Additional details -|Diagnostics?:|For more (details|information)|If access was recently|"
    r"It must match the tenant|Please (provide below info|see https)|Policy identifiers:|Setup "
    r"Alerts when|Submit a request for Quota).*",
    re.S,
)

# "Resource 'x' was disallowed by policy. Policy identifiers: '[{"policyAssignment":{"name":"…"
# (microsoft/vscode-apimanagement issue 348); other answers have `additionalInfo`.
_POLICY_NAME = re.compile(r'"policyAssignment":\s*\{"name":\s*"([^"]+)"')

# What is rejected, by ARM's code; and by the parameter that its target or its text names.
_CODES = (
    (r"^(Platform)?ImageNotFound|^ImageVersionNotFound|^GalleryImageNotFound", "image"),
    (r"PurchaseValidationFailed|MarketplacePurchaseEligibility|^VMMarketplaceInvalidInput", "plan"),
    (r"^Azure?Spot|^SpotNotSupported|^EvictionPolicy", "market"),
    (r"^(Location|Region)NotAvailable|^InvalidLocation|^NoRegisteredProviderFound", "location"),
    (
        r"^InvalidResourceGroupLocation|^InvalidResourceGroup|^ResourceGroupNotFound",
        "resource_group",
    ),
    (r"^AvailabilityZone|^ZoneNot|^InvalidAvailabilityZone|^InvalidZone|ZoneConstraint", "zones"),
    (r"^InvalidTag|^TagLimit|^InvalidTags", "tags"),
    (r"^SubnetNotFound|^InvalidSubnet|^NetcfgSubnet", "subnet"),
    (r"^FailedIdentityOperation|^InvalidIdentity|^IdentityNotFound", "identity"),
)
_TEXTS = (
    (r"imageReference|[Gg]eneration '?[12V]|cannot boot with OS image|CPU Architecture", "image"),
    (r"vmSize|VM size '|hardwareProfile", "vm_size"),
    (r"osDisk\.?diskSize|specified disk size|disk\.diskSizeGB", "disk"),
    (r"storageAccountType|storage account type", "disk_type"),
    (r"/userAssignedIdentities/|userAssignedIdentit", "identity"),
    (r"/networkSecurityGroups/", "security_group"),
    (r"/subnets/", "subnet"),
    (r"/virtualNetworks/", "network"),
    (r"customData|userData", "files"),
    (r"maxPrice", "max_price"),
    (r"\b[Tt]ag (name|key|value)", "tags"),
)
# What Contributor excludes ("Azure built-in roles for General": its notActions).
_GRANTING = re.compile(r"Microsoft\.Authorization/.*/(write|delete)$", re.I)
_ADVICE = {
    "disk": "Azure rejects it: set it to the size that the image needs, or more",
    "disk_type": "the VM size can't have such a disk: omit the option, or pass another type",
    "files": "Azure rejects the VMs' custom data, which has them: pass fewer, smaller ones",
    "identity": "Azure rejects it; list all with `az identity list --output table`",
    "image": "Azure rejects it: pass another one, or omit it; list all of a publisher with `az vm "
    "image list --all --publisher Canonical --output table`",
    "location": "Azure has no such VMs there; list all with `az account list-locations --output "
    "table`",
    "market": "Azure has no spot VMs of this size, or for this subscription: pass "
    "market='on-demand', or another vm_size",
    "max_price": "Azure rejects it: pass another one, or omit it",
    "network": "Azure rejects it; list all with `az network vnet list --output table`",
    "resource_group": "Azure rejects it; list all with `az group list --output table`",
    "security_group": "Azure rejects it; list all with `az network nsg list --output table`",
    "subnet": "Azure rejects it; list all with `az network vnet subnet list --resource-group GROUP "
    "--vnet-name NETWORK --output table`",
    "tags": "Azure rejects them: use plain letters, digits and hyphens",
    "vm_size": "Azure rejects it: pass another one, or omit it; list all with `az vm list-skus "
    "--location LOCATION --resource-type virtualMachines --output table`",
    "zones": "Azure rejects them: pass others, or omit the option",
}
_PLAN = (
    "image: the subscription has not accepted the terms of the image's publisher, or may not buy "
    "there: run `az vm image terms accept --urn URN`, or pass another image"
)


def explain(error: AzureError) -> BigmachineError:
    """Return the error for the user."""
    where = f"({error.action}: {answer_of(error)})"
    if error.is_policy:
        return StartError(f"{_policy_advice(error)} {where}")
    subscription = _subscription_advice(error)
    if subscription:
        kind = UsageError if error.is_subscription_unknown else StartError
        return kind(f"{subscription} {where}")
    if error.is_denied:
        return StartError(f"{permission_advice(error)} {where}")
    if error.is_unauthenticated:
        return StartError(f"{credentials_advice(error)} {where}")
    if error.is_unreachable or (error.is_outcome_unknown and not error.is_response):
        return StartError(f"{network_advice(error, 'Azure')} {where}")
    if error.is_quota:
        return StartError(f"{quota_advice(error)} {where}")
    if error.is_throttled:
        minutes = max(1, round(error.retry_after / 60))
        when = "a minute" if minutes == 1 else f"{minutes} minutes"
        return StartError(
            f"Azure throttles the requests of the subscription {error.subscription}: try again in "
            f"{when} or more {where}"
        )
    if error.is_capacity:
        return StartError(
            f"Azure has no such VMs just now: try again later, or name more VM sizes, or another "
            f"location {where}"
        )
    if "scopelocked" in error.codes:
        return StartError(
            f"a lock forbids the change: have it removed (`az lock list --output table`), or use "
            f"another resource_group {where}"
        )
    if error.status >= 500 and error.is_temporary:
        return StartError(
            f"Azure has a fault: try again later; https://azure.status.microsoft tells what is "
            f"known of it {where}"
        )
    option = _option(error)
    if option:
        advice = _PLAN if option == "plan" else f"{option}: {_ADVICE[option]}"
        return UsageError(f"{advice} {where}")
    return StartError(f"{error.action} failed: {answer_of(error)}")


def answer_of(error: AzureError) -> str:
    """Return what Azure answered, or its SDK says, in one line that is not too long."""
    text = " ".join(_CUT.sub("", said(error)).split())
    most = _MAX_ANSWER // 2 if error.is_denied and error.denied_action else _MAX_ANSWER
    text = text if len(text) <= most else text[: most - 1] + "…"  # the advice has what was denied
    if not error.is_response and error.is_unauthenticated:
        return f"azure-identity says: {text}" if text else "azure-identity found none"
    return f"{'Azure answered' if error.is_response else 'its SDK says'} {error.code}: {text}"


def quota_advice(error: AzureError) -> str:
    """Return what to do about a quota that is used up, or a subnet that is full."""
    if "subnetisfull" in error.codes:
        return "subnet: it has no more free addresses: pass another one, or start fewer machines"
    named = _QUOTA.search(error.message)
    if named:
        name, limit = f"the quota {named['name']}", named["limit"]
        what = f"{name} in {named['place']}, {limit}, of which {named['usage']} are in use,"
    else:
        what = "a quota"
    is_address = any("publicip" in code for code in error.codes)
    other = "pass public_address=False" if is_address else "use other sizes or locations"
    return (
        f"{what} of the subscription {error.subscription} is used up: request an increase at "
        f"{_QUOTA_URL}, delete what is not needed any more, or {other}. A free trial gets no "
        f"increase until it is upgraded"
    )


def permission_advice(error: AzureError) -> str:
    """Return what to do about a permission that is missing."""
    who = f"{error.client!r}" if error.client else "the Azure account in use"
    action = error.denied_action or error.action
    on = f" on {error.denied_scope}" if error.denied_scope else ""
    role = "'Owner'" if _GRANTING.match(action) else "'Contributor'"
    return (
        f"{who} lacks the permission {action}{on}: have a role granted that includes it, such as "
        f"{role} on the resource group, or use other credentials. A new grant takes up to ten "
        f"minutes"
    )


def missing_permission(error: AzureError) -> str | None:
    """Return the permission that a role must grant; None if that would not help."""
    return (error.denied_action or None) if error.is_denied else None


def _subscription_advice(error: AzureError) -> str:
    """Return what to do about a subscription that can't be used; "" if it can."""
    subscription = error.subscription
    if error.is_subscription_unknown:
        return (
            f"subscription: Azure has no subscription {subscription!r}, or the credentials may not "
            f"use it: list yours with `az account list --all --output table`, or use other "
            f"credentials"
        )
    if error.is_subscription_disabled:
        return (
            f"the subscription {subscription!r} is disabled, because it has ended or is not paid "
            f"for: see https://portal.azure.com/#view/Microsoft_Azure_Billing, or use another"
        )
    if error.is_unregistered:
        provider = error.provider or "Microsoft.Compute"
        return (
            f"the subscription {subscription!r} does not use {provider} yet: register it with `az "
            f"provider register --namespace {provider} --wait`, or have an administrator do so"
        )
    return ""


def _policy_advice(error: AzureError) -> str:
    if "requestdisallowedbyazure" in error.codes:
        return (
            "location: Azure does not allow it to this kind of subscription: pass one that `az "
            "policy assignment list --query \"[?name=='sys.regionrestriction'].parameters\"` lists"
        )
    names = [
        str(
            info.get("policyAssignmentDisplayName") or info.get("policyDefinitionDisplayName") or ""
        )
        for info in error.policies
    ]
    names += _POLICY_NAME.findall(error.message) if not any(names) else []
    named = ", ".join(repr(name) for name in dict.fromkeys(names) if name)
    return (
        f"a policy of your organization forbids it{f': {named}' if named else ''}. Comply, by the "
        f"options tags, location, vm_size, network or public_address for example, or ask for an "
        f"exemption"
    )


def _option(error: AzureError) -> str | None:
    """Return the option whose value Azure rejects, if it is one's."""
    if error.status not in (0, 400, 404, 409):
        return None
    for pattern, option in _CODES:
        if any(re.search(pattern, code, re.I) for code in error.codes):
            return option
    for text in (error.target, error.message):
        for pattern, option in _TEXTS:
            if re.search(pattern, text):
                return option
    return None
