"""The driver's side of the debugger: one prompt for the methods of all machines of a session."""

from __future__ import annotations

import contextlib
import linecache
import logging
import os
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import trio

from ..errors import NotSupportedError, UsageError, sanitize, sanitize_line
from ..machine._link import follow
from ..machine._time_limits import TimeLimits
from ..machine.supervisor._client import SupervisorClient, supervisor
from ..rpc import Connection, ConnectionLost
from ._console import Complete, Console, find_console, is_interactive, is_user_typing
from ._protocol import Reply, Stop

T = TypeVar("T")

logger = logging.getLogger("bigmachine.machine")

_POLL_SECONDS = 0.2  # while the user types the next statement of an interactive Python


class DebuggedMachine(NamedTuple):
    """A machine whose methods may be debugged."""

    name: str
    connected: Callable[[], Awaitable[Connection]]
    nursery: trio.Nursery
    """It ends with the machine."""


class SessionDebugger:
    """Debugs the methods of a session's machines, one at a time.

    While any waits, the time limits of the session's calls stand still.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.time_limits = TimeLimits()
        self.machines: dict[str, DebuggedMachine] = {}
        """Those that can be reached, by their addresses."""
        self.token = trio.lowlevel.current_trio_token()
        self._turn = trio.Lock()
        self._is_told = False  # that breakpoints are passed over
        sessions.add(self)

    async def follow(
        self, name: str, addr: str, connected: Callable[[], Awaitable[Connection]]
    ) -> None:
        """Debug the methods of one machine that stop at breakpoints, until cancelled."""
        seen = 0

        async def ask(connection: Connection) -> None:
            nonlocal seen
            try:
                stops = await supervisor(connection).breakpoints(seen)
            except NotSupportedError:  # it is in this process, where pdb works by itself
                await trio.sleep_forever()
            for stop in stops:
                seen = max(seen, stop.number)
                nursery.start_soon(self._debug, machine, stop)

        try:
            async with trio.open_nursery() as nursery:
                machine = DebuggedMachine(sanitize_line(name), connected, nursery)
                self.machines[addr] = machine
                await follow(connected, ask, "breakpoints")
        finally:
            del self.machines[addr]

    async def post_mortem(self, addr: str, failure: str, why: str) -> None:
        """Let the user debug a call that has failed; `UsageError` if that can't be done.

        ``why`` is a line for the user.
        """
        machine = self.machines.get(addr)
        done = trio.Event()
        error: Exception | None = UsageError(
            "the machine has ended, and all that was in its memory"
        )

        async def debug(machine: DebuggedMachine) -> None:
            nonlocal error
            try:
                stop = await _ask(machine, lambda asked: asked.post_mortem(failure))
                await self._debug(machine, stop, sanitize_line(why))
                error = None
            except Exception as exc:
                error = exc
            finally:
                done.set()

        if machine is not None:
            machine.nursery.start_soon(debug, machine)
            await done.wait()
        if error is not None:
            raise error

    async def _debug(self, machine: DebuggedMachine, stop: Stop, why: str = "") -> None:
        """Let the user debug a method that has stopped, when it is its turn."""
        with self.time_limits.paused():
            async with self._turn:
                console = await self._console(machine, stop)
                if isinstance(console, Console):
                    try:
                        async with _alone():
                            await self._converse(console, machine, stop, why)
                        return
                    except Exception as exc:
                        # Of somebody's input(), as of a notebook that is run by a program.
                        console = str(exc) or type(exc).__name__
        if console and not self._is_told:
            self._is_told = True
            logger.warning(
                "%s: breakpoint() at %s is passed over, and so are all others: %s",
                machine.name,
                sanitize_line(stop.place),
                console,
            )
        await _ask(machine, SupervisorClient.debug_decline)

    async def _console(self, machine: DebuggedMachine, stop: Stop) -> Console | str:
        if os.environ.get("PYTHONBREAKPOINT") == "0":
            return ""
        await self._wait_for_statement(machine, stop)
        return find_console()

    async def _wait_for_statement(self, machine: DebuggedMachine, stop: Stop) -> None:
        """Wait while the user types elsewhere, and until a statement runs that takes a moment."""
        is_told = False
        was_typing = is_interactive()
        while is_user_typing() or was_typing:
            was_typing = is_user_typing()
            if was_typing and not is_told:
                is_told = True
                logger.warning(
                    "%s: stopped at %s; the debugger begins with the next statement that takes a "
                    "moment, such as the result() of its future",
                    machine.name,
                    sanitize_line(stop.place),
                )
            await trio.sleep(_POLL_SECONDS)

    async def _converse(
        self, console: Console, machine: DebuggedMachine, stop: Stop, why: str
    ) -> None:
        sources = _sources(stop.files)
        reply = await _ask(machine, lambda asked: asked.debug_attach(stop.number, sources))
        complete = self._completer(machine, stop)
        output = f"{machine.name}: {why or 'stopped in the debugger'}\n"
        if reply.prompt is None:
            output = ""
        known = 0
        while reply.prompt is not None:
            if (waiting := self._turn.statistics().tasks_waiting) != known and waiting:
                others = "1 other method waits" if waiting == 1 else f"{waiting} other methods wait"
                output += f"{others} for the debugger\n"
            known = waiting
            output += sanitize(reply.output, colors=True)
            try:
                line = await _in_thread(console.read, output, sanitize(reply.prompt), complete)
            except trio.Cancelled:  # the machine has ended, or the session
                console.give_up(f"{machine.name} can't be debugged any longer: press Enter\n")
                raise
            output = ""
            reply = await self._send(machine, stop, line)
        await _in_thread(console.write, output + sanitize(reply.output, colors=True))

    async def _send(self, machine: DebuggedMachine, stop: Stop, line: str) -> Reply:
        connection = await machine.connected()
        try:
            return await supervisor(connection).debug_send(stop.number, line)
        except ConnectionLost:  # it has received the line, or not: its reply tells
            return await _ask(machine, lambda asked: asked.debug_attach(stop.number, {}))

    def _completer(self, machine: DebuggedMachine, stop: Stop) -> Complete:
        def complete(text: str, line: str, begin: int, end: int) -> list[str]:
            def ask(asked: SupervisorClient) -> Awaitable[list[str]]:
                return asked.debug_complete(stop.number, text, line, begin, end)

            found = trio.from_thread.run(_ask, machine, ask)
            return [match for match in found if match.isprintable()]

        return complete


sessions: weakref.WeakSet[SessionDebugger] = weakref.WeakSet()
"""Those of the sessions of this process."""


_conversation = threading.Lock()


@contextlib.asynccontextmanager
async def _alone() -> AsyncIterator[None]:
    """Wait until no other session of this process has the terminal; each has its own loop."""
    while not _conversation.acquire(blocking=False):
        await trio.sleep(_POLL_SECONDS)
    try:
        yield
    finally:
        _conversation.release()


async def _ask(machine: DebuggedMachine, ask: Callable[[SupervisorClient], Awaitable[T]]) -> T:
    """Ask what may be asked again, over a new connection when one is lost."""
    while True:
        connection = await machine.connected()
        try:
            return await ask(supervisor(connection))
        except ConnectionLost:
            await trio.lowlevel.checkpoint()


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


def _sources(files: tuple[str, ...]) -> dict[str, str]:
    """Return the text of those files that hold this program's code, for a machine without them.

    A class of a script or a notebook is sent by value, so its source may be nowhere but here. No
    other file is sent, whatever a machine asks for.
    """
    ours = {getattr(module, "__file__", None) for module in [*sys.modules.values()]}
    known = [file for file in files if file in ours or _is_cell(file)]
    return {file: "".join(lines) for file in known if (lines := linecache.getlines(file))}


def _is_cell(file: str) -> bool:
    return file in linecache.cache and not os.path.exists(file)
