"""Access scopes of service accounts: Google's names, and the shorter ones of gcloud."""

from __future__ import annotations

import re

DEFAULT_SCOPES = ("cloud-platform",)
_PREFIX = "https://www.googleapis.com/auth/"
_SCOPE = re.compile(rf"({re.escape(_PREFIX)})?[a-z][a-z0-9._-]*")

# "--scopes" of `gcloud compute instances create`, where the names differ from Google's.
_GCLOUD = {
    "cloud-source-repos": "source.full_control",
    "cloud-source-repos-ro": "source.read_only",
    "compute-ro": "compute.readonly",
    "compute-rw": "compute",
    "logging-write": "logging.write",
    "monitoring-read": "monitoring.read",
    "monitoring-write": "monitoring.write",
    "service-control": "servicecontrol",
    "service-management": "service.management.readonly",
    "sql-admin": "sqlservice.admin",
    "storage-full": "devstorage.full_control",
    "storage-ro": "devstorage.read_only",
    "storage-rw": "devstorage.read_write",
    "trace": "trace.append",
    "userinfo-email": "userinfo.email",
}
_SEVERAL = ("default", "gke-default")  # each is gcloud's name for six or more


def scope_url(scope: str) -> str:
    """Return a scope as Google's API takes it: a URL."""
    return scope if scope.startswith(_PREFIX) else _PREFIX + _GCLOUD.get(scope, scope)


def scopes_problem(scopes: tuple[str, ...], account: str) -> str | None:
    """Return what is wrong with the scopes of a service account, or None."""
    if not account and scopes != DEFAULT_SCOPES:
        return "are of the service account: set service_account, or omit them"
    if not scopes:
        return "must be at least one, or machines get no token of the service account: omit them"
    for scope in scopes:
        if scope in _SEVERAL or not _SCOPE.fullmatch(scope):
            return (
                f"must be scopes, like 'devstorage.read_only', or URLs in {_PREFIX}, not {scope!r}"
            )
    return None
