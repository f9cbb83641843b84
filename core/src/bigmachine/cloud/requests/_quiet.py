"""What a provider's library logs while bigmachine uses it, kept out of the user's log."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(name: str, level: int = logging.INFO) -> Iterator[None]:
    """Keep out of the user's log what this thread logs, up to a level, by the logger ``name``.

    The user's own calls of the same library, in other threads and later, are logged as ever.
    """
    thread = threading.get_ident()

    def passes(record: logging.LogRecord) -> bool:
        return record.levelno > level or record.thread != thread

    logger = logging.getLogger(name)
    logger.addFilter(passes)
    try:
        yield
    finally:
        logger.removeFilter(passes)
