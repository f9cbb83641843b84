"""What of a development environment machines have no need of: tests that ship it go quicker."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_WORKSPACE = "bigmachine-workspace"


def lean_environ(
    *more: str, but: tuple[str, ...] = (), with_tests: bool = False
) -> Mapping[str, str]:
    """Return variables with which drivers send bigmachine, ``more``, and what these need.

    Without ``but``, and what only these need. ``with_tests``, this very folder travels, too:
    the workspace is then none that is installed.
    """
    names = _unneeded(("bigmachine", *more), but)
    return {
        "BIGMACHINE_ENVIRONMENT_EXCLUDE_DISTRIBUTIONS": ",".join(
            name for name in names if with_tests or name != _WORKSPACE
        )
    }


@functools.cache
def _unneeded(names: tuple[str, ...], but: tuple[str, ...]) -> tuple[str, ...]:
    installed = {
        canonicalize_name(distribution.name): distribution
        for distribution in importlib.metadata.distributions()
    }
    needed: set[str] = set()
    ahead = [canonicalize_name(name) for name in names]
    while ahead:
        name = ahead.pop()
        if name in needed or name in but or name not in installed:
            continue
        needed.add(name)
        for text in installed[name].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                ahead.append(canonicalize_name(requirement.name))
    # Left out, what is installed as editable would travel as a folder of the driver's path.
    ours = {name for name in installed if name.startswith("bigmachine") and name != _WORKSPACE}
    return tuple(sorted(installed.keys() - needed - ours))
