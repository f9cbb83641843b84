"""The installed distributions: their exact versions, and where they came from."""

from __future__ import annotations

import csv
import enum
import importlib.metadata
import json
import logging
import re
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError

logger = logging.getLogger("bigmachine.environment")


class Origin(enum.Enum):
    """Where a distribution came from, according to its ``direct_url.json`` (PEP 610)."""

    INDEX = "index"
    """A package index, or unknown."""
    EDITABLE = "editable"
    """A local folder; its modules are imported from there."""
    FOLDER = "folder"
    """A local folder; the installed files are a copy."""
    ARCHIVE = "archive"
    """A file, local or downloaded."""
    VCS = "vcs"
    """A commit in a repository."""


@dataclass(frozen=True, slots=True)
class RecordRow:
    """A line of a distribution's RECORD: a file, relative to the site folder.

    ``digest`` is ``"sha256=<base64>"`` or empty; ``size_bytes`` may be None.
    """

    path: str
    digest: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """An installed distribution.

    ``name`` is normalized (PEP 503). ``source`` is the path of a local folder or the URL
    of anything else; None if it came from an index.
    """

    name: str
    version: str
    origin: Origin
    source: str | None
    metadata: importlib.metadata.Distribution = field(repr=False, compare=False)

    @property
    def site(self) -> Path:
        """The folder that it is installed in."""
        return Path(str(self.metadata.locate_file("")))

    @property
    def is_local(self) -> bool:
        """Whether it came from a folder or file of this computer."""
        if self.origin is Origin.ARCHIVE:
            return (self.source or "").startswith("file:")
        return self.origin in (Origin.EDITABLE, Origin.FOLDER)

    @property
    def has_record(self) -> bool:
        """Whether it lists its files; what Debian's tools installed does not."""
        return self.metadata.read_text("RECORD") is not None

    @property
    def requires(self) -> set[str]:
        """The normalized names of what it requires on any platform, without extras."""
        lines = self.metadata.metadata.get_all("Requires-Dist") or []
        return {
            normalize(re.split(r"[^\w.-]", line.strip(), maxsplit=1)[0])
            for line in lines
            if not re.search(r"\bextra\s*==", line)
        }

    @property
    def size_bytes(self) -> int:
        """The size of its files according to its RECORD; 0 without one."""
        return sum(row.size_bytes or 0 for row in self.record()) if self.has_record else 0

    def record(self) -> list[RecordRow]:
        """Read its RECORD; raises `UsageError` if it has none."""
        text = self.metadata.read_text("RECORD")
        if text is None:
            raise UsageError(
                f"{self.name} {self.version} in {self.site} has no RECORD of its files (it was "
                "installed by the operating system, or by an old tool), so it cannot be packed; "
                "install it with pip or uv in a virtual environment, or leave it out by "
                f"exclude_distributions=[{self.name!r}]"
            )
        rows = []
        for row in csv.reader(text.splitlines()):
            if row:
                path, digest, size = [*row, "", ""][:3]
                rows.append(RecordRow(path, digest, int(size) if size else None))
        return rows


def installed(sites: Iterable[Path]) -> list[Distribution]:
    """List the distributions in ``sites``, sorted by name; of one name, the first site wins."""
    found: dict[str, Distribution] = {}
    for distribution in _read_all(sites):
        found.setdefault(distribution.name, distribution)
    return [found[name] for name in sorted(found)]


def normalize(name: str) -> str:
    """Return the normalized name of a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def import_roots(distribution: Distribution) -> list[Path]:
    """Return the folders that an editable distribution's modules are imported from."""
    assert distribution.source is not None
    source = Path(distribution.source)
    roots = []
    for row in distribution.record():
        file = distribution.site / row.path
        if row.path.endswith(".pth") and file.exists():
            lines = file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            roots += [
                Path(line) for line in lines if line and not line.startswith(("import ", "#"))
            ]
    # Some build tools install an import hook instead, each in its own format.
    return roots or [source, source / "src"]


def _read_all(sites: Iterable[Path]) -> Iterator[Distribution]:
    for metadata in importlib.metadata.distributions(path=[str(site) for site in sites]):
        fields = metadata.metadata
        # An interrupted uninstallation leaves metadata without them.
        name, version = (fields.get_all(field, [""])[0] for field in ("Name", "Version"))
        if not name or not version:
            logger.warning("ignoring a distribution without a name or version: %s", metadata)
            continue
        origin, source = _origin(metadata)
        yield Distribution(normalize(name), version, origin, source, metadata)


def _origin(metadata: importlib.metadata.Distribution) -> tuple[Origin, str | None]:
    text = metadata.read_text("direct_url.json")
    # Conda writes where its own servers built the package.
    if text is None or (metadata.read_text("INSTALLER") or "").strip() == "conda":
        return Origin.INDEX, None
    direct = json.loads(text)
    url = direct["url"]
    if "dir_info" in direct:
        path = urllib.request.url2pathname(urllib.parse.urlsplit(url).path)
        is_editable = direct["dir_info"].get("editable", False)
        return (Origin.EDITABLE if is_editable else Origin.FOLDER), path
    return (Origin.VCS if "vcs_info" in direct else Origin.ARCHIVE), url
