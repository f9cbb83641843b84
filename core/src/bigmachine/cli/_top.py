"""``bigmachine top``: the machines of a running session, live in the terminal."""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import sys
import threading
import time
from dataclasses import replace
from typing import Any

from ..errors import BigmachineError
from ._running import RunningSession, add_session, chosen_session

_PERIOD = 1.0  # seconds between two looks
_MEASURED_SECONDS = 6.0  # for machines to measure twice, which gives rates
_POLL_SECONDS = 0.2
_PIPE_COLUMNS = 120


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the subcommand to the parser's ``commands``."""
    text = "show the machines of a running session, live"
    parser = commands.add_parser(
        "top",
        help=text,
        description=f"{text.capitalize()}: how busy they are, their memory and their calls. "
        "Where the output is no terminal, it is one table.",
        epilog="keys: left and right or < and > choose the column to sort by, r reverses, "
        "up and down scroll, q or Ctrl-C quits",
    )
    add_session(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, for programs")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Show it until the user or the session ends; or once, where there is no terminal."""
    session = chosen_session(arguments.session)
    if arguments.json:
        print(json.dumps(_measured(session), indent=2))
    elif sys.stdin.isatty() and _is_screen():
        return _Live(session).run()
    else:
        print("\n".join(_table(session)))
    return 0


def _is_screen() -> bool:
    from ..machine.output._text_streams import is_terminal

    return is_terminal(sys.stdout)


def _table(session: RunningSession) -> list[str]:
    from ._top_view import Look, draw

    columns = shutil.get_terminal_size((_PIPE_COLUMNS, 0)).columns
    encoding = (sys.stdout.encoding or "").lower()
    look = Look(columns=columns, is_unicode=encoding.startswith("utf"))
    return draw(_measured(session), look)


def _measured(session: RunningSession) -> dict[str, Any]:  # Any: this is JSON
    """Return the status once its machines have measured their rates, if they do so soon."""
    deadline = time.monotonic() + _MEASURED_SECONDS
    while True:
        status = session.status()
        running = [one for one in status["machines"] if one["state"] == "running"]
        if all(one["cpus"] is not None for one in running) or time.monotonic() > deadline:
            return status
        time.sleep(_POLL_SECONDS)


class _Live:
    """The whole screen of the terminal, drawn again each second and at each key."""

    def __init__(self, session: RunningSession) -> None:
        from ..machine.output._text_streams import has_colors
        from ._top_view import Look

        self._session = session
        self._answers: queue.SimpleQueue[dict[str, Any] | BigmachineError] = queue.SimpleQueue()
        self._status: dict[str, Any] | None = None
        self._problem = ""
        self._has_ended = False
        encoding = (sys.stdout.encoding or "").lower()
        self._look = Look(
            columns=80,
            rows=24,
            has_colors=has_colors(sys.stdout),
            is_unicode=encoding.startswith("utf"),
        )

    def run(self) -> int:
        """Show it until the user quits, or the session has ended."""
        from ._full_screen import FullScreen

        # A daemon: the user may quit while a session does not answer.
        threading.Thread(target=self._ask, name="bigmachine top", daemon=True).start()
        try:
            with FullScreen() as screen:
                while not self._has_ended:
                    keys = screen.keys(_POLL_SECONDS)
                    if "q" in keys or "\x03" in keys or "\x04" in keys:
                        break
                    for key in keys:
                        self._press(key)
                    has_news = self._read_answers()
                    columns, rows = os.get_terminal_size(sys.stdout.fileno())
                    was, self._look = self._look, replace(self._look, columns=columns, rows=rows)
                    if keys or has_news or was != self._look or screen.is_new:
                        screen.draw(self._lines())
        except KeyboardInterrupt:  # the usual way to end it
            return 0
        if self._has_ended:
            print(f"Session {self._session.name} has ended.")
        return 0

    def _ask(self) -> None:
        while True:
            try:
                self._answers.put(self._session.status())
            except BigmachineError as error:
                self._answers.put(error)
            time.sleep(_PERIOD)

    def _read_answers(self) -> bool:
        has_news = False
        while not self._answers.empty():
            has_news, answer = True, self._answers.get()
            if isinstance(answer, BigmachineError):
                self._problem = str(answer)
                self._has_ended = not self._session.path.exists()
            else:
                self._status, self._problem = answer, ""
        return has_news

    def _press(self, key: str) -> None:
        from ._top_columns import MACHINE_COLUMNS

        look = self._look
        moves = {"left": -1, "<": -1, "right": 1, ">": 1}
        scrolls = {"up": -1, "down": 1, "page up": -look.rows // 2, "page down": look.rows // 2}
        if key in moves:
            column = (look.sort + moves[key]) % len(MACHINE_COLUMNS)
            self._look = replace(look, sort=column, is_reversed=False, skip=0)
        elif key in scrolls:
            most = len(self._status["machines"]) - 1 if self._status else 0
            self._look = replace(look, skip=max(0, min(most, look.skip + scrolls[key])))
        elif key == "r":
            self._look = replace(look, is_reversed=not look.is_reversed)

    def _lines(self) -> list[str]:
        from ._top_view import draw

        if self._status is None:
            return [self._problem or f"asking {self._session.name} ..."]
        arrows = "←→ sort  ↑↓ scroll" if self._look.is_unicode else "< > sort"
        footer = self._problem or f"q quit  {arrows}  r reverse"
        return draw(self._status, self._look, footer=footer)
