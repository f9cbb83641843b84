"""Sessions of this user that run on this computer, found and asked by their sockets."""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ..errors import BigmachineError, UsageError

if TYPE_CHECKING:
    from http.client import HTTPResponse

ANSWER_SECONDS = 10.0
"""How long a session may take to answer what needs no machine."""

_ROOT = "/debug/bigmachine/"


class SessionEnded(BigmachineError):
    """A session has ended in the middle of its answer."""


@dataclass(frozen=True, slots=True)
class RunningSession:
    """A session that runs, in another process of this user.

    What asks it raises `BigmachineError` if it does not answer, and `UsageError` if it refuses.
    """

    name: str
    path: Path

    def status(self, *, timeout: float = ANSWER_SECONDS) -> dict[str, Any]:  # Any: this is JSON
        """Return what the debug page shows: a `SessionStatus`."""
        with self.opened("/status.json", timeout=timeout) as response:
            status: dict[str, Any] = json.load(response)
        if not _is_known(status):
            raise BigmachineError(
                f"session {self.name} runs another version of bigmachine: use the command that is "
                "installed in its environment"
            )
        return status

    def read(self, page: str, *, timeout: float = ANSWER_SECONDS, **query: object) -> bytes:
        """Return a page below ``/debug/bigmachine/``. What is None in the query is left out."""
        with self.opened(_target(page, query), timeout=timeout) as response:
            return response.read()

    def lines(self, page: str, *, timeout: float | None, **query: object) -> Iterator[bytes]:
        """Yield the lines of such a page, each when it comes within ``timeout``.

        Raises `SessionEnded` if the session ends meanwhile, without an end of the page.
        """
        with self.opened(_target(page, query), timeout=timeout) as response:
            yield from response

    def check_answers(self) -> None:
        """Fail soon if it does not answer: what is asked next may take minutes."""
        self.read("status", timeout=ANSWER_SECONDS)

    @contextlib.contextmanager
    def opened(self, target: str, *, timeout: float | None) -> Iterator[HTTPResponse]:
        """Ask for a page; yield the answer, to be read within ``timeout`` each time."""
        from http.client import HTTPConnection, HTTPException, IncompleteRead

        connection = HTTPConnection("localhost")
        try:
            connection.sock = _connected(self.path, timeout)
            connection.request("GET", target)
            response = connection.getresponse()
            if response.status >= 400:
                raise _refusal(response.status, response.read().decode(errors="replace").strip())
            yield response
        except IncompleteRead as error:
            raise SessionEnded(f"session {self.name} has ended") from error
        except (OSError, HTTPException) as error:
            raise BigmachineError(_why_not(self.name, error)) from error
        finally:
            connection.close()


def _target(page: str, query: Mapping[str, object]) -> str:
    given = {name: value for name, value in query.items() if value is not None}
    return f"{_ROOT}{page}?{urlencode(given)}"


def running_sessions() -> list[RunningSession]:
    """Return all that run, by name; what is left of killed ones is removed."""
    from ..debug._socket_folder import SUFFIX, socket_folder

    folder = socket_folder()
    if folder is None:
        return []
    found = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            _connected(path, 1.0).close()
        except ConnectionRefusedError:  # nobody listens any more: its driver was killed
            with contextlib.suppress(OSError):
                path.unlink()
            continue
        except FileNotFoundError:  # it has just ended
            continue
        except OSError:  # it is stopped, or too many connect: it may answer later
            pass
        found.append(RunningSession(path.name.removesuffix(SUFFIX), path))
    return found


def add_session(parser: argparse.ArgumentParser) -> None:
    """Add ``--session NAME``, by which `chosen_session` chooses."""
    parser.add_argument(
        "--session",
        metavar="NAME",
        help="the session, or the beginning of its name (default: the only one that runs)",
    )


def chosen_session(name: str | None) -> RunningSession:
    """Return the session of this name, or the only one; raises `UsageError`."""
    from .._full_names import SESSION_SUFFIX
    from .._spelling import did_you_mean

    sessions = running_sessions()
    names = ", ".join(session.name for session in sessions)
    if not sessions:
        raise UsageError(
            "no session of yours runs on this computer; a command sees those of the same user, "
            "from the moment they are opened"
        )
    if name is None:
        if len(sessions) > 1:
            raise UsageError(f"several sessions run: {names}; choose one with --session NAME")
        return sessions[0]
    name = name.removesuffix(SESSION_SUFFIX)
    matching = [session for session in sessions if session.name == name]
    matching = matching or [session for session in sessions if session.name.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        names = ", ".join(session.name for session in matching)
        raise UsageError(f"several sessions begin with {name!r}: {names}")
    hint = did_you_mean(name, [session.name for session in sessions])
    raise UsageError(f"no session {name!r} runs on this computer{hint or f'; there is {names}'}")


def _is_known(status: Mapping[str, Any]) -> bool:
    """Whether a status has all that this version shows."""
    from dataclasses import fields

    from ..debug._status import MachineStatus, MethodStatus, SessionStatus

    def is_known(kind: type[Any], found: Mapping[str, Any]) -> bool:
        return all(field.name in found for field in fields(kind))

    return (
        is_known(SessionStatus, status)
        and all(is_known(MachineStatus, one) for one in status["machines"])
        and all(is_known(MethodStatus, one) for one in status["methods"])
    )


def _connected(path: Path, timeout: float | None) -> socket.socket:
    from ..debug._socket_folder import is_own

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        _connect(connection, path, ANSWER_SECONDS if timeout is None else timeout)
        if not is_own(connection):
            raise PermissionError("the socket is another user's")
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(connection: socket.socket, path: Path, timeout: float) -> None:
    give_up = time.monotonic() + timeout
    while True:
        try:
            return connection.connect(str(path))
        except BlockingIOError:  # too many connect; the kernel does not wait, despite our timeout
            if time.monotonic() > give_up:
                raise TimeoutError from None
            time.sleep(0.02)


def _refusal(status: int, text: str) -> BigmachineError:
    return UsageError(text) if status in (400, 404) else BigmachineError(text)


def _why_not(name: str, error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"session {name} does not answer: its program is stopped, or computes in its loop"
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):
        return f"session {name} has ended"
    return f"session {name} has not answered: {error or type(error).__name__}"
