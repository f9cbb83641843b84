"""A call that arrived over a lane: the lane's thread runs its method, and sends the reply."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

from ..._frames import Frame, Kind, Payload
from ..._marshal import dump_result
from ..._streams import closing
from ...memory._socket import MemorySocket
from .._registry import Method
from ..pools._pools import Pools
from ..pools._thread_job import ThreadJob, do_nothing
from ._call import PLAIN_TYPES
from ._framed_call import FramedCall
from ._process_work import ProcessWork

Reply: TypeAlias = tuple[int, Payload]
"""What is to be sent to the caller; STREAM instead of the items of a generator."""


class LaneCall(FramedCall):
    """Returns its reply from `run`, unless its ``lane`` has given it up.

    What a ``def`` returns may be awaitable: then its thread waits while that goes on in the loop.
    """

    __slots__ = ("_ended_in_loop", "_lane", "_outcome")

    _must_wait = False  # its caller reads nothing else before the reply

    def __init__(
        self, method: Method, frame: Frame, *, lane: CallingLane, pools: Pools, began: float
    ) -> None:
        super().__init__(method, pools, began)
        self._frame = frame
        self._lane = lane
        self._outcome: Reply | None = None
        self._ended_in_loop: threading.Event | None = None  # if it went on there

    def run(self) -> Reply | None:
        """Run the method, in this thread; return None once nobody waits for the reply."""
        method, threads = self.method, self._pools.threads
        if threads.has_news:
            threads.warn_of_abandoned()
        run, process_call = self._run_in_thread, None
        if method.processes is not None:
            process_call = method.processes.call(method.name)
            run = functools.partial(self._run_in_process, process_call)
        job = LaneJob(
            run,
            pool=threads,
            name=method.name,
            places=threads.concurrent if method.is_concurrent else threads.places,
            exclusive=method.exclusive,
            is_watched=method.processes is None and not method.is_concurrent,
        )
        job.native_id = self._lane.native_id
        self._work = job if process_call is None else ProcessWork(process_call, job)
        if not self.is_cancelled:  # before there was anything to cancel
            job.run_in_turn()()
        # Either this sees that it is cancelled, or `cancel` sees the event.
        if self._ended_in_loop is not None and not self.is_cancelled:
            self._ended_in_loop.wait()
        return self._outcome

    def cancel(self) -> None:
        super().cancel()
        if self._ended_in_loop is not None:
            self._ended_in_loop.set()

    def returned(self, result: object) -> Callable[[], None]:
        if type(result) not in PLAIN_TYPES and isinstance(result, Iterator):
            with contextlib.suppress(BaseException):
                getattr(result, "close", do_nothing)()
            return self._refuse_items
        payload = dump_result(self.method.name, result, memory=self._lane.memory)
        return functools.partial(self._finish, Kind.REPLY, payload)

    async def send_items(self, items: AsyncIterator[Any]) -> None:
        async with closing(items):
            pass
        self._refuse_items()

    def _continue_in_loop(self, result: Any) -> None:
        self._ended_in_loop = threading.Event()
        self._pools.threads.post(functools.partial(super()._continue_in_loop, result))

    def _refuse_items(self) -> None:
        self._finish(Kind.STREAM, _NOTHING)

    def _finish(self, kind: int, payload: Payload) -> None:
        self._outcome = kind, payload
        if self._ended_in_loop is not None:
            self._ended_in_loop.set()


class LaneJob(ThreadJob):
    """A job for the thread that makes it: `run_in_turn` waits for its place."""

    __slots__ = ("_turn",)

    def run_in_turn(self) -> Callable[[], None]:
        """Go through the gates, and run; return what is to be called then."""
        if self.exclusive is None and self._places.enter_at_once():
            self._has_place = True  # as most of the time
        else:
            self._turn: SimpleQueue[bool] = SimpleQueue()
            self.start()
            if self._is_cancelled:  # perhaps before it was in a queue
                self.cancel()
            if not self._turn.get():
                return do_nothing
        # In a context of its own, as in a thread of the pool.
        follow_up = contextvars.copy_context().run(self.run_here)
        self.end()
        return follow_up

    def _begin(self) -> None:
        self._has_place = True
        self._turn.put(True)

    def _drop(self) -> None:
        self._turn.put(False)


class CallingLane(Protocol):
    """The lane over which a call came, with the ``native_id`` of its thread."""

    native_id: int
    memory: MemorySocket | None
    """The way of large results past the wire, if there is one."""


_NOTHING = Payload((b"",), (), 0, 0)
