"""Versions of the API: which dates each type of resources takes in ``api-version``.

Those of Microsoft.Compute and Microsoft.Network are what Azure's SDK sends and lists; the others
are folders of Azure/azure-rest-api-specs. Disks, images of galleries and sizes have their own.
"""

from __future__ import annotations

from tests.support.azure.calls import Route
from tests.support.azure.errors import ArmError
from tests.support.schemas import REFUSED

_DISKS = ("2026-03-02", "2025-01-02", "2024-03-02", "2023-10-02", "2023-04-02")
_GALLERIES = ("2026-03-03", "2025-12-03", "2025-03-03", "2024-03-03", "2023-07-03")
VERSIONS: dict[str, tuple[str, ...]] = {
    "Microsoft.Compute": (
        *("2026-04-01", "2026-03-01", "2025-11-01", "2025-04-01", "2024-11-01", "2024-07-01"),
        *("2024-03-01", "2023-09-01", "2023-07-01", "2023-03-01", "2022-11-01"),
    ),
    "Microsoft.Compute/disks": _DISKS,
    "Microsoft.Compute/snapshots": _DISKS,
    "Microsoft.Compute/galleries": _GALLERIES,
    "Microsoft.Compute/locations/communityGalleries": _GALLERIES,
    "Microsoft.Compute/locations/sharedGalleries": _GALLERIES,
    "Microsoft.Compute/skus": ("2021-07-01", "2019-04-01"),
    "Microsoft.Network": (
        *("2026-03-01", "2026-01-01", "2025-09-01", "2025-07-01", "2025-05-01", "2025-03-01"),
        *("2025-01-01", "2024-10-01", "2024-07-01", "2024-05-01", "2024-03-01", "2024-01-01"),
    ),
    "Microsoft.Resources": (
        *("2025-04-01", "2025-03-01", "2024-11-01", "2024-07-01", "2024-03-01", "2023-07-01"),
        *("2022-12-01", "2022-09-01", "2021-04-01", "2020-10-01", "2020-01-01"),
    ),
    "Microsoft.ManagedIdentity": ("2024-11-30", "2023-01-31", "2018-11-30"),
    "Microsoft.DevTestLab": ("2018-09-15",),
    "Microsoft.Authorization/locks": ("2020-05-01", "2016-09-01"),
}
"""By type, or by provider for those of its types that are not here; newest first."""


def check_version(route: Route, version: str) -> None:
    """Refuse a version that a type of resources does not have."""
    if not version:
        text = "The api-version query parameter (?api-version=) is required for all requests."
        raise _refused(route, "MissingApiVersionParameter", text)
    if route.name.startswith("operations."):
        return  # its URL came from an answer
    known = _versions_of(route)
    if known and version not in known:
        text = (
            "No registered resource provider found for location '' and API version "
            f"'{version}' for type '{route.type.partition('/')[2]}'. The supported api-versions "
            f"are '{', '.join(known)}'."
        )
        raise _refused(route, "NoRegisteredProviderFound", text)


def _versions_of(route: Route) -> tuple[str, ...]:
    parts = route.type.split("/")
    for end in range(len(parts), 0, -1):
        if found := VERSIONS.get("/".join(parts[:end])):
            return found
    return ()


def _refused(route: Route, code: str, text: str) -> ArmError:
    REFUSED.append(f"{route.name}: {text}")
    return ArmError(400, code, text)
