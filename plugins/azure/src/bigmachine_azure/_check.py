"""``bigmachine check azure``: which requests of sessions Azure permits, without making any.

Azure has no dry runs for VMs. So the setup of a session is really made, which reads all that it
needs, and Azure is asked which permissions the caller has.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigmachine.errors import BigmachineError
from bigmachine.system import CheckedRequest, CheckReport, Verdict

from .api._advice import explain
from .api._api import Api
from .api._errors import AzureError
from .options._options import AzureOptions, check_offline
from .plan._launch_plan import LaunchPlan
from .plan._roles import AUTHORIZATION_VERSION, grants

ROLE = Path(__file__).with_name("role.json")
"""The custom role that grants all that sessions need."""

_COMPUTE, _NETWORK = "Microsoft.Compute", "Microsoft.Network"
_IDENTITIES = "Microsoft.ManagedIdentity/userAssignedIdentities"
_GROUPS = "Microsoft.Resources/subscriptions/resourceGroups"

_OF_SUBSCRIPTION = (
    f"{_COMPUTE}/locations/",
    f"{_COMPUTE}/skus/",
    f"{_NETWORK}/locations/",
    "Microsoft.MarketplaceOrdering/",
    "Microsoft.Resources/subscriptions/providers/",
    f"{_GROUPS}/write",
)
"""What begins so is asked of the subscription, whatever somebody may do in a resource group."""

_WITHOUT = {
    "Microsoft.Authorization/policyAssignments/read": "a policy that denies VMs is noticed at the "
    "launch",
    "Microsoft.Authorization/roleAssignments/read": "whether machines may delete their VMs is not "
    "known before",
    "Microsoft.Authorization/roleDefinitions/read": "whether machines may delete their VMs is not "
    "known before",
    **dict.fromkeys(
        (
            f"{_COMPUTE}/locations/diskOperations/read",
            f"{_COMPUTE}/locations/operations/read",
            f"{_NETWORK}/locations/operations/read",
        ),
        "errors may not say why a change has failed",
    ),
    f"{_COMPUTE}/locations/publishers/artifacttypes/offers/skus/versions/read": "an image of the "
    "Marketplace that does not fit is noticed at the launch",
    f"{_COMPUTE}/locations/usages/read": "a used-up quota of vCPUs is noticed at the launch",
    f"{_COMPUTE}/skus/read": "a size that can't be had is noticed at the launch",
    f"{_COMPUTE}/virtualMachines/retrieveBootDiagnosticsData/action": "errors don't show the "
    "consoles of machines",
    "Microsoft.DevTestLab/schedules/delete": "schedules of VMs that are gone are left",
    "Microsoft.DevTestLab/schedules/write": "Azure deallocates no VM of a dead driver",
    f"{_NETWORK}/locations/usages/read": "a used-up quota of addresses is noticed at the launch",
    f"{_NETWORK}/virtualNetworks/usages/read": "a full subnet is noticed at the launch",
    "Microsoft.Resources/subscriptions/providers/read": "services that are not registered are "
    "noticed at the launch",
}
"""What is missing without a permission that sessions can do without."""


@dataclass
class Check:
    """Checks all that sessions with ``options`` need.

    ``setup`` is a session's own, and returns its plan; it must use ``api``, which from now on
    changes nothing.
    """

    api: Api
    options: AzureOptions
    setup: Callable[[], Awaitable[LaunchPlan]]
    _missing: set[str] = field(default_factory=set)

    async def run(self) -> CheckReport:
        """Check all.

        Raises `BigmachineError` for options that are wrong whatever Azure says, and if there are no
        credentials, or no subscription.
        """
        check_offline(self.options)
        self.api.forbid_changes()
        await self.api.open()
        plan, setup = await self._setup()
        scopes: dict[str, list[str]] = {}
        for action in json.loads(ROLE.read_text())["Actions"]:
            scopes.setdefault(self._scope(action, plan), []).append(action)
        answers: dict[str, CheckedRequest] = {}
        for scope, some in scopes.items():
            answers.update(await self._ask(scope, some, plan))
        return CheckReport([setup, *(answers[one] for one in sorted(answers))], self._advice())

    async def _setup(self) -> tuple[LaunchPlan | None, CheckedRequest]:
        try:
            plan = await self.setup()
        except BigmachineError as error:
            return None, CheckedRequest.of_setup(Verdict.REFUSED, str(error))
        first = f"a session would try first: {plan.offers[0]}"
        return plan, CheckedRequest.of_setup(Verdict.OK, first)

    def _scope(self, action: str, plan: LaunchPlan | None) -> str:
        """Return where a permission is needed: in the resource group, or in the subscription."""
        is_in_group = plan is not None and plan.place.has_group
        if is_in_group and not action.startswith(_OF_SUBSCRIPTION):
            return self.api.group_id()
        return f"/subscriptions/{self.api.subscription}"

    async def _ask(
        self, scope: str, actions: Iterable[str], plan: LaunchPlan | None
    ) -> Mapping[str, CheckedRequest]:
        """Ask which of these permissions the caller has there."""
        path = f"{scope}/providers/Microsoft.Authorization/permissions"
        try:
            granted = await self.api.request_all(path, api_version=AUTHORIZATION_VERSION)
        except AzureError as error:
            why = f"Azure can't be asked: {explain(error)}"
            return {one: CheckedRequest(one, Verdict.UNKNOWN, why) for one in actions}
        return {one: self._answer(one, granted, scope, plan) for one in actions}

    def _answer(
        self,
        action: str,
        granted: Sequence[Mapping[str, Any]],
        scope: str,
        plan: LaunchPlan | None,
    ) -> CheckedRequest:
        if grants(granted, action):
            return CheckedRequest(action, Verdict.OK)
        is_needed = self._needs(action, plan)
        detail = f"these credentials lack this permission in {scope}"
        if is_needed:
            self._missing.add(action)
        else:
            without = _WITHOUT.get(action, "the options do without")
            detail += f". Sessions work without it: {without}"
        return CheckedRequest(action, Verdict.DENIED, detail, is_needed=is_needed)

    def _needs(self, action: str, plan: LaunchPlan | None) -> bool:
        """Whether sessions with these options need a permission; all if there is no plan."""
        o = self.options
        image = o.image.lower()
        needs = {
            f"{_COMPUTE}/virtualMachines/retrieveBootDiagnosticsData/action": o.verify_boot,
            f"{_COMPUTE}/images/read": "/images/" in image and "/galleries/" not in image,
            f"{_COMPUTE}/galleries/images/read": "/galleries/" in image,
            f"{_COMPUTE}/galleries/images/versions/read": "/galleries/" in image,
            f"{_NETWORK}/networkSecurityGroups/write": not o.security_group,
            f"{_NETWORK}/networkSecurityGroups/delete": not o.security_group,
            f"{_NETWORK}/publicIPAddresses/write": o.public_address,
            f"{_NETWORK}/publicIPAddresses/join/action": o.public_address,
            f"{_NETWORK}/publicIPAddresses/delete": o.public_address,
            f"{_NETWORK}/virtualNetworks/write": plan is None or plan.network.is_missing,
            f"{_NETWORK}/virtualNetworks/subnets/write": plan is None
            or not plan.network.has_subnet,
            f"{_GROUPS}/write": plan is None or not plan.place.has_group,
            f"{_IDENTITIES}/assign/action": plan is None or bool(plan.identity),
        }
        if action.startswith("Microsoft.MarketplaceOrdering/"):
            return False  # if the image needs it, the setup has told so
        return needs.get(action, action not in _WITHOUT)

    def _advice(self) -> str:
        """Return the commands that grant what is missing."""
        if not self._missing:
            return ""
        scope = f"/subscriptions/{self.api.subscription}"
        role = {
            "Name": "bigmachine",
            "Description": "What sessions of bigmachine do",
            "Actions": sorted(self._missing),
            "AssignableScopes": [scope],
        }
        return "\n".join(
            [
                "To permit what was denied, have an owner of the subscription run:",
                f"az role definition create --role-definition '{json.dumps(role)}'",
                f"az role assignment create --role bigmachine --assignee YOUR-ACCOUNT "
                f"--scope {scope}",
                "If there is a role bigmachine already, add these actions to it instead, with "
                "`az role definition update`.",
            ]
        )
