"""How to install what is missing: from the clone bigmachine came from, or the package index."""

from __future__ import annotations

# Each session imports this, and hardly one needs what its functions import.
from pathlib import Path


def install_command(*extras: str) -> str:
    """Return the command that adds these extras of ``bigmachine``.

    Where bigmachine is installed from a clone, that has the same version of them, and the index
    perhaps none.
    """
    import shlex

    core = _source_folder()
    if core is None:
        return f'pip install "bigmachine[{",".join(extras)}]"'
    plugins = {extra: core.parent / "plugins" / extra for extra in extras}
    folders = [str(folder) for folder in plugins.values() if folder.is_dir()]
    others = ",".join(extra for extra, folder in plugins.items() if not folder.is_dir())
    if others:
        folders.insert(0, f"{core}[{others}]")
    return " ".join(["pip install", *(f"-e {shlex.quote(folder)}" for folder in folders)])


def _source_folder() -> Path | None:
    """Return the folder ``core`` of the clone that it is installed from (PEP 610)."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import urlsplit

    try:
        direct = json.loads(distribution("bigmachine").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    if "dir_info" not in direct:
        return None
    from urllib.request import url2pathname

    core = Path(url2pathname(urlsplit(direct["url"]).path))
    return core if (core / "pyproject.toml").is_file() else None
