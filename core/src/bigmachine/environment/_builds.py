"""A wheel of a local source folder, built by the user's own tools and kept."""

from __future__ import annotations

import hashlib
import logging
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path

from ..errors import UsageError
from ._blob import hash_file
from ._cache import Cache
from ._distributions import Distribution
from ._scan import scan
from ._target import Target
from ._tools import Outcome, find_pip, find_uv, run

logger = logging.getLogger("bigmachine.environment")

# Builds leave these in the source folder: they must not look like a change of the source.
_BY_PRODUCTS = ("/build/", "/dist/", "*.egg-info/")
# uv's and pip's words when what a build requires can't be had.
_NO_REQUIREMENTS = ("build-system.requires", "install build dependencies")
_TAIL_LINES = 15


@dataclass(frozen=True, slots=True)
class Build:
    """A wheel that was built, and the hash of the source that it was built from."""

    wheel: Path
    source_hash: str

    @property
    def version(self) -> str:
        """The version in its metadata: as of now, not of when it was installed."""
        with zipfile.ZipFile(self.wheel) as wheel:
            [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            return str(BytesParser().parsebytes(wheel.read(name))["Version"])

    def files(self) -> set[str]:
        """Return the names of what is in it."""
        with zipfile.ZipFile(self.wheel) as wheel:
            return set(wheel.namelist())


def build(distribution: Distribution, *, cache: Cache) -> Build:
    """Build the wheel of an editable distribution, unless its source is as it was.

    Its source is what git would take of the folder. Raises `UsageError` with the last
    lines of what the tool said if it can't be built.
    """
    assert distribution.source is not None
    source = Path(distribution.source)
    if not source.is_dir():
        raise UsageError(
            f"{distribution.name} is installed as editable, and its folder {source} is gone; "
            "install it again, or uninstall it"
        )
    source_hash = hash_source(source)
    key = hashlib.sha256(f"{source_hash} {distribution.name} {Target.here()}".encode()).hexdigest()

    def make(folder: Path) -> None:
        logger.info("building a wheel of %s in %s", distribution.name, source)
        _build(source, folder)

    return Build(cache.file(key, make), source_hash)


def hash_source(source: Path) -> str:
    """Return the hash (hex) of the names, modes and contents of a source folder's files."""
    total = hashlib.sha256()
    for file in scan(source, exclude=_BY_PRODUCTS).files:
        entry = f"{file.path}\0{file.mode}\0{hash_file(file.source)}\n"
        total.update(entry.encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _build(source: Path, folder: Path) -> None:
    """Build the wheel of ``source`` into ``folder``."""
    outcome = Outcome(-1, "")
    with tempfile.TemporaryDirectory(prefix="bigmachine-build-") as scratch:
        for command in _commands(source, Path(scratch)):
            outcome = run(command)
            wheels = [*Path(scratch).glob("*.whl")]
            if outcome.status == 0 and wheels:
                (folder / wheels[0].name).write_bytes(wheels[0].read_bytes())
                return
            if not any(words in outcome.output for words in _NO_REQUIREMENTS):
                break
    raise UsageError(
        f"can't build a wheel of {source}, which is installed as editable and would travel as a "
        f"wheel:\n{outcome.tail(_TAIL_LINES)}"
    )


def _commands(source: Path, folder: Path) -> Iterator[list[str]]:
    """Yield the command, and the one for when the build's requirements can't be had."""
    uv, pip = find_uv(), find_pip()
    if uv:
        command = [*uv, "build", "--wheel", "--python", sys.executable, "--out-dir", str(folder)]
    elif pip:
        command = [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder)]
    else:
        raise UsageError(
            f"{source} is installed as editable and would travel as a wheel, and there is neither "
            "uv nor pip to build one; pip install uv"
        )
    yield [*command, str(source)]
    yield [*command, "--no-build-isolation", str(source)]
