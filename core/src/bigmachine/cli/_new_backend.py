"""``bigmachine new-backend``: write a package with a working backend, as a start for your own."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from bigmachine.errors import UsageError

# What is written, and its template. The name is replaced in the paths, too.
_FILES = {
    "pyproject.toml": "pyproject.toml.in",
    "README.md": "README.md.in",
    ".gitignore": "gitignore.in",
    "src/bigmachine_mycloud/__init__.py": "init.py.in",
    "src/bigmachine_mycloud/_system.py": "system.py.in",
    "tests/test_conformance.py": "test_conformance.py.in",
}
_ABOUT = {
    "pyproject.toml": "its name, and its entry point",
    "README.md": "what its users read",
    "src/bigmachine_mycloud/_system.py": "the backend: TODO marks what you must replace",
    "tests/test_conformance.py": "the conformance kit, on this backend",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")  # one spelling each, as in an index


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "write a package with a working backend, as a start for your own"
    parser = commands.add_parser("new-backend", help=text, description=text.capitalize() + ".")
    parser.add_argument("name", metavar="NAME", help="the system's name, as sessions give it")
    parser.add_argument(
        "--directory",
        type=Path,
        metavar="DIR",
        help="the folder to write it in (default: bigmachine-NAME)",
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the package, after the name and the folder are checked."""
    name: str = arguments.name
    _check_name(name)
    folder: Path = arguments.directory or Path(f"bigmachine-{name}")
    for warning in _warnings(name):
        print(f"bigmachine: warning: {warning}", file=sys.stderr)
    written = write_backend(name, folder)
    print(f"Created the backend {name!r} in {folder}:")
    width = max(map(len, written)) + 2
    for path, about in written.items():
        print(f"  {path:{width}}{about}".rstrip())
    print(f"""
It works as it is. Next:
  cd {folder}
  pip install -e '.[test]'
  pytest                       test that it keeps the contract
  bigmachine systems           show what its users see
Then put your own machines into {next(p for p in written if p.endswith("_system.py"))}.""")
    return 0


def write_backend(name: str, folder: Path) -> dict[str, str]:
    """Write a package for the system ``name``; return the purpose of each file, by its path.

    Raises `UsageError` if ``folder`` is not empty, or cannot be written.
    """
    from importlib.resources import files

    templates = files(__package__) / "_templates"
    written = {}
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not empty: choose another --directory")
        for path, template in _FILES.items():
            target = folder / _personal(path, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            text = (templates / template).read_text(encoding="utf-8")
            target.write_text(_personal(text, name), encoding="utf-8")
            written[_personal(path, name)] = _ABOUT.get(path, "")
    except OSError as exc:
        raise UsageError(f"cannot write {exc.filename}: {exc.strerror}") from exc
    return written


def _personal(text: str, name: str) -> str:
    """Replace ``mycloud``, in each of its spellings, by ``name``."""
    words = name.split("-")
    spellings = {
        "bigmachine_mycloud": f"bigmachine_{'_'.join(words)}",
        "MYCLOUD": "_".join(words).upper(),
        "Mycloud": "".join(word.capitalize() for word in words),
        "mycloud": name,
    }
    return re.sub("|".join(spellings), lambda match: spellings[match[0]], text)


def _check_name(name: str) -> None:
    if _NAME.fullmatch(name):
        return
    words = re.findall(r"[a-z0-9]+", name.lower().removeprefix("bigmachine-"))
    plain = "-".join(words).lstrip("-0123456789")
    hint = f", such as {plain!r}" if _NAME.fullmatch(plain) else ""
    raise UsageError(
        f"{name!r} cannot be the name of a system: use lower-case letters, digits and single "
        f"hyphens, and begin with a letter{hint}"
    )


def _warnings(name: str) -> Iterator[str]:
    from bigmachine.system._entrypoints import EXTRAS, installed_systems

    others = [entry for entry in installed_systems() if entry.name == name]
    if others:
        yield (
            f"{others[0]} also has a system {name!r}: sessions refuse the name while both are "
            "installed"
        )
    elif name in EXTRAS:
        yield f"{name!r} is the name of one of bigmachine's own systems: both cannot be installed"
    if name.startswith("bigmachine"):
        yield f"the package will be called bigmachine-{name}: give the name without the prefix"
