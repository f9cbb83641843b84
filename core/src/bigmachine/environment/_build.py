"""Build a wheel of a local source folder with the user's own tools, uv or pip, and cache it."""

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
from ._blob import hash_files, hash_list
from ._cache import Cache
from ._distributions import Distribution
from ._scan import scan
from ._target import Target
from ._tools import Outcome, find_pip, find_uv, run

logger = logging.getLogger("bigmachine.environment")

# Builds leave these in the source folder. They are no change of the source.
_BUILD_OUTPUTS = ("/build/", "/dist/", "*.egg-info/")
# What uv and pip print if the requirements of a build are not available.
_NO_REQUIREMENTS = ("build-system.requires", "install build dependencies")
_TAIL_LINES = 15
_LARGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Build:
    """A wheel that was built, and the hash of its source."""

    wheel: Path
    source_hash: str

    @property
    def version(self) -> str:
        """The version in its metadata. It may be newer than the installed one."""
        with zipfile.ZipFile(self.wheel) as wheel:
            [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            return str(BytesParser().parsebytes(wheel.read(name))["Version"])

    def files(self) -> set[str]:
        """Return the names of its files."""
        with zipfile.ZipFile(self.wheel) as wheel:
            return set(wheel.namelist())


def build(distribution: Distribution, *, cache: Cache) -> Build:
    """Build the wheel of an editable distribution, unless ``cache`` has it for this source.

    The source is what git would add of the folder. Raises `UsageError` with the last lines
    of the tool's output if the wheel cannot be built.
    """
    assert distribution.source is not None
    source = Path(distribution.source)
    if not source.is_dir():
        raise UsageError(
            f"{distribution.name} is installed as editable, and its folder {source} does not "
            "exist; install it again, or uninstall it"
        )
    source_hash = hash_source(source)
    key = hashlib.sha256(f"{source_hash} {distribution.name} {Target.here()}".encode()).hexdigest()

    def make(folder: Path) -> None:
        logger.info("building a wheel of %s in %s", distribution.name, source)
        _build(source, folder)

    return Build(cache.file(key, make), source_hash)


def hash_source(source: Path) -> str:
    """Return the hash (hex) of the names, modes and contents of a source folder's files.

    Of large files, which are data that the wheel may not even contain, the size and time count.
    """
    files = scan(source, exclude=_BUILD_OUTPUTS).files
    hashes = hash_files(file for file in files if file.size_bytes <= _LARGE_BYTES)
    for file in files:
        if file.size_bytes > _LARGE_BYTES:
            hashes[file.path] = f"{file.size_bytes} {file.source.stat().st_mtime_ns}"
    return hash_list(files, hashes)


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
        f"cannot build a wheel of {source}, which is installed as editable and must be sent as a "
        f"wheel:\n{outcome.tail(_TAIL_LINES)}"
    )


def _commands(source: Path, folder: Path) -> Iterator[list[str]]:
    """Yield the command, and the one to try if the build's requirements are not available."""
    uv, pip = find_uv(), find_pip()
    if uv:
        command = [*uv, "build", "--wheel", "--python", sys.executable, "--out-dir", str(folder)]
    elif pip:
        command = [*pip, "wheel", "--no-deps", "--wheel-dir", str(folder)]
    else:
        raise UsageError(
            f"{source} is installed as editable and must be sent as a wheel, and there is neither "
            "uv nor pip to build one; pip install uv"
        )
    yield [*command, str(source)]
    yield [*command, "--no-build-isolation", str(source)]
