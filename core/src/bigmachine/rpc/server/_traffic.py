"""How much a machine has received and sent, over all connections so far."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ...metrics import Metric
from ...metrics._variables import measured
from ..transport._channel import Channel


class Traffic:
    """The connections of a server, and what the ended ones have received and sent."""

    def __init__(self) -> None:
        self._channels: set[Channel] = set()
        self._received_bytes = self._sent_bytes = 0

    @contextlib.contextmanager
    def of(self, channel: Channel) -> Iterator[None]:
        """Count what ``channel`` receives and sends, until the block ends."""
        self._channels.add(channel)
        try:
            yield
        finally:
            self._channels.discard(channel)
            self._received_bytes += _received_bytes(channel)
            self._sent_bytes += _sent_bytes(channel)

    def metrics(self) -> list[Metric]:
        """Return them as metrics."""
        received = self._received_bytes + sum(map(_received_bytes, self._channels))
        sent = self._sent_bytes + sum(map(_sent_bytes, self._channels))
        return [
            measured(
                "bigmachine_received_bytes",
                "counter",
                received,
                help="What the machine has received from drivers and peers",
                unit="bytes",
            ),
            measured(
                "bigmachine_sent_bytes",
                "counter",
                sent,
                help="What the machine has sent to drivers and peers, without its own calls",
                unit="bytes",
            ),
            measured(
                "bigmachine_connections",
                "gauge",
                len(self._channels),
                help="Connections of drivers and peers",
            ),
        ]


def _received_bytes(channel: Channel) -> int:
    memory = channel.memory  # what went past the wire has come, too
    return channel.received_bytes + (memory.received_bytes if memory is not None else 0)


def _sent_bytes(channel: Channel) -> int:
    memory = channel.memory
    return channel.sent_bytes + (memory.sent_bytes if memory is not None else 0)
