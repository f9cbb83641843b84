"""Who may do what: by role assignments, and by what a test takes from the driver; and locks.

Each answer's words are those of "Troubleshoot Azure RBAC" and of users' issues.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.actions import actions_of
from tests.support.azure.calls import GROUP, SUBSCRIPTION, Call, implements
from tests.support.azure.entra import DRIVER, Principal
from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm

_EVERYTHING: Mapping[str, Any] = {
    "actions": ["*"],
    "notActions": [],
    "dataActions": [],
    "notDataActions": [],
}


@dataclass
class Access:
    """What the driver may do, and what resource groups are locked."""

    arm: Arm
    permissions: list[Mapping[str, Any]] = field(default_factory=lambda: [_EVERYTHING])
    """The driver's in the whole subscription: each has ``actions`` and ``notActions``."""
    denied: set[str] = field(default_factory=set)
    """Actions that the driver lacks nevertheless, as "
    "``Microsoft.Compute/virtualMachines/write``."""
    locked: set[str] = field(default_factory=set)
    """Resource groups, in lower case, in which nothing may be deleted."""
    can_be_asked: bool = True
    """Whether the caller may ask for its permissions; nearly all may."""

    def check(self, call: Call) -> None:
        """Refuse a call that its caller may not make."""
        first = True
        for action, scope in actions_of(self.arm, call):
            if not self.allows(call.user, action, scope):
                raise _unauthorized(call, action, scope, is_linked=not first)
            first = False
        if call.verb == "DELETE" and call.group.lower() in self.locked:
            scope = f"/subscriptions/{call.subscription}/resourceGroups/{call.group}"
            text = (  # hashicorp/terraform-provider-azurerm#16231 and others
                f"The scope '{call.path}' cannot perform delete operation because following "
                f"scope(s) are locked: '{scope}'. Please remove the lock and try again."
            )
            raise ArmError(409, "ScopeLocked", text)

    def allows(self, user: Principal, action: str, scope: str) -> bool:
        """Whether somebody may do something."""
        if user.id == DRIVER.id and action in self.denied:
            return False
        return any(_grants(of, action) for of in self._permissions(user, scope))

    def _permissions(self, user: Principal, scope: str) -> Iterator[Mapping[str, Any]]:
        if user.id == DRIVER.id:
            yield from self.permissions
        if user.id not in self.arm.identities.deleted:
            yield from self.arm.roles.of_principal(user.id, scope)

    @implements(
        "permissions.list_for_subscription",
        "GET",
        f"{SUBSCRIPTION}/providers/Microsoft.Authorization/permissions",
        answer="authorization.Permission[]",
    )
    @implements(
        "permissions.list_for_resource_group",
        "GET",
        f"{GROUP}/providers/Microsoft.Authorization/permissions",
        answer="authorization.Permission[]",
    )
    def list(self, call: Call) -> Any:
        """Answer the caller's own permissions."""
        scope = call.path.rpartition("/providers/")[0]
        if not self.can_be_asked:
            action = "Microsoft.Authorization/permissions/read"
            raise _unauthorized(call, action, scope, is_linked=False)
        found = [{**of} for of in self._permissions(call.user, scope)]
        for of in found:
            of["notActions"] = [*of["notActions"], *sorted(self.denied)]
        return self.arm.page(call, found)


def _grants(permission: Mapping[str, Any], action: str) -> bool:
    """Whether a permission includes an action; case does not matter in either."""
    granted = any(_matches(pattern, action) for pattern in permission["actions"])
    return granted and not any(_matches(pattern, action) for pattern in permission["notActions"])


def _matches(pattern: str, action: str) -> bool:
    wanted = re.escape(pattern).replace(r"\*", ".*")
    return re.fullmatch(wanted, action, re.IGNORECASE) is not None


def _unauthorized(call: Call, action: str, scope: str, *, is_linked: bool) -> ArmError:
    who = f"The client '{call.user.name}' with object id '{call.user.id}'"
    if is_linked:
        # TomAugspurger's of microsoft/planetary-computer-hub#25
        own = f"{call.provider}/{call.path.rstrip('/').split('/')[-2]}/write"
        text = (
            f"{who} has permission to perform action '{own}' on scope '{call.path}'; however, it "
            f"does not have permission to perform action '{action}' on the linked scope(s) "
            f"'{scope}' or the linked scope(s) are invalid."
        )
        return ArmError(403, "LinkedAuthorizationFailed", text)
    text = (
        f"{who} does not have authorization to perform action '{action}' over scope '{scope}' or "
        "the scope is invalid. If access was recently granted, please refresh your credentials."
    )
    return ArmError(403, "AuthorizationFailed", text)
