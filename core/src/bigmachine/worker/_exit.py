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

_SIGTERM_STATUS = 128 + signal.SIGTERM  # as in a shell


class ProcessExit:
    """What a machine does at its end if the process is its own."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._is_exiting = False

    def exit(self, status: int) -> None:
        """End the machine; after a SIGTERM, by that signal, as if nothing had caught it."""
        self._is_exiting = True
        if status == _SIGTERM_STATUS and type(self._system).exit is System.exit:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
        self._system.exit(status)

    async def follow_sigterm(self, end: Callable[[int], object]) -> None:
        """Call ``end`` with the exit status, when the process gets a SIGTERM."""
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            _restore_default_in_children(signal.getsignal(signal.SIGTERM))
            async for _ in signals:
                logger.info("told to end by SIGTERM")
                end(_SIGTERM_STATUS)

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
    """Let SIGTERM end the children that services fork, for instance by multiprocessing.

    It is blocked meanwhile: Python forgets the signals that come while a process is forked.
    """

    def block() -> None:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}))

    def unblock() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop())

    def restore() -> None:
        if signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        unblock()

    masks: list[set[int]] = []  # those of several threads that fork are the same
    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=restore)
