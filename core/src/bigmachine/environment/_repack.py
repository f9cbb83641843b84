"""A wheel of an installed distribution, repacked from the files in its RECORD."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import UsageError
from ._cache import Cache
from ._distributions import Distribution, RecordRow
from ._messages import first_of

logger = logging.getLogger("bigmachine.environment")

# These say how and where it was installed: the installer at the other end writes its own.
_INSTALLER_FILES = frozenset(
    {"INSTALLER", "REQUESTED", "RECORD", "RECORD.jws", "RECORD.p7s"}
    | {"direct_url.json", "uv_cache.json", "uv_build.json"}
)
_SCRIPT_FOLDERS = frozenset({"bin", "Scripts"})
_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip file can store
# Measured with numpy: level 1 packs 110 MB/s; level 6 packs 31 MB/s, one eighth smaller.
_LEVEL = 1
_CHUNK_BYTES = 1 << 20
_MAX_NAMED = 3  # files in a message

# What installers write for `#!python`; the second is for paths too long for a kernel.
_SHEBANGS = (
    re.compile(rb"#!\"?/[^\n]*?/python[\d.]*(?:\.exe)?\"?(?=[ \n\r])"),
    re.compile(rb"#!/bin/sh\n'''exec' [^\n]*?/python[\d.]*\"? \"\$0\" \"\$@\"\n' '''(?=\n)"),
)


def repack(distribution: Distribution, *, cache: Cache) -> Path:
    """Pack the distribution as a wheel; return its file, in a folder named by a content hash.

    The same contents give the same bytes. If a file was changed after it was installed, the
    changed file is packed, with a warning. Raises `UsageError` if a file is missing, or
    there is no RECORD.
    """
    members = sorted(_members(distribution), key=lambda member: member.name)
    name = repacked_name(distribution)
    key = hashlib.sha256(name.encode())
    for member in members:
        key.update(f"\0{member.name}\0{member.mode}\0{member.digest}".encode())
    return cache.file(key.hexdigest(), lambda folder: _write(folder / name, members, distribution))


def repacked_name(distribution: Distribution) -> str:
    """Return the file name of the distribution's wheel; raises `UsageError` without a RECORD."""
    stem = _info_folder(distribution).removesuffix(".dist-info")
    fields = (distribution.metadata.read_text("WHEEL") or "").splitlines()
    values = [tuple(part.strip() for part in line.split(":", 1)) for line in fields if ":" in line]
    tags = [value for key, value in values if key == "Tag"] or ["py3-none-any"]
    build = [value for key, value in values if key == "Build"]
    # A set of tags is the product of its three parts.
    parts = [dict.fromkeys(part) for part in zip(*(tag.split("-", 2) for tag in tags), strict=True)]
    return "-".join([stem, *build, *(".".join(part) for part in parts)]) + ".whl"


@dataclass(frozen=True, slots=True)
class _Member:
    """A file of a wheel; ``head`` replaces the first ``skip`` bytes of its source."""

    name: str
    source: Path
    mode: int
    size_bytes: int
    digest: str  # as in a RECORD
    head: bytes = b""
    skip: int = 0


def _members(distribution: Distribution) -> Iterable[_Member]:
    info = _info_folder(distribution)
    generated = _generated_scripts(distribution)
    site = Path(os.path.normpath(distribution.site))
    missing: list[str] = []
    changed: list[str] = []
    members: list[_Member] = []
    for row in distribution.record():
        path = PurePosixPath(row.path)
        if "__pycache__" in path.parts or (
            str(path.parent) == info and path.name in _INSTALLER_FILES
        ):
            continue
        if path.parent.name in _SCRIPT_FOLDERS and _script_name(path.name) in generated:
            continue
        source = Path(os.path.normpath(site / row.path))
        name = _name(source, site=site, data=info.removesuffix(".dist-info") + ".data")
        if name is None:
            logger.warning("%s: not packed, because it is outside of any Python: %s", info, source)
            continue
        try:
            digest, status = _digest(source, row), source.stat()
        except FileNotFoundError:
            missing.append(row.path)
            continue
        if row.digest and row.digest != digest:
            changed.append(row.path)
        members.append(_member(name, source, digest, status))
    if missing:
        raise UsageError(
            f"{distribution.name} {distribution.version} cannot be packed: files are missing: "
            f"{first_of(missing, most=_MAX_NAMED)}. Install it again: pip install "
            f'--force-reinstall --no-deps "{distribution.name}=={distribution.version}"'
        )
    if changed:
        logger.warning(
            "%s %s: changed since it was installed; the changed files are sent: %s",
            distribution.name,
            distribution.version,
            first_of(changed, most=_MAX_NAMED),
        )
    return members


