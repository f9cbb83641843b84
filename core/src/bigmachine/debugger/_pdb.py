"""pdb for a method on a machine: its terminal is the driver's."""

from __future__ import annotations

import bdb
import linecache
import pdb
import sys
import threading
from collections.abc import Callable, Iterable
from types import CodeType, FrameType, TracebackType
from typing import Any

from ..services._tracebacks import user_frames
from ..services._waiting import stop_watching
from ._protocol import Reply
from ._stopped import Declined, PdbFile, StoppedMethod

# Announces a method that stopped at a place, with the files that can't be read here.
Announce = Callable[[str, tuple[str, ...]], StoppedMethod]

_NOT_TRACED = "bigmachine.*"


class _Thread(threading.local):
    pdb: RemotePdb | None = None


_thread = _Thread()


def active_pdb() -> RemotePdb | None:
    """Return the pdb that the driver is debugging this thread with, while it steps."""
    return _thread.pdb


class RemotePdb(pdb.Pdb):
    """A pdb that stops until the driver attaches, or declines.

    It shows the user's frames alone, and ends with the method. ``announce`` tells the driver of
    each stop; in between, when the method continues to another breakpoint, the driver's terminal
    is free for others.
    """

    def __init__(self, machine: str, announce: Announce) -> None:
        self._file = PdbFile(self._read)
        super().__init__(stdin=self._file, stdout=self._file, nosigint=True, skip=[_NOT_TRACED])  # type: ignore[arg-type]
        self.prompt = f"(Pdb {machine}) "
        self._announce = announce
        self._stopped: StoppedMethod | None = None
        self._outermost: FrameType | None = None
        self._has_prompt = False

    def stop_in(
        self, frame: FrameType, *, header: str | None, commands: Iterable[str] | None
    ) -> None:
        """Stop at the next line of a frame, or where it is; not in what is typed at the prompt."""
        if self._has_prompt:
            return
        sys.settrace(None)  # in the middle of a step, or the next one would be in here
        frames = _stack_of(frame)
        self._outermost = frames[0] if frames else None
        if header is not None:
            self.message(header)
        self.rcLines.extend(commands or ())
        self.set_trace(frame)

    def examine(self, exc: BaseException) -> None:
        """Look at an exception that was raised, until the driver has enough."""
        self.reset()
        # An exception itself, with its causes, is accepted from Python 3.13 on.
        shown: Any = exc if sys.version_info >= (3, 13) else exc.__traceback__
        self.interaction(None, shown)

    # -- pdb's own methods, changed -------------------------------------------

    def interaction(self, frame: FrameType | None, traceback: Any, *more: Any) -> None:
        """Talk with the driver, if it attaches."""
        if self._stopped is None and not self._attach(frame, traceback):
            self._detach(frame)
            return
        self._has_prompt = True
        try:
            super().interaction(frame, traceback, *more)
        except Declined:
            self._detach(frame)
        finally:
            self._has_prompt = False
            if frame is None or self.quitting or self._continues:
                self._release()

    def dispatch_return(self, frame: FrameType, arg: Any) -> Any:
        """End with the method: the thread is given other calls."""
        result = super().dispatch_return(frame, arg)
        if frame is not self._outermost:
            return result
        self._detach(frame)
        return None

    def trace_dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:
        """Say in the error of a call how it ended."""
        try:
            return super().trace_dispatch(frame, event, arg)
        except bdb.BdbQuit:
            text = "the debugger was left by q, or the end of its input, which ends the call"
            raise bdb.BdbQuit(text) from None

    def get_stack(self, f: FrameType | None, t: TracebackType | None) -> Any:
        """Return the stack without the frames of bigmachine, and the place in it to begin at."""
        stack, index = super().get_stack(f, t)
        shown = user_frames((frame.f_code.co_filename, (frame, line)) for frame, line in stack)
        if not shown:
            return stack, index
        current = stack[index]
        return shown, shown.index(current) if current in shown else len(shown) - 1

    def do_interact(self, arg: str) -> None:
        """Refuse, since it reads the machine's own standard input."""
        self.error("there is no interact on a machine: type the statements at this prompt")

    def do_run(self, arg: str) -> None:
        """Refuse, since there is no program to start again."""
        self.error("a method can't be run again from here: q ends its call, then call it again")

    do_restart = do_run

    # -- the conversation -----------------------------------------------------

    def _attach(self, frame: FrameType | None, traceback: Any) -> bool:
        if isinstance(traceback, BaseException):
            traceback = traceback.__traceback__
        stack, index = self.get_stack(frame, traceback)
        innermost, line = stack[index]
        code: CodeType = innermost.f_code
        files = {each.f_code.co_filename: each for each, _ in stack}
        stopped = self._announce(
            f"{code.co_filename}:{line} in {code.co_qualname}",
            tuple(
                file for file, each in files.items() if not linecache.getlines(file, each.f_globals)
            ),
        )
        if not stopped.wait_for_driver():
            return False
        stop_watching()
        self._stopped = stopped
        _thread.pdb = self
        return True

    def _read(self, written: str) -> str:
        if self._stopped is None:
            return ""
        output, newline, prompt = written.rpartition("\n")
        reply = Reply(output + newline, prompt)
        return self._stopped.wait_for_line(reply, self._completions)

    def _release(self) -> None:
        if self._stopped is not None:
            self._stopped.say(Reply(self._file.take(), None))
            self._stopped = _thread.pdb = None

    def _detach(self, frame: FrameType | None) -> None:
        """Trace nothing any longer in this thread."""
        sys.settrace(None)
        while frame is not None:
            frame.f_trace = None
            frame = frame.f_back
        self._release()

    @property
    def _continues(self) -> bool:
        return self.stopframe is self.botframe and self.stoplineno == -1

    def _completions(self, text: str, line: str, begin: int, end: int) -> list[str]:
        stripped = line.lstrip()
        begin, end = (max(0, at - (len(line) - len(stripped))) for at in (begin, end))
        found: list[str] = []
        command = self.parseline(stripped)[0] if begin else None
        if not begin:
            found += self.completenames(text, stripped, begin, end)
        elif command:
            complete = getattr(self, f"complete_{command}", self.completedefault)
            found += complete(text, stripped, begin, end)
        if not found or not begin:
            found += self._complete_expression(text, stripped, begin, end)
        return sorted(set(found))


def _stack_of(frame: FrameType) -> list[FrameType]:
    """Return the user's frames around this one, the outermost first."""
    frames: list[FrameType] = []
    each: FrameType | None = frame
    while each is not None:
        frames.insert(0, each)
        each = each.f_back
    return user_frames((each.f_code.co_filename, each) for each in frames)
