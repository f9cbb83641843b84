"""Processes for ``@bm.parallel`` methods, each with a copy of one service.

The machine passes a call on to its process, and the process's reply on to the caller,
without unpickling either. The head of a call is the method's name, after that what traces the
call; the head of a reply is its kind of frame. Reports of what the method has counted may come
before the reply, see `ProcessReports`, and so do the spans of a call that is traced.
"""

from __future__ import annotations

import contextlib
import inspect
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

import trio

from ...errors import RemoteError, UsageError
from ...logs._settings import apply_sent, settings_to_send
from ...process import (
    close_in_children,
    module_path,
    pack,
    pass_over_breakpoints,
    prepare_output,
    python_environ,
    start_command,
)
from .. import _kept_exceptions
from .._exceptions import CallError, dump_exception
from .._frames import Frame, Kind, Payload
from .._marshal import dump_result, load_arguments
from .._pickled_service import PickledService
from ._option_hint import hint_at_options
from .processes._messages import receive_message, send_message
from .processes._profiles import answer_machine, ask_process
from .processes._reports import REPORT, ProcessReports, absorb_report
from .processes._traces import SPANS, ProcessTracing, call_head, spans_payload, split_head

if TYPE_CHECKING:
    from ...profiling import Profile
    from ...profiling._request import ProfileRequest


class ProcessPool:
    """The processes of one service: started when calls need them, kept for the next calls.

    There are as many as there were calls at once. Each call holds a thread of the
    machine's `ThreadPool`, so the limit of that pool is the limit of the processes, too.
    """

    def __init__(self, pickled: PickledService) -> None:
        self._pickled = pickled
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._busy: set[_Process] = set()
        self._is_closed = False

    def call(self, method: str) -> ProcessCall:
        """Return a call of ``"Service.method"``, to be run."""
        return ProcessCall(self, method)

    @property
    def process_ids(self) -> list[int]:
        """Its processes, those that are idle, too."""
        with self._lock:
            return [process.pid for process in (*self._idle, *self._busy)]

    async def profile(self, request: ProfileRequest) -> list[Profile]:
        """Have the processes that there are now do what is requested, at the same time."""
        with self._lock:
            processes = [*self._idle, *self._busy]
        found: list[Profile] = []

        async def ask(process: _Process) -> None:
            if (profile := await ask_process(process.profiles, request)) is not None:
                found.append(profile.labelled(process=f"{process.pid}"))

        async with trio.open_nursery() as nursery:
            for process in processes:
                nursery.start_soon(ask, process)
        return found

    def take(self) -> _Process:
        """Return a live process that no other call has."""
        with self._lock:
            if self._is_closed:
                raise CallError(UsageError("the service is no longer installed"))
            process = None
            while process is None and self._idle:
                process = self._idle.pop()
                if process.has_ended():  # of its own, between two calls
                    process.end()
                    process = None
            process = process or _Process(self._pickled)
            self._busy.add(process)
            return process

    def give_back(self, process: _Process, *, is_usable: bool) -> None:
        """Keep a process for the next call, or end it."""
        with self._lock:
            self._busy.discard(process)
            if is_usable and not self._is_closed:
                self._idle.append(process)
                return
        process.end()

    def end(self, timeout: float) -> None:
        """Let the idle processes run their exit handlers, for so long at most; end all."""
        with self._lock:
            idle = list(self._idle)
        for process in idle:
            process.ask_to_end()
        deadline = time.monotonic() + timeout
        for process in idle:
            process.wait(max(0.0, deadline - time.monotonic()))
        self.close()

    def close(self) -> None:
        """End all processes, even those that are busy."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
            for process in self._busy:  # their calls wait for their end
                process.kill()
        for process in idle:
            process.end()


class ProcessCall:
    """One call: it runs in a thread, and is cancelled from any other."""

    def __init__(self, pool: ProcessPool, method: str) -> None:
        self._pool = pool
        self._method = method
        self._lock = threading.Lock()
        self._process: _Process | None = None
        self._is_cancelled = False
        self.has_ended = False

    def run(
        self, arguments: Payload, *, tracing: ProcessTracing | None = None
    ) -> tuple[int, Payload]:
        """Return the reply, of kind ``REPLY`` or ``ERROR``.

        `RemoteError` if the process ended before it replied, as it does when cancelled.
        """
        if self._is_cancelled:  # while it waited for a thread; nobody waits for it now
            raise CallError(UsageError(f"{self._method} was cancelled before it began"))
        process = self._pool.take()
        reply = None
        with self._lock:
            self._process = process
            if self._is_cancelled:
                process.kill()
        try:
            with contextlib.suppress(EOFError, OSError):
                reply = process.exchange(self._method, arguments, tracing)
        finally:
            with self._lock:
                self._process = None
                self.has_ended = True
            is_usable = reply is not None and not self._is_cancelled
            self._pool.give_back(process, is_usable=is_usable)
        if reply is None:
            how = process.exit_report()
            message = f"{self._method}: its process {how} before the method returned"
            raise CallError(RemoteError(message, method=self._method))
        return reply

    def cancel(self) -> None:
        """Kill the process if the call has begun; otherwise it never begins."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None:
                self._process.kill()
            else:
                self.has_ended = True


