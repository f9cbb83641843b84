"""The entries of the import path: the user's own folders, and those of installed packages."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

logger = logging.getLogger("bigmachine.environment")

_SITE_NAMES = frozenset({"site-packages", "dist-packages"})  # the latter is Debian's
_PROGRAM_NAMES = frozenset({"bin", "Scripts"})  # the latter is Windows'


@dataclass(frozen=True, slots=True)
class ImportPath:
    """The entries of an import path by kind, each kind in the order of the path.

    ``script`` is the folder of the program itself, or None if the program is installed.
    ``folders`` are local, with ``script`` first unless it is elsewhere on the path.
    ``sites`` contain installed distributions.
    """

    script: Path | None
    folders: tuple[Path, ...]
    sites: tuple[Path, ...]


def split_import_path(
    path: Sequence[str], *, script: str | os.PathLike[str] | None = None
) -> ImportPath:
    """Sort the entries of the import path ``path`` by kind.

    ``script`` is the program, or the folder of a notebook; by default it is this
    process's ``__main__``. If a script is a symbolic link, its folder is that of the real
    file: Python imports from there. Raises `UsageError` if there is no such file.
    """
    script_folder = _folder_of(Path(script)) if script is not None else _folder_of_main()
    here = _current_folder()
    entries = [Path(os.path.abspath(e)) for e in path if here is not None or os.path.isabs(e)]
    if script_folder is not None and script_folder not in entries:
        entries.insert(0, script_folder)
    folders: dict[str, Path] = {}
    sites: dict[str, Path] = {}
    for entry in entries:
        if not entry.is_dir():
            if entry.exists() and not _is_stdlib(entry):
                logger.warning(
                    "%s is on the import path but is not a folder: it is not sent", entry
                )
        elif entry == script_folder:
            folders.setdefault(os.path.realpath(entry), entry)
        elif _is_site(entry):
            sites.setdefault(os.path.realpath(entry), entry)
        elif not _belongs_to_python(entry):
            folders.setdefault(os.path.realpath(entry), entry)
    return ImportPath(script_folder, tuple(folders.values()), tuple(sites.values()))


def _folder_of(script: Path) -> Path:
    if not script.exists():
        raise UsageError(f"no such script: {script}")
    if script.is_dir():
        return Path(os.path.abspath(script))
    return Path(os.path.realpath(script)).parent


def _folder_of_main() -> Path | None:
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None:  # a notebook, `python -c` or a prompt: these import from here
        return _current_folder()
    # Python resolves the links of a script, but not those of a module (`python -m`).
    is_script = getattr(main, "__spec__", None) is None
    folder = Path(os.path.realpath(file) if is_script else os.path.abspath(file)).parent
    if not folder.is_dir() or _is_site(folder) or _belongs_to_python(folder):
        return None
    # `python -m package.module` imports from the folder that the package is in.
    package = getattr(main, "__package__", None) or ""
    for _ in filter(None, package.split(".")):
        folder = folder.parent
    return folder


def _current_folder() -> Path | None:
    try:
        return Path.cwd()
    except FileNotFoundError:  # it was deleted: nothing can be imported from it
        return None


def _is_site(folder: Path) -> bool:
    return folder.name in _SITE_NAMES or any(folder.glob("*.dist-info"))


def _belongs_to_python(folder: Path) -> bool:
    """Return whether the folder belongs to Python, to an installed package, or to a tool."""
    return (
        _is_stdlib(folder)
        or not _SITE_NAMES.isdisjoint(folder.parts)
        or (folder.name in _PROGRAM_NAMES and (folder.parent / "pyvenv.cfg").exists())
        or folder.samefile(os.path.dirname(sys.executable))
        or folder.name == ".ipython"  # settings and history; IPython adds it to the path
    )


def _is_stdlib(entry: Path) -> bool:
    return (
        (entry / "os.py").exists()
        or entry.name == "lib-dynload"
        or (entry.suffix == ".zip" and entry.name.startswith("python3"))
    )
