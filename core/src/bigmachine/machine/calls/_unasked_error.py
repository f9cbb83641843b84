"""Tells of the errors of submitted calls for which nobody asks."""

from __future__ import annotations

import logging

logger = logging.getLogger("bigmachine.machine")  # of those that don't keep the loop waiting

_known_methods: set[str] = set()
"""Methods of which somebody has seen an error, or read in the log of one, in this process."""


class UnaskedError:
    """An error that a future holds. If it is freed before `ask`, a warning is logged.

    One for each method, and none if anybody has asked for another error of the same method: most
    programs ask for the first one, which ends them, and never for those of the other calls.
    """

    __slots__ = ("_error", "_machine", "_method")

    def __init__(self, method: str, machine: str, error: BaseException) -> None:
        self._method = method
        self._machine = machine
        self._error = error

    def ask(self) -> None:
        """Take note that somebody asks for it."""
        _known_methods.add(self._method)

    def __del__(self) -> None:
        if self._method not in _known_methods:
            _known_methods.add(self._method)
            logger.warning(
                "%s on %s, which was submitted, has failed, and nobody has asked for its outcome; "
                "others may fail, too, and are not logged",
                self._method,
                self._machine,
                # Not the error alone, of which logging asks whether it is true.
                exc_info=(type(self._error), self._error, self._error.__traceback__),
            )
