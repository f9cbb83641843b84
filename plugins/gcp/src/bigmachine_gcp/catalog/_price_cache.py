"""Google's price list on this computer's disk: to read it takes a session many seconds."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from bigmachine.cloud import cache_folder

from ._price_list import Rate

logger = logging.getLogger("bigmachine.gcp")

_MAX_AGE_SECONDS = 24 * 3600.0  # "Spot prices can change up to once every day" ("Spot VMs")
_FORMAT = 1  # of the file; another one is read anew


def default_file() -> Path | None:
    """Return where the price list of all of the user's sessions is kept; None without a home."""
    with contextlib.suppress(OSError):
        return cache_folder() / "gcp-prices.json"
    return None


def load_rates(file: Path) -> tuple[Rate, ...] | None:
    """Return what was saved less than a day ago; None if nothing was, or it can't be read."""
    try:
        content = json.loads(file.read_bytes())
        age = time.time() - content["time"]
        if content["format"] != _FORMAT or not 0 <= age < _MAX_AGE_SECONDS:
            return None
        return tuple(
            Rate(str(market), str(resource), frozenset(regions), float(price))
            for market, resource, regions, price in content["rates"]
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError) as exc:
        logger.debug("%s can't be used: %r", file, exc)
        return None


def save_rates(file: Path, rates: Iterable[Rate]) -> None:
    """Save a complete price list. Failures are no error: it is only read again."""
    rows = [[rate.market, rate.resource, sorted(rate.regions), rate.price] for rate in rates]
    content = {"format": _FORMAT, "time": time.time(), "rates": rows}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Other sessions may read and write it at the same time.
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=file.name)
        try:
            with os.fdopen(descriptor, "w") as stream:
                json.dump(content, stream)
            os.replace(name, file)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
    except OSError as exc:
        logger.debug("%s can't be written: %r", file, exc)