def _member(name: str, source: Path, digest: str, status: os.stat_result) -> _Member:
    mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
    if ".data/scripts/" in name:
        content = source.read_bytes()
        for shebang in _SHEBANGS:
            found = shebang.match(content)
            if found:
                head = b"#!python"
                size = len(head) + len(content) - found.end()
                digest = _encode("sha256", hashlib.sha256(head + content[found.end() :]).digest())
                return _Member(name, source, mode, size, digest, head, found.end())
    if not digest.startswith("sha256="):
        digest = _digest(source, RecordRow(name, "", None))
    return _Member(name, source, mode, status.st_size, digest)


def _name(source: Path, *, site: Path, data: str) -> str | None:
    """Return the file's path in a wheel; None if no installer could put it there again."""
    if source.is_relative_to(site):
        relative = source.relative_to(site)
        # `pip install --target` puts scripts here; no package has the name `bin` and one level.
        if len(relative.parts) == 2 and relative.parts[0] == "bin":
            return f"{data}/scripts/{relative.name}"
        return relative.as_posix()
    prefix = _prefix(site)
    if not source.is_relative_to(prefix):
        return None
    relative = source.relative_to(prefix)
    if len(relative.parts) == 2 and relative.parts[0] in _SCRIPT_FOLDERS:
        return f"{data}/scripts/{relative.name}"
    return f"{data}/data/{relative.as_posix()}"


def _prefix(site: Path) -> Path:
    """Return the folder above ``lib/python3.11/site-packages``."""
    for parent in site.parents:
        if parent.name.lower() in ("lib", "lib64"):
            return parent.parent
    return site


def _generated_scripts(distribution: Distribution) -> set[str]:
    groups = ("console_scripts", "gui_scripts")
    return {entry.name for entry in distribution.metadata.entry_points if entry.group in groups}


def _script_name(name: str) -> str:
    return re.sub(r"(-script\.pyw?|\.exe(\.manifest)?)$", "", name)


def _info_folder(distribution: Distribution) -> str:
    for row in distribution.record():
        folder, _, name = row.path.rpartition("/")
        if name == "RECORD" and folder.endswith(".dist-info"):
            return folder
    raise UsageError(
        f"{distribution.name} {distribution.version} has a RECORD that does not list itself, so it "
        "cannot be packed; install it again"
    )


def _write(path: Path, members: Iterable[_Member], distribution: Distribution) -> None:
    record = f"{_info_folder(distribution)}/RECORD"
    lines = []
    with zipfile.ZipFile(path, "w") as wheel:
        for member in members:
            info = _zip_info(member.name, member.mode)
            info.file_size = member.size_bytes  # decides whether the zip64 format is needed
            with wheel.open(info, "w") as target, member.source.open("rb") as source:
                source.seek(member.skip)
                target.write(member.head)
                shutil.copyfileobj(source, target, _CHUNK_BYTES)
            lines.append(f"{_quoted(member.name)},{member.digest},{member.size_bytes}\n")
        lines.append(f"{_quoted(record)},,\n")
        wheel.writestr(_zip_info(record, 0o644), "".join(lines))


def _zip_info(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _TIME)
    info.create_system = 3  # Unix: the next line has its permissions
    info.external_attr = (stat.S_IFREG | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    info._compresslevel = _LEVEL  # type: ignore[attr-defined]  # public since Python 3.13
    return info


def _digest(path: Path, row: RecordRow) -> str:
    """Hash a file with the algorithm of its ``row``."""
    algorithm = row.digest.partition("=")[0] or "sha256"
    with path.open("rb") as file:
        return _encode(algorithm, hashlib.file_digest(file, algorithm).digest())


def _encode(algorithm: str, digest: bytes) -> str:
    return f"{algorithm}={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',"') else name