class _Process:
    """One process and our end of its socket."""

    def __init__(self, pickled: PickledService) -> None:
        self._unsent_service: PickledService | None = pickled
        self._socket, theirs = socket.socketpair()
        self.profiles, their_profiles = socket.socketpair()
        with theirs, their_profiles:
            fd, profiles_fd = theirs.fileno(), their_profiles.fileno()
            # Not forked, because this process has threads; in its process group, to end with it.
            self._process = subprocess.Popen(
                [*start_command(f"{__name__}:main", fd), str(fd), str(profiles_fd)],
                stdin=subprocess.DEVNULL,
                pass_fds=[fd, profiles_fd],
                env=python_environ(),
            )
        with contextlib.suppress(OSError):  # it has ended: the first call says how
            header = {**module_path(), "argv": [*map(str, sys.argv)], "logs": settings_to_send()}
            self._socket.sendall(pack(header))

    def exchange(
        self, method: str, arguments: Payload, tracing: ProcessTracing | None
    ) -> tuple[int, Payload]:
        """Send a call and wait for its reply; `EOFError` or `OSError` if the process ends."""
        if self._unsent_service is not None:
            pickled, self._unsent_service = self._unsent_service, None
            send_message(self._socket, b"", pickled.to_payload())
        send_message(self._socket, call_head(method, tracing), arguments)
        while True:
            head, pickled_reply, *buffers = receive_message(self._socket)
            if head[0] == REPORT:
                absorb_report(pickled_reply)
            elif head[0] == SPANS and tracing is not None:
                tracing.absorb(pickle.loads(pickled_reply))
            else:
                break
        size = sum(part.nbytes for part in (pickled_reply, *buffers))
        return head[0], Payload((pickled_reply,), buffers, pickled_reply.nbytes, size)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask_to_end(self) -> None:
        """Let it see the end of its calls, so that it ends by itself."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def wait(self, timeout: float) -> None:
        """Wait for its end, for so long at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)

    def kill(self) -> None:
        """Kill the process; whatever waits for its reply sees the end."""
        self._process.kill()
        with contextlib.suppress(OSError):  # the other end has closed it
            self._socket.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """Kill the process, and take its exit status."""
        self.kill()
        self._process.wait()
        self._socket.close()
        self.profiles.close()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def exit_report(self) -> str:
        """Describe how it ended."""
        status = self._process.returncode
        if status >= 0:
            return f"exited with status {status}"
        try:
            return f"was killed by signal {-status} ({signal.Signals(-status).name})"
        except ValueError:  # a real-time signal has no name
            return f"was killed by signal {-status}"


def main(header: dict[str, Any], fd: str, profiles_fd: str) -> None:
    """Run as such a process, until the machine closes its end of the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = dict.fromkeys([*header["path"], *sys.path])
    sys.argv[:] = header["argv"]
    machine, profiles = (socket.socket(fileno=int(number)) for number in (fd, profiles_fd))
    for each in (machine, profiles):
        # A process that a method leaves behind must not look like this one.
        each.set_inheritable(False)
        close_in_children(each)
    threading.Thread(target=answer_machine, args=(profiles,), daemon=True).start()
    prepare_output()
    apply_sent(header["logs"])
    pass_over_breakpoints()
    _kept_exceptions.keep_none()

    def send(kind: int, payload: Payload) -> None:
        send_message(machine, bytes([kind]), payload)

    reports = ProcessReports(send)
    with contextlib.suppress(EOFError, OSError):
        _, whole, *parts = receive_message(machine)
        pickled: PickledService | None = PickledService((whole,), parts)
        del whole, parts
        service: object = None
        while True:
            head, arguments, *buffers = receive_message(machine)
            name, trace = split_head(head)
            kind, spans = Kind.REPLY, list[Any]()
            reports.begin()
            try:
                if pickled is not None:  # here, so that the call gets the error
                    service, pickled = pickled.load(), None
                with trace(spans):
                    payload = _call(service, Frame(Kind.CALL, 0, 0, name, arguments, buffers, 0))
            except BaseException as exc:
                kind, payload = Kind.ERROR, dump_exception(exc)
            del arguments, buffers
            reports.end()
            if spans:
                send(SPANS, spans_payload(spans))
            send(kind, payload)
            del payload


def _call(service: object, frame: Frame) -> Payload:
    args, kwargs = load_arguments(frame)
    name = frame.name.partition(".")[2]
    try:
        result = (getattr(service, name) if name else service)(*args, **kwargs)  # type: ignore[operator]
    except TypeError as exc:
        hint_at_options(exc, kwargs)
        raise
    if inspect.isawaitable(result) or isinstance(result, Iterator | AsyncIterator):
        kind = type(result).__name__
        raise CallError(
            UsageError(
                f"{frame.name} returned a {kind}: a parallel method runs in a process without a "
                "loop, and returns its result whole"
            )
        )
    return dump_result(frame.name, result)
