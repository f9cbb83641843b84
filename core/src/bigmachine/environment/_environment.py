"""An environment: what it is made of, the manifest that tells a machine, and the blobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ._archive import archive, big_files
from ._availability import Problem, find_problems
from ._blob import Blob, hash_file
from ._cache import Cache
from ._distributions import Distribution, Origin, normalize
from ._indexes import Indexes
from ._pip import find_pip_wheel
from ._scan import Folder
from ._target import Target
from ._wheels import Wheels

Json = dict[str, Any]

_FORMAT = 1
_VERSION_HASH = 12  # hex digits of the source's hash in the version of a local distribution


class Environment:
    """What must be the same at both ends; made by `capture`.

    ``target`` is where it was captured, ``distributions`` what is installed and
    ``folders`` the local ones, in the order of the import path. ``size_bytes`` of an
    index's distribution is of its files as they are, unpacked.
    """

    def __init__(
        self,
        *,
        target: Target,
        distributions: Sequence[Distribution],
        folders: Sequence[Folder],
        indexes: Indexes,
        wheels: Wheels,
        cache: Cache,
    ) -> None:
        self.target = target
        self.distributions = tuple(distributions)
        self.folders = tuple(folders)
        self.indexes = indexes
        self._wheels = wheels
        self._cache = cache
        self._blobs: dict[str, Blob] = {}
        self._hashes: dict[Path, dict[str, str]] = {}

    @property
    def blobs(self) -> Mapping[str, Blob]:
        """Every blob that a manifest made so far names, by its hash."""
        return self._blobs

    def blob(self, sha256: str) -> Blob:
        """Return the blob of that hash; raises `UsageError` if no manifest made so far has it."""
        try:
            return self._blobs[sha256]
        except KeyError:
            raise UsageError(f"no manifest of this environment names a blob {sha256}") from None

    def manifest(self, *, wheels: Collection[str] | Literal["all"] = ()) -> Json:
        """Return the manifest: plain JSON that says what the environment is, and its digest.

        ``wheels`` names the distributions of an index that the machine can't get from one,
        and that are packed for it; what comes from no index always is. Where it is to get
        something from one, pip's own wheel goes along. The digest doesn't depend on it.

        Builds wheels and packs archives, and keeps them in the user's cache folder. Raises
        `UsageError` for what can't be built, packed or read.
        """
        wanted = self._names(wheels)
        distributions = [self._entry(each, wanted=wanted) for each in self.distributions]
        folders = [self._folder_entry(folder) for folder in self.folders]
        content = {
            "python": self.target.python,
            "distributions": {
                each.name: self._shown_version(each, entry["version"])
                for each, entry in zip(self.distributions, distributions, strict=True)
            },
            "files": {
                f"{number}/{path}": sha256
                for number, folder in enumerate(self.folders)
                for path, sha256 in self._hashes_of(folder).items()
            },
        }
        return {
            "format": _FORMAT,
            "python": self.target.python,
            "digest": content_digest(content),
            "content": content,
            "distributions": distributions,
            "folders": [{"id": str(n), **entry} for n, entry in enumerate(folders)],
            "pip": self._pip() if any(not each["wheel"] for each in distributions) else None,
            "indexes": self.indexes.variables(),
        }

    def pack(self, distribution: Distribution) -> None:
        """Make its wheel, for a manifest to come; raises `UsageError` if it can't be made."""
        self._wheels.wheel(distribution)

    def check(self, target: Target) -> list[Problem]:
        """List what can't be had on ``target``; empty if the environment can be built there.

        Raises `UsageError` if that can't be found out: there is neither uv nor pip, or no
        package index answers.
        """
        return find_problems(self.distributions, target=target, wheel_name=self._wheels.name)

    def _names(self, wheels: Collection[str]) -> set[str]:
        known = {distribution.name for distribution in self.distributions}
        if wheels == "all":
            return known
        wanted = {normalize(name) for name in wheels}
        if wanted - known:
            raise UsageError(f"not in this environment: {', '.join(sorted(wanted - known))}")
        return wanted

    def _pip(self) -> Json | None:
        wheel = find_pip_wheel(cache=self._cache)
        return {**self._blob_entry(wheel), "filename": wheel.name} if wheel else None

    def _entry(self, distribution: Distribution, *, wanted: set[str]) -> Json:
        is_index = distribution.origin is Origin.INDEX
        version, wheel = distribution.version, None
        if not is_index or distribution.name in wanted:
            wheel = self._wheels.wheel(distribution)
        if distribution.origin is Origin.EDITABLE:
            version = self._wheels.build(distribution).version
        return {
            "name": distribution.name,
            "version": version,
            "index": is_index,
            "wheel": wheel and {**self._blob_entry(wheel), "filename": wheel.name},
        }

    def _shown_version(self, distribution: Distribution, version: str) -> str:
        """Return the version with, for what is from no index, a hash of what it is made of."""
        if distribution.origin is Origin.INDEX:
            return version
        made_of = self._wheels.contents_hash(distribution)
        return f"{version}{'.' if '+' in version else '+'}{made_of[:_VERSION_HASH]}"

    def _folder_entry(self, folder: Folder) -> Json:
        hashes = self._hashes_of(folder)
        packed = archive(folder, hashes=hashes, cache=self._cache)
        blobs: list[Json] = [{**self._blob_entry(packed), "tar": True}] if packed else []
        for file in big_files(folder):
            entry = self._blob_entry(file.source, sha256=hashes[file.path])
            blobs.append({**entry, "path": file.path, "mode": file.mode})
        return {"name": folder.path.name, "on_path": True, "blobs": blobs}

    def _hashes_of(self, folder: Folder) -> dict[str, str]:
        if folder.path not in self._hashes:
            self._hashes[folder.path] = {f.path: hash_file(f.source) for f in folder.files}
        return self._hashes[folder.path]

    def _blob_entry(self, path: Path, *, sha256: str | None = None) -> Json:
        status = path.stat()
        sha256 = sha256 or hash_file(path)
        self._blobs[sha256] = Blob(sha256, status.st_size, path, status.st_mtime_ns)
        return {"sha256": sha256, "size": status.st_size}


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a manifest's ``content``, as canonical JSON.

    Canonical is: sorted keys, no spaces, ASCII only.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
