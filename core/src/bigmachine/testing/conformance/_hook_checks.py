"""What a session says about a backend's class before it opens: its fault, and its warnings."""

from __future__ import annotations

import logging

from bigmachine.errors import PluginError
from bigmachine.system import System
from bigmachine.system._plugins import check_system


def check_hooks(system: type[System]) -> tuple[str, list[str]]:
    """Return why a session would refuse the class, "" if it would not; and its warnings."""
    warnings = _Messages()
    logger = logging.getLogger("bigmachine.plugins")
    is_propagating, logger.propagate = logger.propagate, False  # HOOKS-2 says it, once
    logger.addHandler(warnings)
    try:
        check_system(system)
    except PluginError as exc:
        return str(exc), warnings.texts
    finally:
        logger.removeHandler(warnings)
        logger.propagate = is_propagating
    return "", warnings.texts


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
