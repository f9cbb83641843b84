"""SIGQUIT, which Ctrl-\\ sends: a dump of each open session, instead of the program's end."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import trio

from ..progress._plain import write_line

if TYPE_CHECKING:
    from ..debug._board import StatusBoard
    from ..debug._inspected import Inspected


@contextlib.contextmanager
def dumped_on_quit(board: StatusBoard, session: Inspected, nursery: trio.Nursery) -> Iterator[None]:
    """Have SIGQUIT write a dump of this session, while the block runs."""
    dumper = _Dumper(board, session, nursery)
    _dumpers.append(dumper)
    handle_quit()
    try:
        yield
    finally:
        _dumpers.remove(dumper)
        stop_handling_quit()


def handle_quit() -> None:
    """Handle SIGQUIT from now on, if nobody else does.

    Only the main thread can: a `Session` asks for it there, since its loop has another thread.
    """
    if _may_change_handlers() and signal.getsignal(signal.SIGQUIT) == signal.SIG_DFL:
        if _is_caught():  # by faulthandler, or by another library: Python does not know
            return
        with contextlib.suppress(ValueError):  # another interpreter's main thread
            signal.signal(signal.SIGQUIT, _on_quit)


def stop_handling_quit() -> None:
    """Leave SIGQUIT as it was, unless a session is open."""
    if not _dumpers and _may_change_handlers() and signal.getsignal(signal.SIGQUIT) == _on_quit:
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)


class _Dumper:
    def __init__(self, board: StatusBoard, session: Inspected, nursery: trio.Nursery) -> None:
        self.pid = os.getpid()
        self.is_busy = False
        self._name = board.short_name
        self._board = board
        self._session = session
        self._nursery = nursery
        self._loop = trio.lowlevel.current_trio_token()

    def begin(self) -> None:
        """Write a dump soon. Called by a signal handler."""
        self.is_busy = True
        with contextlib.suppress(trio.RunFinishedError):
            self._loop.run_sync_soon(self._nursery.start_soon, self._write)

    async def _write(self) -> None:
        from ..debug._dump import dump, write_dump

        write_line(f"a dump of {self._name} is made; Ctrl-\\ now ends the program")
        try:
            data = await dump(self._board, self._session)
            path: Path = await trio.to_thread.run_sync(write_dump, data, os.curdir, self._name)
        except Exception as error:
            write_line(f"no dump of {self._name}: {type(error).__name__}: {error}")
        else:
            write_line(f"dump: {path.absolute()}")
        finally:
            self.is_busy = False


def _on_quit(number: int, frame: FrameType | None) -> None:
    dumpers = [dumper for dumper in _dumpers if dumper.pid == os.getpid()]
    if not dumpers or any(dumper.is_busy for dumper in dumpers):
        # As if there were no handler: of a forked child, of a loop that hangs, or for the second.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return
    for dumper in dumpers:
        dumper.begin()


def _may_change_handlers() -> bool:
    return hasattr(signal, "SIGQUIT") and threading.current_thread() is threading.main_thread()


def _is_caught() -> bool:
    """Whether there is a handler for SIGQUIT, though it may be none of Python's own."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        caught = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (signal.SIGQUIT - 1) & 1)
    return False


_dumpers: list[_Dumper] = []
