"""What is said, loudly, of instances that outlive their session because their user wants it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

logger = logging.getLogger("bigmachine.ec2")


def warn_of_start(ids: Mapping[str, str], *, session: str, lifetime: float | None) -> None:
    """Say that these instances were started, and will not end: ids by machines' names."""
    logger.warning(
        "%s: immortal. Neither their session nor their driver's death ends them; %s",
        _named(ids),
        _until(session, lifetime),
    )


def warn_of_end(ids: Mapping[str, str], *, session: str, lifetime: float | None) -> None:
    """Say that the session ends, and leaves these instances."""
    logger.warning(
        "session %s has ended, and LEAVES RUNNING, as they are immortal: %s, and its security "
        "group; %s",
        session,
        _named(ids),
        _until(session, lifetime),
    )


def _named(ids: Mapping[str, str]) -> str:
    return ", ".join(f"{name.partition('.')[0]} ({id})" for name, id in ids.items())


def _until(session: str, lifetime: float | None) -> str:
    words = "they are billed until you end them: bigmachine reap " + session
    if lifetime is not None:
        words += f" (or until {lifetime:g} s after their boot, the end of their lifetime)"
    return words
