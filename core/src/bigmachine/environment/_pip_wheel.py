"""pip's own wheel: a machine installs uv with it; it knows indexes, proxies and certificates."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError
from ._cache import Cache
from ._distributions import Distribution, Origin
from ._repack import repack


def find_pip_wheel(*, cache: Cache) -> Path | None:
    """Return the wheel that Python bundles, or else the installed pip, repacked.

    None if there is neither.
    """
    for folder in _bundles():
        wheels = sorted(folder.glob("pip-*.whl"))
        if wheels:
            return wheels[-1]
    try:
        metadata = importlib.metadata.distribution("pip")
        pip = Distribution("pip", metadata.version, Origin.INDEX, None, metadata)
        return repack(pip, cache=cache)
    except (importlib.metadata.PackageNotFoundError, UsageError):  # Debian's cannot be packed
        return None


def _bundles() -> Iterator[Path]:
    """Yield the folders where `ensurepip` has its wheels; some systems have their own."""
    folder = sysconfig.get_config_var("WHEEL_PKG_DIR")
    if folder:
        yield Path(folder)
    spec = importlib.util.find_spec("ensurepip")
    for place in (spec and spec.submodule_search_locations) or ():
        yield Path(place) / "_bundled"
