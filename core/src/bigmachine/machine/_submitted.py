"""The submitted calls of a machine that others must not overtake."""

from __future__ import annotations


class Submitted(dict[object, int]):
    """The futures of submitted calls that may not have reached the machine; for any thread.

    With each is how many keepalives were answered before. Nothing else refers to a future, so one
    that is done is freed, with its result, as soon as its owner lets it go.
    """

    def __init__(self) -> None:
        self._replies = 0

    def add(self, future: object) -> None:
        """Add a call that is to be sent."""
        self[future] = self._replies

    def discard(self, future: object) -> None:
        """Remove a call that is done."""
        self.pop(future, None)

    def keepalive_replied(self) -> None:
        """Remove the calls that have arrived.

        The keepalive was sent after the reply to the one before, and has arrived after all calls
        that were submitted by then.
        """
        # A copy: other threads add and remove meanwhile.
        for future, replies_before in self.copy().items():
            if replies_before < self._replies:
                self.discard(future)
        self._replies += 1
