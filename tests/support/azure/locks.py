"""Management locks, with which users keep what they have from being deleted or changed."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.support.azure.calls import Call
from tests.support.azure.errors import ArmError


@dataclass
class Locks:
    """All locks: ``CanNotDelete`` or ``ReadOnly``, by the scopes that they are on."""

    all: dict[str, str] = field(default_factory=dict)

    def add(self, scope: str, *, level: str = "CanNotDelete") -> None:
        """Lock a subscription, a resource group or a resource, by its id, and all that is below."""
        self.all[scope] = level

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
