"""Warnings about immortal instances, which outlive their session."""

from __future__ import annotations

import logging
from collections.abc import Mapping

logger = logging.getLogger("bigmachine.gcp")


def warn_of_start(ids: Mapping[str, str], *, session: str, lifetime: float) -> None:
    """Log that these instances were started and will not end: ids by machine name."""
    logger.warning(
        "%s: immortal: they outlive their session and their driver; %s",
        _named(ids),
        _end(session, lifetime),
    )


def warn_of_end(ids: Mapping[str, str], *, session: str, lifetime: float) -> None:
    """Log that the session ends, and leaves these instances running."""
    logger.warning(
        "session %s has ended and LEAVES RUNNING, because they are immortal: %s, and its firewall "
        "rule; %s",
        session,
        _named(ids),
        _end(session, lifetime),
    )


def _named(ids: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name.partition('.')[0]} ({id.rpartition('/')[2]})" for name, id in ids.items()
    )


def _end(session: str, lifetime: float) -> str:
    return (
        f"they are billed until you run: bigmachine reap gcp {session} (or until their lifetime of "
        f"{lifetime:g} s ends)"
    )
