"""The wheel of any distribution: built if it is editable, otherwise repacked.

That of a local distribution is without the secrets that its source had beside the modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ._build import Build, build
from ._cache import Cache
from ._distributions import Distribution, Origin
from ._left_out import LeftOut
from ._repack import repack, repacked_name
from ._wheel_secrets import without_secrets


class Wheels:
    """The wheels of distributions. Each is made once, and kept in ``cache``.

    ``include`` names secrets that are packed anyway. ``left_out`` lists those that are not, of
    the wheels made so far. Every method raises `UsageError` if the wheel cannot be made.
    """

    def __init__(self, *, cache: Cache, include: Sequence[str] = ()) -> None:
        self.left_out: list[LeftOut] = []
        self._cache = cache
        self._include = include
        self._builds: dict[str, Build] = {}
        self._repacked: dict[str, Path] = {}

    def wheel(self, distribution: Distribution) -> Path:
        """Return the file of the distribution's wheel."""
        if distribution.origin is Origin.EDITABLE:
            return self.build(distribution).wheel
        if distribution.name not in self._repacked:
            wheel = repack(distribution, cache=self._cache)
            if distribution.is_local:
                wheel = self._without_secrets(wheel, distribution)
            self._repacked[distribution.name] = wheel
        return self._repacked[distribution.name]

    def name(self, distribution: Distribution) -> str:
        """Return the wheel's file name; the wheel is made only if that is necessary."""
        if distribution.origin is Origin.EDITABLE:
            return self.wheel(distribution).name
        return repacked_name(distribution)

    def build(self, distribution: Distribution) -> Build:
        """Return the build of an editable distribution."""
        if distribution.name not in self._builds:
            made = build(distribution, cache=self._cache)
            wheel = self._without_secrets(made.wheel, distribution)
            self._builds[distribution.name] = replace(made, wheel=wheel)
        return self._builds[distribution.name]

    def content_hash(self, distribution: Distribution) -> str:
        """Return the hash (hex) of its source, if it is editable, or of its installed files."""
        if distribution.origin is Origin.EDITABLE:
            return self.build(distribution).source_hash
        return self.wheel(distribution).parent.name

    def _without_secrets(self, wheel: Path, distribution: Distribution) -> Path:
        place = f"the wheel of {distribution.name}"
        wheel, left_out = without_secrets(
            wheel, place=place, include=self._include, cache=self._cache
        )
        self.left_out += left_out
        return wheel
