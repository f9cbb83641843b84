"""One method that is stopped in pdb: what pdb reads and writes, and what the driver sends."""

from __future__ import annotations

import io
import linecache
import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple

import trio

from .._repeated_event import RepeatedEvent
from ._protocol import Reply

logger = logging.getLogger("bigmachine.machine")

ANSWER_SECONDS = 30.0
"""How long a method waits for its driver to notice that it has stopped, in seconds."""

# Matches for a text in a line, from one column to another.
Complete = Callable[[str, str, int, int], list[str]]


class Declined(Exception):
    """The driver has no use for the debugger."""


class StoppedMethod:
    """Passes lines between pdb, in the method's thread, and the machine's loop.

    What begins with ``wait`` is called in that thread, and so is `say`; all else in the loop of
    ``token``.
    """

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._noticed = threading.Event()
        self._messages: queue.SimpleQueue[_Attached | _Question | str | None] = queue.SimpleQueue()
        self._reply: Reply | None = None  # the last one, until the next line
        self._changed = RepeatedEvent()
        self.is_attached = False

    # -- in the method's thread -----------------------------------------------

    def wait_for_driver(self) -> bool:
        """Wait until the driver attaches; False if it declines, or does not answer."""
        is_noticed = self._noticed.wait(ANSWER_SECONDS)
        if not is_noticed:
            logger.warning("a breakpoint is passed over: the driver has not noticed it")
        message = self._messages.get() if is_noticed else None
        if not isinstance(message, _Attached):
            self.say(Reply("", None))  # to a driver that attaches too late
            return False
        for file, source in message.sources.items():
            lines = source.splitlines(keepends=True)
            linecache.cache[file] = (len(source), None, lines, file)
        return True

    def wait_for_line(self, reply: Reply, complete: Complete) -> str:
        """Give a reply with a prompt; return the line typed there, empty at the end of input.

        Raises `Declined` if there is nobody to type one any more.
        """
        self.say(reply)
        while True:
            message = self._messages.get()
            if isinstance(message, str):
                return message
            if isinstance(message, _Question):
                message.answer(complete)
            else:
                raise Declined

    def say(self, reply: Reply) -> None:
        """Give a reply."""
        try:
            self._token.run_sync_soon(self._take, reply)
        except trio.RunFinishedError:  # the machine ends
            return

    # -- in the loop ----------------------------------------------------------

    def notice(self) -> None:
        """Take note that the driver knows of it, and will attach or decline."""
        self._noticed.set()

    def decline(self) -> None:
        """Let the method go on without pdb."""
        self._messages.put(None)
        self._noticed.set()

    async def attach(self, sources: Mapping[str, str]) -> Reply:
        """Let pdb begin, with the text of files that this machine lacks; return its reply.

        It may be called again, for a reply that was lost.
        """
        if not self.is_attached:
            self.is_attached = True
            self._messages.put(_Attached(sources))
        return await self._next_reply()

    async def send(self, line: str) -> Reply:
        """Answer pdb's prompt; return its next reply."""
        if self._reply is None or self._reply.prompt is not None:
            self._reply = None
            self._messages.put(line)
        return await self._next_reply()

    async def completions(self, text: str, line: str, begin: int, end: int) -> list[str]:
        """Return what ``text`` may be the beginning of, in the line at the prompt."""
        if self._reply is None:  # there is no prompt now
            return []
        question = _Question(text, line, begin, end, self._token, trio.Event())
        self._messages.put(question)
        await question.has_answer.wait()
        return question.matches

    async def _next_reply(self) -> Reply:
        while self._reply is None:
            await self._changed.wait()
        return self._reply

    def _take(self, reply: Reply) -> None:
        self._reply = reply
        self._changed.set()


class PdbFile(io.TextIOBase):
    """Standard input and output of a pdb; ``read`` is given what was written before a prompt."""

    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._written: list[str] = []

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
        """Wait for a line of the driver."""
        return self._read(self.take())

    def write(self, text: str, /) -> int:
        """Keep text until it is taken."""
        self._written.append(text)
        return len(text)

    def take(self) -> str:
        """Return what was written since the last time."""
        text = "".join(self._written)
        self._written.clear()
        return text


class _Attached(NamedTuple):
    sources: Mapping[str, str]


class _Question:
    """The driver's question for completions, answered in the method's thread."""

    def __init__(
        self,
        text: str,
        line: str,
        begin: int,
        end: int,
        token: trio.lowlevel.TrioToken,
        has_answer: trio.Event,
    ) -> None:
        self.matches: list[str] = []
        self.has_answer = has_answer
        self._arguments = (text, line, begin, end)
        self._token = token

    def answer(self, complete: Complete) -> None:
        """Find the matches; a fault in an object's ``__dir__`` means none."""
        try:
            self.matches = complete(*self._arguments)
        except Exception:
            self.matches = []
        self._token.run_sync_soon(self.has_answer.set)
