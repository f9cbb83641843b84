"""Warnings about immortal instances, which outlive their session."""

from __future__ import annotations

import logging
from collections.abc import Mapping


def warn_of_start(
    ids: Mapping[str, str], *, logger: logging.Logger, system: str, session: str, lifetime: float
) -> None:
    """Log that these instances were started and will not end: ids by machine name."""
    logger.warning(
        "immortal machines outlive their session and their driver: %s; %s",
        _named(ids),
        _end(system, session, lifetime),
    )


def warn_of_end(
    ids: Mapping[str, str],
    *,
    logger: logging.Logger,
    system: str,
    session: str,
    lifetime: float,
    firewall: str,
) -> None:
    """Log that the session ends, and leaves these instances running, and its ``firewall``."""
    logger.warning(
        "session %s has ended and LEAVES RUNNING, because they are immortal: %s, and its %s; %s",
        session,
        _named(ids),
        firewall,
        _end(system, session, lifetime),
    )


def _named(ids: Mapping[str, str]) -> str:
    return ", ".join(
        f"{name.partition('.')[0]} ({id.rpartition('/')[2]})" for name, id in ids.items()
    )


def _end(system: str, session: str, lifetime: float) -> str:
    return (
        f"they are billed until you run: bigmachine reap {system} {session} (or until their "
        f"lifetime of {lifetime:g} s ends)"
    )
