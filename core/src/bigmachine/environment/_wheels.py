"""The wheel of any distribution: built if it is editable, otherwise repacked."""

from __future__ import annotations

from pathlib import Path

from ._build import Build, build
from ._cache import Cache
from ._distributions import Distribution, Origin
from ._repack import repack, repacked_name


class Wheels:
    """The wheels of distributions. Each is made once, and kept in ``cache``.

    Every method raises `UsageError` if the wheel cannot be made.
    """

    def __init__(self, *, cache: Cache) -> None:
        self._cache = cache
        self._builds: dict[str, Build] = {}
        self._repacked: dict[str, Path] = {}

    def wheel(self, distribution: Distribution) -> Path:
        """Return the file of the distribution's wheel."""
        if distribution.origin is Origin.EDITABLE:
            return self.build(distribution).wheel
        if distribution.name not in self._repacked:
            self._repacked[distribution.name] = repack(distribution, cache=self._cache)
        return self._repacked[distribution.name]

    def name(self, distribution: Distribution) -> str:
        """Return the wheel's file name; the wheel is made only if that is necessary."""
        if distribution.origin is Origin.EDITABLE:
            return self.wheel(distribution).name
        return repacked_name(distribution)

    def build(self, distribution: Distribution) -> Build:
        """Return the build of an editable distribution."""
        if distribution.name not in self._builds:
            self._builds[distribution.name] = build(distribution, cache=self._cache)
        return self._builds[distribution.name]

    def content_hash(self, distribution: Distribution) -> str:
        """Return the hash (hex) of its source, if it is editable, or of its installed files."""
        if distribution.origin is Origin.EDITABLE:
            return self.build(distribution).source_hash
        return self.wheel(distribution).parent.name
