"""Describe this process's environment: its Python, its distributions and its local folders."""

from __future__ import annotations

import heapq
import os
import sys
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from .._values import LIMIT_BYTES, size_text
from ..errors import UsageError
from ._cache import Cache
from ._distributions import Distribution, Origin, import_roots, installed, normalize
from ._environment import Environment
from ._import_path import split_import_path
from ._indexes import configured_indexes
from ._places import check_place
from ._scan import Folder, scan
from ._target import Target
from ._wheels import Wheels

_MAX_NAMED = 5  # files, and folders, in the message about too many bytes


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

    An entry of the path is a local folder if it does not belong to Python and contains no
    installed distributions. Of a local folder, the files that git would add are sent.
    ``exclude`` and ``include`` are patterns in the format of ``.gitignore``, relative to
    each such folder: a file that ``exclude`` matches is not sent; a file that ``include``
    matches is sent, even if a ``.gitignore`` excludes it. Secrets, such as credentials and
    private keys, are sent only if ``include`` names them.
    `Environment.left_out` lists what is not sent.

    All installed distributions are included, except those in ``exclude_distributions``. One
    that is installed as editable is sent as a wheel, built from its source; its files are
    not sent again as part of a folder.

    Raises `UsageError` if the files of the folders are larger than ``limit_bytes`` or cannot
    be read, if an editable distribution cannot be built, or if a folder is the user's home or
    one that others share, and ``include`` and ``exclude`` do not say what to send of it.
    """
    entries = split_import_path(sys.path if path is None else path, script=script)
    distributions = _included(installed(entries.sites), exclude_distributions)
    cache = Cache()
    wheels = Wheels(cache=cache, include=include)
    editables = [each for each in distributions if each.origin is Origin.EDITABLE]
    roots = {os.path.realpath(root) for each in editables for root in import_roots(each)}
    folders = []
    for place in entries.folders:
        if place != entries.script and os.path.realpath(place) in roots:
            continue  # it is on the path because of the editable distribution
        if not {"*", "/*"}.isdisjoint(exclude):
            continue
        is_project = check_place(place, include=include)
        folder = scan(place, include=include, exclude=exclude, only_included=not is_project)
        for distribution in editables:
            folder = _without_wheel_files(folder, distribution, wheels)
        folders.append(folder)
    _check_size(folders, limit_bytes=limit_bytes)
    return Environment(
        target=Target.here(),
        distributions=distributions,
        folders=[folder for folder in folders if folder.files],
        left_out=[each for folder in folders for each in folder.left_out],
        indexes=configured_indexes(),
        wheels=wheels,
        cache=cache,
    )


def _included(
    distributions: Sequence[Distribution], excluded: Collection[str]
) -> tuple[Distribution, ...]:
    names = {normalize(name) for name in excluded}
    unknown = names - {distribution.name for distribution in distributions}
    if unknown:
        raise UsageError(f"exclude_distributions={sorted(unknown)}: not installed")
    return tuple(each for each in distributions if each.name not in names)


def _without_wheel_files(folder: Folder, distribution: Distribution, wheels: Wheels) -> Folder:
    """Return ``folder`` without the files that are in the wheel of an editable distribution."""
    place = Path(os.path.realpath(folder.path))
    source = Path(os.path.realpath(distribution.source or ""))
    if not (place.is_relative_to(source) or source.is_relative_to(place)):
        return folder
    in_wheel = wheels.build(distribution).files()
    roots = [os.path.realpath(root) for root in import_roots(distribution)]
    files = {os.path.join(place, file.path): file for file in folder.files}
    for path in [*files]:
        if any(os.path.relpath(path, root).replace(os.sep, "/") in in_wheel for root in roots):
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
    largest = [(size, f"{path}") for size, path in heapq.nlargest(_MAX_NAMED, files)]
    largest += [(size, f"{path}/") for path, size in sizes.most_common(_MAX_NAMED)]
    raise UsageError(
        f"the local folders to send to the machines are {size_text(total)}, and the limit is "
        f"{size_text(limit_bytes)}. The largest files and folders:\n"
        + "\n".join(f"  {size_text(size):>10}  {path}" for size, path in largest)
        + "\nExclude what the machines do not need by exclude=['/data/', ...] or a .gitignore, or "
        f"set limit_bytes={total} or more"
    )
