"""An environment: its parts, the manifest that describes it to a machine, and its blobs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ._archive import FileChangedError, Part, pack_folder
from ._availability import Problem, find_problems
from ._blob import Blob, hash_files
from ._cache import Cache
from ._distributions import Distribution, Origin, normalize
from ._indexes import Indexes
from ._left_out import LeftOut
from ._pip_wheel import find_pip_wheel
from ._scan import Folder
from ._target import Target
from ._wheels import Wheels

Json = dict[str, Any]

_FORMAT = 1
_VERSION_HASH = 12  # hex digits of the source's hash in the version of a local distribution


class Environment:
    """What must be the same at both ends; made by `capture`.

    ``target`` is the platform that it was captured on, ``distributions`` what is installed,
    and ``folders`` the local folders, in the order of the import path. The ``size_bytes`` of
    a distribution from an index are those of its installed files.
    """

    def __init__(
        self,
        *,
        target: Target,
        distributions: Sequence[Distribution],
        folders: Sequence[Folder],
        left_out: Sequence[LeftOut],
        indexes: Indexes,
        wheels: Wheels,
        cache: Cache,
    ) -> None:
        self.target = target
        self.distributions = tuple(distributions)
        self.folders = tuple(folders)
        self.indexes = indexes
        self._left_out = tuple(left_out)
        self._wheels = wheels
        self._cache = cache
        self._blobs: dict[str, Blob] = {}
        self._hashes: dict[Path, dict[str, str]] = {}

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What is not sent of the local folders and, of wheels made so far, of local packages."""
        return (*self._left_out, *self._wheels.left_out)

    @property
    def blobs(self) -> Mapping[str, Blob]:
        """Every blob in a manifest that was made so far, by its hash."""
        return self._blobs

    def blob(self, sha256: str) -> Blob:
        """Return the blob of that hash; raises `UsageError` if no manifest so far contains it."""
        try:
            return self._blobs[sha256]
        except KeyError:
            raise UsageError(f"no manifest of this environment contains a blob {sha256}") from None

    def manifest(self, *, wheels: Collection[str] | Literal["all"] = ()) -> Json:
        """Return the manifest: plain JSON that describes the environment, with its digest.

        ``wheels`` names those distributions from an index that the machine cannot get from
        one; their wheels are packed. A distribution that is not from an index is always
        packed. If the machine must get something from an index, pip's own wheel is included.
        None of this changes the digest.

        Builds wheels and packs archives, and keeps them in the user's cache folder. Raises
        `UsageError` for what cannot be built, packed or read.
        """
        wanted = self._names(wheels)
        distributions = [self._describe(each, wanted=wanted) for each in self.distributions]
        folders = [self._describe_folder(folder) for folder in self.folders]
        content = {
            "python": self.target.python,
            "distributions": {
                each.name: self._full_version(each, entry["version"])
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
        """Make its wheel, for a later manifest; raises `UsageError` if it cannot be made."""
        self._wheels.wheel(distribution)

    def check(self, target: Target) -> list[Problem]:
        """List what is not available for ``target``; empty if it can be built there.

        Raises `UsageError` if this cannot be checked: there is neither uv nor pip, or no
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
        return self._describe_wheel(wheel) if wheel else None

    def _describe(self, distribution: Distribution, *, wanted: set[str]) -> Json:
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
            "wheel": wheel and self._describe_wheel(wheel),
        }

    def _full_version(self, distribution: Distribution, version: str) -> str:
        """Return the version; if it is not from an index, with a hash of its content."""
        if distribution.origin is Origin.INDEX:
            return version
        content_hash = self._wheels.content_hash(distribution)
        return f"{version}{'.' if '+' in version else '+'}{content_hash[:_VERSION_HASH]}"

    def _describe_wheel(self, wheel: Path) -> Json:
        return {**self._describe_blob(Blob.of(wheel)), "filename": wheel.name}

    def _describe_folder(self, folder: Folder) -> Json:
        blobs = []
        for part in self._pack_folder(folder):
            file = part.file
            place = {"path": file.path, "mode": file.mode} if file else {"tar": True}
            blobs.append({**self._describe_blob(part.blob), **place})
        return {"name": folder.path.name, "on_path": True, "blobs": blobs}

    def _pack_folder(self, folder: Folder) -> list[Part]:
        """Pack it; a file that is written meanwhile, such as a log, is packed as it is now."""
        hashes = self._hashes_of(folder)
        contents: dict[str, bytes] = {}
        while True:
            try:
                return [*pack_folder(folder, hashes=hashes, contents=contents, cache=self._cache)]
            except FileChangedError as exc:  # at most once for each file
                contents[exc.file.path] = exc.content
                hashes[exc.file.path] = hashlib.sha256(exc.content).hexdigest()

    def _describe_blob(self, blob: Blob) -> Json:
        self._blobs[blob.sha256] = blob
        return {"sha256": blob.sha256, "size": blob.size_bytes}

    def _hashes_of(self, folder: Folder) -> dict[str, str]:
        if folder.path not in self._hashes:
            self._hashes[folder.path] = hash_files(folder.files)
        return self._hashes[folder.path]


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a manifest's ``content``, as canonical JSON.

    Canonical is: sorted keys, no spaces, ASCII only.
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()
