"""Profiles and stacks of a session's machines, over HTTP: for browsers and for pprof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..errors import BigmachineError, UsageError
from ..metrics import SessionVariables
from ._http import Request, Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..machine._async import AsyncMachine
    from ..profiling import Profile, ThreadDump

_MAX_SECONDS = 300.0
# The flame graph is one file, whose script and style are in it.
_WHOLE_PAGE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
}


class Inspected(Protocol):
    """A session, as far as one can look inside."""

    @property
    def machines(self) -> Sequence[AsyncMachine]: ...

    async def variables(self) -> SessionVariables: ...

    async def profile(self, seconds: float) -> Profile: ...

    async def threads(self) -> ThreadDump: ...


class ProfilePages:
    """Answers what is asked below ``/debug/bigmachine/pprof/``.

    ``?machine=m0`` looks into that machine alone.
    """

    def __init__(self, session: Inspected) -> None:
        self._session = session

    async def profile(self, request: Request) -> Response:
        """Profile for ``?seconds=``, 10 by default.

        A browser gets a flame graph; others, and all with ``format=pprof``, pprof's format.
        ``format=text`` is the table of functions.
        """
        try:
            kind = _chosen_format(request)
            found = await self._target(request).profile(_seconds(request))
        except UsageError as error:
            return Response(400, f"{error}\n".encode())
        except BigmachineError as error:
            return Response(503, f"{error}\n".encode())
        if kind == "html":
            page = found.flame_graph().encode()
            return Response(200, page, "text/html; charset=utf-8", _WHOLE_PAGE)
        if kind == "text":
            return Response(200, f"{found.top()}\n".encode())
        name = {"Content-Disposition": 'attachment; filename="profile.pb.gz"'}
        return Response(200, found.to_pprof(), "application/octet-stream", name)

    async def threads(self, request: Request) -> Response:
        """Return the stacks of all threads and tasks; with ``?full=1``, bigmachine's own, too."""
        try:
            found = await self._target(request).threads()
        except UsageError as error:
            return Response(400, f"{error}\n".encode())
        except BigmachineError as error:
            return Response(503, f"{error}\n".encode())
        return Response(200, f"{found.text(full=bool(request.query.get('full')))}\n".encode())

    def _target(self, request: Request) -> Inspected | AsyncMachine:
        name = request.query.get("machine")
        if name is None:
            return self._session
        by_name = {machine.name: machine for machine in self._session.machines}
        if name not in by_name:
            raise UsageError(f"no machine {name!r} runs; there is {', '.join(by_name) or 'none'}")
        return by_name[name]


def _seconds(request: Request) -> float:
    text = request.query.get("seconds", "10")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= _MAX_SECONDS:
        raise UsageError(
            f"seconds is a number up to {_MAX_SECONDS:g}, such as seconds=10, not {text!r}"
        )
    return seconds


def _chosen_format(request: Request) -> str:
    default = "html" if "text/html" in request.headers.get("accept", "") else "pprof"
    chosen = request.query.get("format", default)
    if chosen not in ("html", "pprof", "text"):
        raise UsageError(f"format is html, pprof or text, not {chosen!r}")
    return chosen
