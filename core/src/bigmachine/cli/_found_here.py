"""Sessions that run on this computer, as `bigmachine ps` shows those of providers."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from .._driver import Driver
from ..errors import BigmachineError
from ..reaper._found_sessions import FoundSession
from ..system import Instance
from ._running import RunningSession, running_sessions

_ANSWER_SECONDS = 5.0
_AT_ONCE = 20


def found_here() -> tuple[list[FoundSession], list[str]]:
    """Ask all sessions of this user; return them, and why some did not answer."""
    found: list[FoundSession] = []
    silent: list[str] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for answer in pool.map(_ask, running_sessions()):
            found += [answer] if isinstance(answer, FoundSession) else []
            silent += [str(answer)] if isinstance(answer, BigmachineError) else []
    return found, silent


def _ask(session: RunningSession) -> FoundSession | BigmachineError:
    try:
        return _found(session.status(timeout=_ANSWER_SECONDS))
    except BigmachineError as error:
        return error


def _found(status: Mapping[str, Any]) -> FoundSession:
    age = datetime.timedelta(seconds=status["age"])
    driver = replace(Driver.here(), pid=status["pid"], started=0, command=status["program"])
    return FoundSession(
        system=status["system"],
        name=status["name"],
        resources=tuple(
            Instance(
                name=f"{machine['name']}.{status['name']}",
                id=machine["id"],
                address=machine["addr"],
                zone=machine["zone"],
                cost_per_hour=machine["cost_per_hour"],
                details={"state": machine["state"], "instance_type": machine["kind"]},
            )
            for machine in status["machines"]
            if machine["state"] != "stopped"
        ),
        driver=driver,
        is_alive=True,
        started=datetime.datetime.now(datetime.UTC) - age,
    )
