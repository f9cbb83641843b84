"""The release of a distribution that has the driver's Python: machines need the same one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ...errors import UsageError

T = TypeVar("T")


def python_release(releases: Mapping[tuple[int, int], T], version: tuple[int, int]) -> T:
    """Return what a backend knows of the release whose ``python3`` has a version like ``(3, 12)``.

    Raises `UsageError`, about the option ``image``, if no known release has it.
    """
    if version not in releases:
        raise UsageError(
            f"image: no known release of Ubuntu or Debian has Python {version[0]}.{version[1]}: "
            f"pass an image that has, or run the driver with another Python "
            f"({', '.join(f'{major}.{minor}' for major, minor in releases)})"
        )
    return releases[version]
