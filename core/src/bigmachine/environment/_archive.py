"""A local folder as blobs: one archive of its small files, and each large file by itself."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ._blob import Blob, hash_list
from ._cache import Cache
from ._local_file import open_regular, unreadable
from ._scan import File, Folder

# Large enough that the request for a blob costs nothing in comparison; small enough that a
# machine which has the last version of a folder receives little.
_SMALL_BYTES = 256 << 10
_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Part:
    """A blob of a folder: one large ``file``, or the archive of the small ones (None)."""

    blob: Blob
    file: File | None = None


class FileChangedError(Exception):
    """A small file was changed since it was hashed; it has ``content`` now."""

    def __init__(self, file: File, content: bytes) -> None:
        super().__init__(file)
        self.file = file
        self.content = content


def pack_folder(
    folder: Folder, *, hashes: Mapping[str, str], contents: Mapping[str, bytes], cache: Cache
) -> Iterator[Part]:
    """Yield the parts of ``folder``, the archive first if there is one.

    ``hashes`` has the SHA-256 of each file by its path, and ``contents`` what small files had
    in them when they were hashed, if that is known; others are read. The same files give the
    same bytes. Raises `FileChangedError` if a small file has another hash now, and `UsageError`
    if one cannot be read.
    """
    small = [file for file in folder.files if file.size_bytes <= _SMALL_BYTES]
    if small:
        key = hash_list(small, hashes, salt=b"tar.gz")

        def make(place: Path) -> None:
            _write(place, small, hashes=hashes, contents=contents)

        yield Part(Blob.of(cache.file(key, make)))
    for file in folder.files:
        if file.size_bytes > _SMALL_BYTES:
            yield Part(Blob.of(file.source, sha256=hashes[file.path]), file)


def _write(
    place: Path, files: list[File], *, hashes: Mapping[str, str], contents: Mapping[str, bytes]
) -> None:
    with (
        (place / "files.tar.gz").open("wb") as raw,
        gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for file in files:
            content = contents.get(file.path)
            if content is None:
                content = _read(file)
                if hashlib.sha256(content).hexdigest() != hashes[file.path]:
                    raise FileChangedError(file, content)
            info = tarfile.TarInfo(file.path)  # its defaults have no time and no owner
            info.size = len(content)
            info.mode = file.mode
            tar.addfile(info, io.BytesIO(content))


def _read(file: File) -> bytes:
    try:
        with open_regular(file.source) as source:
            return source.read()
    except OSError as exc:
        raise unreadable(file.source, exc) from exc
