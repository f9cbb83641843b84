"""The service account that instances act as: whether it exists, and may be given to them."""

from __future__ import annotations

import logging

from bigmachine.errors import UsageError

from ..api._advice import act_as_advice
from ..api._api import Api
from ..api._errors import GcpError
from ..options._option_formats import last_part
from ..options._options import GcpOptions

logger = logging.getLogger("bigmachine.gcp")

_LIST = "list all with `gcloud iam service-accounts list`"
_PERMISSION = "iam.serviceAccounts.actAs"
_DOMAIN = ".iam.gserviceaccount.com"


async def check_service_account(api: Api, o: GcpOptions) -> None:
    """Check the option ``service_account`` with Google. Raises `UsageError`.

    Without the permission actAs, a launch fails only in its operation. The IAM API tells it
    before. Where that is not enabled, nothing is known.
    """
    if not o.service_account:
        return
    path = await service_account_path(api, o.service_account)
    email = last_part(path)
    try:
        reply = await api.read_json(
            "iam", f"v1/{path}:testIamPermissions", body={"permissions": [_PERMISSION]}
        )
    except GcpError as error:
        if error.is_not_found:
            raise UsageError(
                f"service_account: {email} does not exist: name another; {_LIST}"
            ) from error
        logger.debug("whether instances may act as %s is unknown: %s", email, error)
        return
    if _PERMISSION not in reply.get("permissions", ()):
        raise UsageError(act_as_advice(api.account, email))


async def service_account_path(api: Api, account: str) -> str:
    """Return the path of a service account in the IAM API: of an address, or ``default``.

    Raises `UsageError` if the project has no default one, and `GcpError`.
    """
    await api.open()
    email = account
    if account == "default":
        email = (await api.read("projects.get")).default_service_account
        if not email:  # an organization may have it deleted
            raise UsageError(
                f"service_account: the project {api.project!r} has no default service account: "
                f"name one, or omit it; {_LIST}"
            )
    return f"projects/{_project_of(email) or api.project}/serviceAccounts/{email}"


def _project_of(email: str) -> str:
    """Return the ID of the project that an account is of, which its address has; else ""."""
    name, _, domain = email.partition("@")[2].removesuffix(_DOMAIN).partition(".")
    if not email.endswith(_DOMAIN):
        return ""
    return f"{domain}:{name}" if domain else name
