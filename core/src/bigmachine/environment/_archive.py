"""A local folder as blobs: its small files in one archive, each big one by itself."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..errors import UsageError
from ._cache import Cache
from ._scan import File, Folder

# Big enough that a blob's own request costs nothing beside it, and small enough that a
# machine which has the last version of a folder gets little again.
_SMALL_BYTES = 256 << 10
_LEVEL = 6


def big_files(folder: Folder) -> Iterator[File]:
    """Yield the files that travel by themselves."""
    return (file for file in folder.files if file.size_bytes > _SMALL_BYTES)


def archive(folder: Folder, *, hashes: Mapping[str, str], cache: Cache) -> Path | None:
    """Pack the small files of ``folder`` into a tar.gz; None if there are none.

    ``hashes`` has the SHA-256 of each file by its path. The same files give the same bytes.
    """
    files = [file for file in folder.files if file.size_bytes <= _SMALL_BYTES]
    if not files:
        return None
    key = hashlib.sha256(b"tar.gz")
    for file in files:
        line = f"{file.path}\0{file.mode}\0{hashes[file.path]}\n"
        key.update(line.encode("utf-8", "surrogateescape"))
    return cache.file(
        key.hexdigest(), lambda place: _write(place / "files.tar.gz", files, hashes=hashes)
    )


def _write(path: Path, files: list[File], *, hashes: Mapping[str, str]) -> None:
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for file in files:
            content = file.source.read_bytes()
            if hashlib.sha256(content).hexdigest() != hashes[file.path]:
                raise UsageError(f"{file.source} changes while it is being packed; start again")
            info = tarfile.TarInfo(file.path)  # its defaults have no time and no owner
            info.size = len(content)
            info.mode = file.mode
            tar.addfile(info, io.BytesIO(content))
