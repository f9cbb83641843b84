"""What to do about credentials that Azure rejects, or that azure-identity does not find."""

from __future__ import annotations

import os
import re

from bigmachine.cloud import clock_advice

from ._errors import AzureError

LOGIN = "az login"

_TENANTS = re.compile(r"sts\.windows\.net/([0-9a-f-]{36})", re.I)
_ATTEMPT = re.compile(r"^\t(\w+): (.*?)(?=^\t|^To mitigate|\Z)", re.M | re.S)
_NUMBER = re.compile(r"AADSTS(\d+)")
_TRACE = re.compile(r"\s*(Trace ID|Correlation ID|Timestamp|Error Code|Description): .*", re.S)
_SECRET_VARIABLES = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")

# By the numbers of "Microsoft Entra authentication and authorization error codes".
_EXPIRED = {70008, 70043, 50132, 50133, 50173, 700081, 700082, 700084, 9002341}
_MFA = {50005, 50072, 50074, 50076, 50078, 50079, 50158, 530084}
_CONDITIONAL_ACCESS = {53000, 53001, 53002, 53003, 53004, 530003, 53011}
_ADVICE = {
    7000215: "AZURE_CLIENT_SECRET is no secret of the application: set it to a secret's value, not "
    "to its ID",
    7000222: "the secret in AZURE_CLIENT_SECRET has expired: create another with `az ad app "
    "credential reset --id CLIENT`",
    700016: "the tenant has no such application: correct AZURE_CLIENT_ID or AZURE_TENANT_ID",
    7000229: "the application has no service principal in the tenant: create one with `az ad sp "
    "create --id CLIENT`",
    7000112: "the application is disabled: have it enabled, or use another",
    90002: "there is no such tenant: correct AZURE_TENANT_ID; `az account list --all` shows yours",
    900023: "AZURE_TENANT_ID is no tenant's ID: `az account list --all` shows yours",
    700027: "the certificate in AZURE_CLIENT_CERTIFICATE_PATH is none of the application's",
    700024: "this computer's clock is wrong, and Microsoft Entra rejects its tokens: set it right",
    50020: f"the user is not of the subscription's tenant: run `{LOGIN} --tenant TENANT`",
    50034: f"Microsoft Entra has no such user: run `{LOGIN}`",
    50057: "the user's account is disabled: ask the administrator of the tenant",
}
_FEDERATION = {70021, 700211, 700212, 700213, 700221, 700222, 700223}


def credentials_advice(error: AzureError) -> str:
    """Return what to do. A code may have several causes, so the certain ones come first."""
    if advice := clock_advice(error.clock_skew, "Azure"):
        return advice
    if error.is_wrong_tenant:
        return _tenant_advice(error)
    if error.is_response:
        return f"Azure rejects the credentials: renew them with `{LOGIN}`"
    number = _number(said(error))
    if number in _ADVICE:
        return _ADVICE[number]
    if number in _EXPIRED:
        return f"your sign-in to Azure has expired: run `{LOGIN}`"
    if number in _MFA or "--claims-challenge" in error.message:
        return (
            f"your organization requires multi-factor authentication: run `{LOGIN} --tenant "
            f"TENANT`. For programs that run unattended, use a service principal"
        )
    if number in _CONDITIONAL_ACCESS:
        return (
            "a Conditional Access policy of your organization denies access to Azure from here: "
            "ask its administrator"
        )
    if number in _FEDERATION:
        return "the application trusts no such federated token: correct its federated credentials"
    if "Unable to get authority configuration" in error.message:  # MSAL's, which hides the number
        return _ADVICE[90002]
    if number:
        return f"Microsoft Entra gives no token: correct what it says, or run `{LOGIN}`"
    return _missing_advice(dict(_ATTEMPT.findall(error.message)))


def said(error: AzureError) -> str:
    """Return what azure-identity says of credentials in one line, without those not in use.

    It lists one line or more for each of ten kinds of credentials.
    """
    attempts = _ATTEMPT.findall(error.message)
    telling = [f"{name}: {text}" for name, text in attempts if _is_telling(text)]
    text = " ".join(telling or ([] if attempts else [error.message]))
    return " ".join(_TRACE.sub("", text).split())


def _number(text: str) -> int:
    match = _NUMBER.search(text)
    return int(match[1]) if match else 0


def _is_telling(text: str) -> bool:
    """Whether such credentials were found, and used without success."""
    parts = ("AADSTS", "Authentication failed", "az login", "Failed to invoke")
    return any(part in text for part in parts)


def _tenant_advice(error: AzureError) -> str:
    tenants = _TENANTS.findall(error.message)
    if len(tenants) < 2:
        return f"the subscription is of another tenant: run `{LOGIN} --tenant TENANT`"
    return (
        f"the credentials are of the tenant {tenants[0]}, and the subscription "
        f"{error.subscription} is of the tenant {tenants[1]}: run `{LOGIN} --tenant {tenants[1]}` "
        f"and `az account set --subscription {error.subscription}`, or set AZURE_TENANT_ID"
    )


def _missing_advice(attempts: dict[str, str]) -> str:
    """Return what to do if no credentials were found, or az did not give any."""
    of_az = attempts.get("AzureCliCredential", "")
    unset = [name for name in _SECRET_VARIABLES if not os.environ.get(name)]
    if unset and os.environ.get("AZURE_CLIENT_SECRET"):
        return f"{' and '.join(unset)} must be set, too, for AZURE_CLIENT_SECRET to be used"
    if "Failed to invoke" in of_az:
        return f"the az command gave no token within 10 seconds: try again, or run `{LOGIN}`"
    if of_az and "not found" not in of_az:
        return f"nobody is signed in to Azure: run `{LOGIN}`"
    return (
        f"there are no Azure credentials: install the az command and run `{LOGIN}`, or set "
        f"{', '.join(_SECRET_VARIABLES[:-1])} and {_SECRET_VARIABLES[-1]}"
    )
