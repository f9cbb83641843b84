"""What assigned policies forbid: of those that Azure has built in.

Other policies, and initiatives, are written in a language of their own; what these forbid, Azure
says at the first request that they deny.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigmachine.errors import UsageError

from ..api._api import Api
from ..api._errors import AzureError
from ..api._place import Place
from ..catalog._vm_sizes import VmSize
from ..options._option_formats import last_part, location_name
from ..options._options import AzureOptions

_VERSION = "2022-06-01"

# "Azure Policy built-in policy definitions": 'Allowed locations', 'Allowed locations for resource
# groups', 'Allowed virtual machine size SKUs', 'Require a tag on resources', 'Require a tag and
# its value on resources', 'Network interfaces should not have public IPs', 'Not allowed resource
# types': by the last one, enterprise-scale landing zones deny public addresses.
_LOCATIONS = "e56962a6-4747-49cd-b67b-bf8b01975c4c"
_GROUP_LOCATIONS = "e765b5de-1225-4ba3-bd56-1ac6695af988"
_SIZES = "cccc23c7-8427-4f53-ad12-b6a63eb452b3"
_TAG = "871b6d14-10aa-478d-b590-94f262ecfa99"
_TAG_VALUE = "1e30110a-5ceb-460c-a204-c1c3969c6d62"
_NO_PUBLIC_ADDRESSES = "83a86a26-fd1f-447c-b59d-e51f44264114"
_NOT_ALLOWED_TYPES = "6c112d4e-5bc7-47ae-a041-ea2d9dccd749"
_ADDRESS_TYPE = "microsoft.network/publicipaddresses"
# 'Allowed resource deployment regions': Azure itself assigns it to students' and to many new
# subscriptions, under the name sys.regionrestriction, with five regions. Neither the locations nor
# the resource SKUs show it. Nobody but Azure may change it.
_AZURES_LOCATIONS = "b86dabb9-b578-4d7b-b842-3b45e95769a1"


@dataclass(frozen=True, slots=True)
class Policy:
    """An assigned policy: the last part of its definition's ID, its name for people, parameters."""

    definition: str
    name: str
    parameters: Mapping[str, Any]

    def __str__(self) -> str:
        return f"the policy {self.name!r} of your organization"


class Policies:
    """The policies that apply to the session's resources."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._policies = [*policies]

    def check(self, o: AzureOptions, place: Place) -> None:
        """Raise `UsageError` if one of them forbids what the options want, whatever the size."""
        for policy in self._policies:
            if problem := _problem(policy, o, place):
                if policy.definition == _AZURES_LOCATIONS:
                    raise UsageError(problem)
                raise UsageError(
                    f"{problem}; or ask for an exemption (Policy, in the Azure portal)"
                )

    def keep_allowed(self, sizes: Sequence[VmSize], *, is_named: bool) -> list[VmSize]:
        """Return the sizes that they allow.

        Raises `UsageError` if there are none, or if one is forbidden that the user has named.
        """
        allowed = [*sizes]
        for policy in self._policies:
            names = {str(each).lower() for each in policy.parameters.get("listOfAllowedSKUs") or ()}
            if policy.definition != _SIZES or not names:
                continue
            forbidden = [size.name for size in allowed if size.name.lower() not in names]
            allowed = [size for size in allowed if size.name.lower() in names]
            if forbidden and (is_named or not allowed):
                raise UsageError(
                    f"vm_size: {policy} does not allow {', '.join(forbidden)}: name one of those "
                    f"that it allows ({_listed(policy.parameters['listOfAllowedSKUs'])})"
                )
        return allowed


async def read_policies(api: Api, place: Place) -> Policies:
    """Return the policies that apply; none if the caller may not list them. Raises `AzureError`."""
    try:
        # Also those of the management groups above the subscription ("Policy Assignments - List").
        raws = await api.request_all(
            "providers/Microsoft.Authorization/policyAssignments",
            api_version=_VERSION,
            query={"$filter": "atScope()"},
        )
    except AzureError as error:
        if not error.is_denied:
            raise
        raws = []
    group = api.group_id(place.resource_group).lower()
    return Policies(_policy_from(raw) for raw in raws if _applies(raw, group))


def _applies(raw: Mapping[str, Any], group: str) -> bool:
    """Whether an assignment denies what it is about, in the session's resource group."""
    properties = raw.get("properties") or {}
    excluded = [scope.lower() for scope in properties.get("notScopes") or ()]
    effect = ((properties.get("parameters") or {}).get("effect") or {}).get("value", "Deny")
    return (
        properties.get("enforcementMode", "Default") == "Default"
        and str(effect).lower() == "deny"
        and not any(f"{group}/".startswith(f"{scope}/") for scope in excluded)
    )


def _policy_from(raw: Mapping[str, Any]) -> Policy:
    properties = raw.get("properties") or {}
    parameters = properties.get("parameters") or {}
    return Policy(
        definition=last_part(properties.get("policyDefinitionId") or "").lower(),
        name=properties.get("displayName") or raw.get("name") or "",
        parameters={name: (each or {}).get("value") for name, each in parameters.items()},
    )


def _problem(policy: Policy, o: AzureOptions, place: Place) -> str:
    """Return what of the options a policy forbids, and what to do; "" for nothing."""
    locations = policy.parameters.get("listOfAllowedLocations") or ()
    is_about_location = policy.definition == _LOCATIONS or (
        policy.definition == _GROUP_LOCATIONS and not place.has_group
    )
    is_elsewhere = bool(locations) and place.location not in map(location_name, locations)
    if is_elsewhere and policy.definition == _AZURES_LOCATIONS:
        return (
            f"location: Azure does not allow {place.location} to this subscription, but "
            f"{_listed(locations)}: pass one of these"
        )
    if is_about_location and is_elsewhere:
        return (
            f"location: {policy} does not allow {place.location}, but {_listed(locations)}: pass "
            f"one of these"
        )
    if policy.definition in (_TAG, _TAG_VALUE):
        tag, value = policy.parameters.get("tagName") or "", policy.parameters.get("tagValue")
        given = {key.lower(): own for key, own in o.own_tags.items()}.get(tag.lower())
        if tag and (given is None or value not in (None, given)):
            return (
                f"tags: {policy} wants a tag of all resources: pass tags=['{tag}={value or '…'}']"
            )
    if o.public_address and _forbids_addresses(policy):
        return (
            f"public_address: {policy} allows no public addresses: pass public_address=False, and "
            f"run the driver where it reaches private ones"
        )
    return ""


def _forbids_addresses(policy: Policy) -> bool:
    types = policy.parameters.get("listOfResourceTypesNotAllowed") or ()
    return policy.definition == _NO_PUBLIC_ADDRESSES or (
        policy.definition == _NOT_ALLOWED_TYPES and _ADDRESS_TYPE in map(str.lower, types)
    )


def _listed(values: Sequence[Any], most: int = 10) -> str:
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + more
