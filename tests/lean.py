"""What of a development environment machines have no need of: tests that ship it go quicker."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def lean_environ(*more: str, but: tuple[str, ...] = ()) -> Mapping[str, str]:
    """Return variables with which drivers send bigmachine, ``more``, and what these need.

    Without ``but``, and what only these need.
    """
    return {"BIGMACHINE_ENVIRONMENT_WITHOUT": ",".join(_unneeded(("bigmachine", *more), but))}


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
    # What is of this very repository costs nothing: it is a folder that is there anyway.
    return tuple(sorted(n for n in installed if n not in needed and not n.startswith("bigmachine")))
