"""The wheel of any distribution: built where it is editable, packed again where it is not."""

from __future__ import annotations

from pathlib import Path

from ._builds import Build, build
from ._cache import Cache
from ._distributions import Distribution, Origin
from ._repack import repack, repacked_name


class Wheels:
    """The wheels of distributions, each made once. All of it raises `UsageError` if one can't be.

    They are kept in ``cache``.
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
        """Return the wheel's file name, without packing it if that is possible."""
        if distribution.origin is Origin.EDITABLE:
            return self.wheel(distribution).name
        return repacked_name(distribution)

    def build(self, distribution: Distribution) -> Build:
        """Return what was built of an editable distribution."""
        if distribution.name not in self._builds:
            self._builds[distribution.name] = build(distribution, cache=self._cache)
        return self._builds[distribution.name]

    def contents_hash(self, distribution: Distribution) -> str:
        """Return the hash (hex) of what it is made of: its source, or its installed files."""
        if distribution.origin is Origin.EDITABLE:
            return self.build(distribution).source_hash
        return self.wheel(distribution).parent.name
