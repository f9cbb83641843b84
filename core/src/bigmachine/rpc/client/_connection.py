"""What a caller needs of a connection to a machine, by frames or by POST."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from outcome import Outcome

from .._streams import IncomingStream
from ._pickled_call import PickledCall, pickle_call
from ._pickled_result import loaded_once

if TYPE_CHECKING:
    from ._lanes import Lanes


class Connection(ABC):
    """A connection to the ``machine`` at ``addr``; `dial` makes one.

    `run` serves it. Calls on a connection that ends raise `ConnectionLost`.
    """

    connects_per_call = False
    """Whether each call opens a connection of its own, so that there is none to replace."""

    addr: str
    machine: str
    is_open: bool
    lanes: Lanes | None = None
    """What threads make calls over by themselves, if there is such a thing."""

    @property
    @abstractmethod
    def is_in_use(self) -> bool:
        """Whether calls or streams are in flight: any but those of `call_supervisor`."""

    @property
    def shares_memory(self) -> bool:
        """Whether large buffers can now go past the wire: the machine is of this host."""
        return False

    @property
    def is_local(self) -> bool:
        """Whether the machine is known to be of this host: its bytes go over no network."""
        return False

    @property
    def received_at(self) -> float:
        """When the machine sent something last, on trio's clock; ``-inf`` if that is unknown."""
        return -math.inf

    @abstractmethod
    async def run(self) -> None:
        """Serve the connection until it ends."""

    @abstractmethod
    async def outcome(self, call: PickledCall) -> Outcome[Any]:
        """Make a call; return what the method returned, perhaps a `PickledResult`, or raised.

        Cancelling the caller cancels the method. The error is what the method raised (see
        `RemoteError`), `UsageError`, or `ConnectionLost` when the connection ends first.
        """

    @abstractmethod
    async def open_stream(self, call: PickledCall) -> IncomingStream:
        """Call a generator method; return its items as an async iterator.

        Iterators and files among the arguments are uploaded meanwhile.
        """

    def start(self, call: PickledCall, replied: Callable[[Any], object]) -> int | None:
        """Make a call without a task that waits for it: ``replied`` gets what `load` takes.

        Returns a number for `cancel`; None if such a call needs a task. Raises what
        `outcome` returns if the call can't be sent; then ``replied`` is not called.
        """
        return None

    def load(self, method: str, reply: Any) -> Outcome[Any]:
        """Return the outcome of a call that `start` has made."""
        raise NotImplementedError

    def cancel(self, number: int) -> None:
        """Give up a call that `start` has made: cancel the method, and forget ``replied``."""
        raise NotImplementedError

    async def call_supervisor(
        self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Any:
        """Make a call of our own, which does not count in `is_in_use`, and takes no lane.

        So the driver asks ``"Supervisor.method"``; a user's call is made by `outcome`. Returns
        what the method returns, and raises what `outcome` has.
        """
        return loaded_once((await self.outcome(pickle_call(method, args, kwargs))).unwrap())

    async def stream(
        self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> IncomingStream:
        """Call a generator method; see `open_stream`."""
        return await self.open_stream(pickle_call(method, args, kwargs))
