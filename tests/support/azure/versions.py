"""Versions of the API: which dates each provider takes in ``api-version``."""

from __future__ import annotations

from tests.support.azure.calls import Route
from tests.support.azure.errors import ArmError
from tests.support.schemas import REFUSED

VERSIONS: dict[str, tuple[str, ...]] = {}
"""By provider, newest first. They are the folders of Azure/azure-rest-api-specs."""


def check_version(route: Route, version: str) -> None:
    """Refuse a version that a provider does not have."""
    if not version:
        text = "The api-version query parameter (?api-version=) is required for all requests."
        raise _refused(route, "MissingApiVersionParameter", text)
    known = VERSIONS.get(route.provider)
    if known and version not in known:
        text = (
            f"The api-version '{version}' is invalid. The supported versions are "
            f"'{','.join(known)}'."
        )
        raise _refused(route, "InvalidApiVersionParameter", text)


def _refused(route: Route, code: str, text: str) -> ArmError:
    REFUSED.append(f"{route.name}: {text}")
    return ArmError(400, code, text)
