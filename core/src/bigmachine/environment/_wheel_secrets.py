"""The wheel of a local package without the secrets that its source had beside the modules."""

from __future__ import annotations

import csv
import hashlib
import io
import zipfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from ._cache import Cache
from ._left_out import LeftOut, Reason
from ._scan import named_patterns
from ._secrets import HEAD_BYTES, is_judged_by_content, secret_by_content, secret_by_name


def without_secrets(
    wheel: Path, *, place: str, include: Sequence[str], cache: Cache
) -> tuple[Path, list[LeftOut]]:
    """Return the file of the wheel without secrets, and what these are; ``place`` names it.

    ``include`` has patterns, relative to the wheel, that name those which are kept. The same
    wheel is returned if it has no secrets.
    """
    left_out = [*_secrets(wheel, place=place, include=include)]
    if not left_out:
        return wheel, []
    paths = [each.path for each in left_out]
    key = hashlib.sha256("\n".join(["without", wheel.parent.name, *paths]).encode())

    def make(folder: Path) -> None:
        _copy(wheel, folder / wheel.name, without=paths)

    return cache.file(key.hexdigest(), make), left_out


def _secrets(wheel: Path, *, place: str, include: Sequence[str]) -> Iterator[LeftOut]:
    named = named_patterns(include)
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            parts = info.filename.split("/")
            # A pattern may name the folder that is a secret, such as `.aws`.
            ends = range(1, len(parts) + 1)
            if any(named.decide("/".join(parts[:end]), is_folder=end < len(parts)) for end in ends):
                continue
            reasons = (
                secret_by_name("/".join(parts[:end]), is_folder=end < len(parts)) for end in ends
            )
            why = next(filter(None, reasons), None)
            if why is None and is_judged_by_content(info.filename):
                with archive.open(info) as file:
                    why = secret_by_content(info.filename, file.read(HEAD_BYTES))
            if why:
                yield LeftOut(place, info.filename, Reason.SECRET, why)


def _copy(wheel: Path, target: Path, *, without: Collection[str]) -> None:
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w") as copy:
        for info in source.infolist():
            content = source.read(info)
            if info.filename in without:
                continue
            if info.filename.endswith(".dist-info/RECORD"):
                rows = [*csv.reader(io.StringIO(content.decode(), newline=""))]
                text = io.StringIO(newline="")
                csv.writer(text, lineterminator="\n").writerows(
                    row for row in rows if row and row[0] not in without
                )
                content = text.getvalue().encode()
            copy.writestr(info, content)
