"""The IAM role that the ``gcp`` system wants: ``python -m tests.support.gcp.role`` writes it.

It is made from the calls that the plugin makes of the emulated Compute Engine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tests.support.gcp.calls import Call
from tests.support.gcp.gce import Gce
from tests.support.gcp.permissions import permissions_of
from tests.support.paths import ROOT

FILE = ROOT / "plugins/gcp/src/bigmachine_gcp/role.yaml"
TOUR = "tests/integration/gcp/test_role.py::test_role_matches_the_plugins_calls"

ACT_AS = "iam.serviceAccounts.actAs"
"""Needed on the instances' service account: better granted on that account alone."""

_HEAD = """\
# A custom role: gcloud iam roles create bigmachine --project=PROJECT --file=role.yaml
title: bigmachine
description: What sessions of bigmachine do on Google Cloud, and nothing else.
stage: GA
includedPermissions:
"""


def permissions(gce: Gce, calls: Iterable[Call]) -> set[str]:
    """Return what these calls of the plugin need in their own project."""
    own = [
        call
        for call in calls
        if call.parameters.get("project", "") == gce.project  # of Compute Engine
    ]
    return {permission for call in own for permission, _ in permissions_of(gce, call)}


def role(needed: Iterable[str]) -> str:
    """Return the role's file."""
    return _HEAD + "".join(f"- {permission}\n" for permission in sorted({*needed} - {ACT_AS}))


def granted() -> set[str]:
    """Return what the role's file grants."""
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    return {line.removeprefix("- ") for line in lines if line.startswith("- ")}


def main(arguments: list[str]) -> int:
    """Run the tests given, or the tour of all calls, and write what they come to."""
    import os

    import pytest

    os.chdir(ROOT)
    noting = _Noting()
    options = ["-q", "-n0", "-p", "no:cacheprovider", "-m", "long or not long"]
    status = pytest.main([*options, *(arguments or [TOUR])], plugins=[noting])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(status)
    text = role(noting.needed)
    is_new = not FILE.exists() or FILE.read_text() != text
    FILE.write_text(text)
    print(f"{FILE.relative_to(ROOT)} is {'new: run this again' if is_new else 'as it was'}")
    return int(status) and int(not is_new)


class _Noting:
    """A plugin of pytest that notes what the calls of each test with a fixture ``gce`` need."""

    def __init__(self) -> None:
        self.needed: set[str] = set()

    def pytest_runtest_teardown(self, item: Any) -> None:
        if gce := item.funcargs.get("gce"):
            self.needed |= permissions(gce, gce.asked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
