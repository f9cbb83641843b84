"""The thread that shows all starts of this process, on what there is: it never holds them up."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from ..machine.output._screen import terminal
from ._notebook import NotebookView, in_notebook
from ._plain import PlainView
from ._start import Start
from ._table import TableView

logger = logging.getLogger("bigmachine.session")

SHOWN_AFTER = 1.0
"""How many seconds a start takes before it is worth showing."""


class View(Protocol):
    """One way to show starts. It is used in one thread, and may wait there, or raise."""

    interval: float
    """How often it is brought up to date, in seconds."""

    def show(self, starts: Sequence[Start]) -> None:
        """Show how far these are: all that go on."""

    def end(self, start: Start) -> None:
        """Show the end of one; `show` of the others follows."""


class Display:
    """All starts that go on in this process; it has one: `display`."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._starts: list[Start] = []
        self._ended: list[tuple[Start, Callable[[], object]]] = []
        self._thread: threading.Thread | None = None

    def add(self, start: Start) -> None:
        """Show a start, once it has taken a moment; nothing is shown if that fails."""
        with self._changed:
            self._starts.append(start)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="bigmachine progress", daemon=True)
                with contextlib.suppress(RuntimeError):  # too many, or the interpreter is ending
                    thread.start()
                    self._thread = thread

    def remove(self, start: Start, on_end: Callable[[], object]) -> bool:
        """Show no more of a start; return whether ``on_end`` will be called after that."""
        with self._changed:
            if start in self._starts:  # not in a forked child
                self._starts.remove(start)
            if start.is_shown:
                self._ended.append((start, on_end))
            self._changed.notify()
            return start.is_shown

    def _run(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # With the default action, a pipe that is closed would end the whole driver.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        view: View | None = None
        while True:
            with self._changed:
                if not self._starts and not self._ended:
                    self._thread = None
                    return
                self._changed.wait_for(lambda: self._ended or not self._starts, self._pause(view))
                ended, self._ended = self._ended, []
                starts = [start for start in self._starts if start.seconds >= SHOWN_AFTER]
                for start in starts:
                    start.is_shown = True
            if starts or ended:
                view = _show(view, starts, [start for start, _ in ended])
            for _, on_end in ended:
                with contextlib.suppress(trio.RunFinishedError):
                    on_end()

    def _pause(self, view: View | None) -> float:
        if any(start.is_shown for start in self._starts):
            return view.interval if view is not None else SHOWN_AFTER
        return max(0.0, min((SHOWN_AFTER - s.seconds for s in self._starts), default=0.0))


display = Display()

if hasattr(os, "register_at_fork"):
    # The child has neither the thread nor its starts.
    os.register_at_fork(after_in_child=display.__init__)  # type: ignore[misc]


class _NoView:
    """Shows nothing, for standard errors that are broken."""

    interval = SHOWN_AFTER

    def show(self, starts: Sequence[Start]) -> None:
        pass

    def end(self, start: Start) -> None:
        pass


def _show(view: View | None, starts: Sequence[Start], ended: Sequence[Start]) -> View:
    """Bring a view up to date, chosen if there is none yet; one that fails gives way to none."""
    try:
        view = view or _choose_view()
        for start in ended:
            view.end(start)
        view.show(starts)
    except BaseException as exc:  # also `SystemExit`, from a `write` of the user's
        logger.debug("progress is not shown: %r", exc)
        return _NoView()
    return view


def _choose_view() -> View:
    if in_notebook():
        return NotebookView()
    return PlainView() if terminal() is None else TableView()
