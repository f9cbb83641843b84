"""Management locks, with which users keep what they have from being deleted or changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.azure.calls import SUBSCRIPTION, Call, implements
from tests.support.azure.errors import ArmError

if TYPE_CHECKING:
    from tests.support.azure.arm import Arm


@dataclass
class Locks:
    """All locks: ``CanNotDelete`` or ``ReadOnly``, by the scopes that they are on."""

    arm: Arm
    all: dict[str, str] = field(default_factory=dict)

    def add(self, scope: str, *, level: str = "CanNotDelete") -> None:
        """Lock a subscription, a resource group or a resource, by its id, and all that is below."""
        self.all[scope] = level

    @implements(
        "management_locks.list_at_subscription_level",
        "GET",
        f"{SUBSCRIPTION}/providers/Microsoft.Authorization/locks",
        query=("$filter",),
    )
    def list(self, call: Call) -> Any:
        """Answer all of the subscription, also those of what is in it."""
        locks = [
            {
                "id": f"{scope}/providers/Microsoft.Authorization/locks/lock-{number}",
                "name": f"lock-{number}",
                "type": "Microsoft.Authorization/locks",
                "properties": {"level": level},
            }
            for number, (scope, level) in enumerate(self.all.items())
        ]
        return self.arm.page(call, locks)

    def check(self, call: Call) -> None:
        """Refuse a change of what is locked ("Lock your resources")."""
        if call.verb == "GET":
            return
        path = f"{call.path.lower()}/"
        locked = [
            scope
            for scope, level in self.all.items()
            if path.startswith(f"{scope.lower()}/")
            and (level == "ReadOnly" or call.verb == "DELETE")
        ]
        if locked:
            # The text is that of Azure/apiops#606.
            what = "delete" if call.verb == "DELETE" else "write"
            text = (
                f"The scope '{call.path}' cannot perform {what} operation because following "
                f"scope(s) are locked: '{','.join(locked)}'. Please remove the lock and try again."
            )
            raise ArmError(409, "ScopeLocked", text)
