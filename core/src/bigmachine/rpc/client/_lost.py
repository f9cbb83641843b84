"""What a call raises whose connection has ended before the reply."""

from __future__ import annotations

from ...errors import TransportError


class ConnectionLost(TransportError):
    """The connection itself ended; a call sent over it may raise other `TransportError`s."""


class LaneLost(ConnectionLost):
    """One lane ended, and perhaps not the connection that it belongs to."""
