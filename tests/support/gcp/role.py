"""The IAM role that the ``gcp`` system wants: ``python -m tests.support.gcp.role`` writes it.

It is made from the calls that the plugin makes of the emulated Compute Engine: each method's page
of the API reference says under "IAM permissions" what it needs. What a test's calls would be
refused by it fails the test.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tests.support.gcp.calls import Call
from tests.support.gcp.permissions import ACT_AS, permissions_of
from tests.support.paths import ROOT

FILE = ROOT / "plugins/gcp/src/bigmachine_gcp/role.yaml"
TOUR = "tests/integration/gcp/test_role.py::test_role_matches_the_plugins_calls"

_HEAD = """\
# A custom role: gcloud iam roles create bigmachine --project=PROJECT --file=role.yaml
title: bigmachine
description: What sessions of bigmachine do on Google Cloud, and nothing else.
stage: GA
includedPermissions:
"""


def permissions(calls: Iterable[Call], *, project: str) -> set[str]:
    """Return what these calls of the plugin need in their own project."""
    own = (call for call in calls if call.parameters.get("project", project) == project)
    return {permission for call in own for permission, _ in permissions_of(call)}


def role(needed: Iterable[str]) -> str:
    """Return the role's file."""
    return _HEAD + "".join(f"- {permission}\n" for permission in sorted(needed))


def granted() -> set[str]:
    """Return what the role's file grants."""
    lines = FILE.read_text().splitlines() if FILE.exists() else []
    return {line.removeprefix("- ") for line in lines if line.startswith("- ")}


def refused(calls: Iterable[Call], *, project: str) -> list[str]:
    """Return which calls the role's file would refuse, and why."""
    needed = permissions(calls, project=project) - {ACT_AS}
    return [f"{one}: {FILE.name} does not grant it" for one in sorted(needed - granted())]


def main(arguments: list[str]) -> int:
    """Run the tests given, or the tour of all calls, and write what they come to."""
    import os

    import pytest

    os.chdir(ROOT)
    noted: list[Call] = []
    status = pytest.main(
        ["-q", "-n0", "-p", "no:cacheprovider", "-m", "", *(arguments or [TOUR])],
        plugins=[_Noting(noted)],
    )
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(status)
    from tests.support.gcp.gce import PROJECT

    text = role(permissions(noted, project=PROJECT) - {ACT_AS})
    is_new = not FILE.exists() or FILE.read_text() != text
    FILE.write_text(text)
    print(f"{FILE.relative_to(ROOT)} is {'new: run this again' if is_new else 'as it was'}")
    return int(status) and int(not is_new)


class _Noting:
    """A plugin of pytest that notes the calls of each test that has a fixture ``gce``."""

    def __init__(self, noted: list[Call]) -> None:
        self._noted = noted

    def pytest_runtest_teardown(self, item: Any) -> None:
        if "gce" in item.funcargs:
            self._noted += item.funcargs["gce"].asked


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
