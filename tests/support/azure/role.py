"""The custom role of the ``azure`` system: ``python -m tests.support.azure.role`` writes it.

It is made from the calls that the plugin makes of the tests' Azure (see `actions`). A test fails if
its file grants more than these need, or less.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from tests.support.azure.actions import actions_of
from tests.support.azure.arm import Arm
from tests.support.azure.calls import Call
from tests.support.paths import ROOT

FILE = ROOT / "plugins/azure/src/bigmachine_azure/role.json"
TOUR = "tests/integration/azure/test_role.py::test_role_matches_the_plugins_calls"
_OF_SUBSCRIPTIONS = {
    "subscriptions.get": "read",
    "subscriptions.list": "read",
    "subscriptions.list_locations": "locations/read",
}


def actions(arm: Arm, calls: Iterable[Call]) -> set[str]:
    """Return what these calls of the plugin need."""
    calls = [*calls]
    needed = {action for call in calls for action, _ in actions_of(arm, call)}
    # Azure lets also others see these; the built-in role 'Reader' has them.
    for call in calls:
        if call.method in _OF_SUBSCRIPTIONS:
            needed.add(f"Microsoft.Resources/subscriptions/{_OF_SUBSCRIPTIONS[call.method]}")
    found = sorted(needed)
    # Some letters are large in one path and small in another; Azure does not mind.
    return {*{action.lower(): action for action in found}.values()}


def role(needed: Iterable[str]) -> str:
    """Return the role's file, for ``az role definition create --role-definition @role.json``."""
    document = {
        "Name": "bigmachine",
        "IsCustom": True,
        "Description": "What sessions of bigmachine do in Azure, and nothing else.",
        "Actions": sorted(needed),
        "NotActions": [],
        "AssignableScopes": ["/subscriptions/SUBSCRIPTION"],
    }
    return json.dumps(document, indent=2) + "\n"


def granted() -> set[str]:
    """Return what the role's file grants."""
    return set(json.loads(FILE.read_text())["Actions"]) if FILE.exists() else set()


def main(arguments: list[str]) -> int:
    """Run the tests given, or the tour of all calls, and write what they come to."""
    import os

    import pytest

    os.chdir(ROOT)
    noted = _Noting()
    status = pytest.main(
        ["-q", "-n0", "-p", "no:cacheprovider", "-m", "", *(arguments or [TOUR])], plugins=[noted]
    )
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(status)
    text = role(noted.needed)
    is_new = not FILE.exists() or FILE.read_text() != text
    FILE.write_text(text)
    print(f"{FILE.relative_to(ROOT)} is {'new: run this again' if is_new else 'as it was'}")
    return int(status) and int(not is_new)


class _Noting:
    """A plugin of pytest that notes what the calls need of each test that has a fixture ``arm``."""

    def __init__(self) -> None:
        self.needed: set[str] = set()

    def pytest_runtest_teardown(self, item: Any) -> None:
        if "arm" in item.funcargs:
            arm = item.funcargs["arm"]
            self.needed |= actions(arm, arm.asked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
