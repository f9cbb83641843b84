"""Look at this process and its folders, and say what its environment is."""

from __future__ import annotations

import heapq
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from .._values import LIMIT_BYTES
from ..errors import UsageError
from ._cache import Cache
from ._distributions import Distribution, Origin, import_roots, installed, normalize
from ._environment import Environment
from ._indexes import configured_indexes
from ._places import find_places
from ._scan import Folder, scan
from ._sizes import size_text
from ._target import Target
from ._wheels import Wheels

_NAMED = 5  # files, and folders, that the message about too much names


def capture(
    script: str | os.PathLike[str] | None = None,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    exclude_distributions: Collection[str] = (),
    limit_bytes: int = LIMIT_BYTES,
    path: Sequence[str] | None = None,
) -> Environment:
    """Describe the environment of ``script``, by default of this process's program.

    ``script`` is a file, or the folder that a notebook imports from. ``path`` is the
    import path, by default `sys.path`.

    Of every entry of the path that is neither Python's nor holds installed distributions,
    the files that git would take travel. ``exclude`` and ``include`` are patterns of the
    form of ``.gitignore``, relative to each such folder: what one of ``exclude`` names
    stays, and what one of ``include`` names goes whatever a ``.gitignore`` says.

    Every installed distribution is part of it but those that ``without`` names. One that
    is installed as editable travels as a wheel that is built of it, and not a second time
    in a folder.

    Raises `UsageError` if the folders' files are more than ``limit_bytes``, or can't be
    read, or an editable distribution can't be built.
    """
    places = find_places(sys.path if path is None else path, script=script)
    distributions = _without(installed(places.sites), exclude_distributions)
    cache = Cache()
    wheels = Wheels(cache=cache)
    editables = [each for each in distributions if each.origin is Origin.EDITABLE]
    roots = {os.path.realpath(root) for each in editables for root in import_roots(each)}
    folders = []
    for place in places.folders:
        if place != places.script and os.path.realpath(place) in roots:
            continue  # it is on the path because of the editable distribution
        folder = scan(place, include=include, exclude=exclude)
        for distribution in editables:
            folder = _without_files_of(distribution, folder, wheels)
        if folder.files:
            folders.append(folder)
    _check_size(folders, limit_bytes=limit_bytes)
    return Environment(
        target=Target.here(),
        distributions=distributions,
        folders=folders,
        indexes=configured_indexes(),
        wheels=wheels,
        cache=cache,
    )


def _without(
    distributions: Sequence[Distribution], names: Collection[str]
) -> tuple[Distribution, ...]:
    left_out = {normalize(name) for name in names}
    unknown = left_out - {distribution.name for distribution in distributions}
    if unknown:
        raise UsageError(
            f"exclude_distributions={sorted(unknown)}: there is no such distribution installed"
        )
    return tuple(each for each in distributions if each.name not in left_out)


def _without_files_of(distribution: Distribution, folder: Folder, wheels: Wheels) -> Folder:
    """Leave out the files that the wheel of an editable distribution brings."""
    place = Path(os.path.realpath(folder.path))
    source = Path(os.path.realpath(distribution.source or ""))
    if not (place.is_relative_to(source) or source.is_relative_to(place)):
        return folder
    brought = wheels.build(distribution).files()
    roots = [os.path.realpath(root) for root in import_roots(distribution)]
    files = {os.path.join(place, file.path): file for file in folder.files}
    for path in [*files]:
        if any(os.path.relpath(path, root).replace(os.sep, "/") in brought for root in roots):
            del files[path]
    return replace(folder, files=tuple(files.values()))


def _check_size(folders: Sequence[Folder], *, limit_bytes: int) -> None:
    total = sum(folder.size_bytes for folder in folders)
    if total <= limit_bytes:
        return
    files = [(f.size_bytes, folder.path / f.path) for folder in folders for f in folder.files]
    sizes: Counter[Path] = Counter()
    for folder in folders:
        for file in folder.files:
            first, slash, _ = file.path.partition("/")
            sizes[folder.path / first if slash else folder.path] += file.size_bytes
    lines = [f"  {size_text(size):>10}  {place}" for size, place in heapq.nlargest(_NAMED, files)]
    lines += [f"  {size_text(size):>10}  {place}/" for place, size in sizes.most_common(_NAMED)]
    raise UsageError(
        f"the local folders that would travel to the machines are {size_text(total)}, and the "
        f"limit is {size_text(limit_bytes)}. The biggest files and folders:\n"
        + "\n".join(lines)
        + "\nLeave out what the machines don't need by exclude=['/data/', ...] or a .gitignore, or "
        f"set limit_bytes={total} or more"
    )
