"""The end of a worker's process: its exit handlers, and a limit to how long all of it takes."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

import trio

from ..system import System

logger = logging.getLogger("bigmachine.machine")

EXIT_HANDLERS_SECONDS = 2.0
"""How long all the ``atexit`` handlers of a machine may take."""

# By which a process is told to end: it exits with 128 plus the number, as in a shell.
_ENDING = (signal.SIGTERM, signal.SIGINT)


class ProcessExit:
    """What a machine does at its end if the process is its own."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._is_exiting = False

    def exit(self, status: int) -> None:
        """End the machine; after a SIGTERM or SIGINT, by it, as if nothing had caught it."""
        self._is_exiting = True
        if status - 128 in _ENDING and type(self._system).exit is System.exit:
            signal.signal(status - 128, signal.SIG_DFL)
            os.kill(os.getpid(), status - 128)
        self._system.exit(status)

    async def follow_signals(self, end: Callable[[int], object]) -> None:
        """Call ``end`` with the exit status, when the process gets a SIGTERM or SIGINT."""
        with trio.open_signal_receiver(*_ENDING) as signals:
            _restore_default_in_children(signal.getsignal(signal.SIGTERM))
            async for number in signals:
                logger.info("told to end by %s", signal.Signals(number).name)
                end(128 + number)

    def limit(self, seconds: float) -> None:
        """Exit after so many seconds at the latest."""

        def expire() -> None:
            time.sleep(seconds)
            if not self._is_exiting:
                logger.error("not ended in good order after %g s: the machine exits", seconds)
                self._system.exit(1)

        with contextlib.suppress(RuntimeError):  # no more threads: others bound it, too
            threading.Thread(target=expire, name="bigmachine exit", daemon=True).start()

    def run_handlers(self) -> None:
        """Run the ``atexit`` handlers, as an interpreter does at its end, and flush the output.

        Among them are those of `tempfile` and of `weakref.finalize`.
        """
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):  # whatever a service has put there
                stream.flush()


def _restore_default_in_children(handler: object) -> None:
    """Let both end the children that services fork, for instance by multiprocessing.

    They are blocked meanwhile: Python forgets the signals that come while a process is forked.
    """

    def block() -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING))

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop())

    def restore() -> None:
        for number, default in (
            (signal.SIGTERM, signal.SIG_DFL),
            (signal.SIGINT, signal.default_int_handler),
        ):
            if signal.getsignal(number) is handler:
                signal.signal(number, default)
        unblock()

    masks: list[set[int]] = []  # those of several threads that fork are the same
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore)
