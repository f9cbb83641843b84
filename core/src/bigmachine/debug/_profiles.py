"""Profiles and stacks of a session's machines, over HTTP: for browsers and for pprof."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..errors import UsageError
from ._archive import archive
from ._http import Request, Response, answered
from ._inspected import Inspected
from ._machines import machine_named

if TYPE_CHECKING:
    from ..machine._async import AsyncMachine
    from ..profiling import Profile

_MAX_SECONDS = 300.0
# The flame graph is one file, whose script and style are in it.
_WHOLE_PAGE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
}


class ProfilePages:
    """Answers what is asked below ``/debug/bigmachine/pprof/``.

    ``?machine=m0`` looks into that machine alone.
    """

    def __init__(self, session: Inspected) -> None:
        self._session = session

    async def profile(self, request: Request) -> Response:
        """Profile the CPU time for ``?seconds=``, 10 by default.

        A browser gets a flame graph; others, and all with ``format=pprof``, pprof's format.
        ``format=text`` is the table of functions, and ``format=all`` a tar archive of all.
        """
        return await answered(self._profile, request)

    async def heap(self, request: Request) -> Response:
        """Show what is in memory; with ``?seconds=``, what is allocated meanwhile and kept."""
        return await answered(self._heap, request)

    async def threads(self, request: Request) -> Response:
        """Return the stacks of all threads and tasks; with ``?full=1``, bigmachine's own, too."""
        return await answered(self._threads, request)

    async def _profile(self, request: Request) -> Response:
        kind, seconds = _chosen_format(request), _seconds(request, default=10.0)
        if not seconds:
            raise UsageError("a profile takes some seconds: seconds=10")
        return _shown(await self._target(request).profile(seconds), kind, "profile")

    async def _heap(self, request: Request) -> Response:
        kind, seconds = _chosen_format(request), _seconds(request, default=0.0)
        return _shown(await self._target(request).heap(seconds), kind, "heap")

    async def _threads(self, request: Request) -> Response:
        found = await self._target(request).threads()
        return Response(200, f"{found.text(full=bool(request.query.get('full')))}\n".encode())

    def _target(self, request: Request) -> Inspected | AsyncMachine:
        name = request.query.get("machine")
        return self._session if name is None else machine_named(name, self._session)


def _shown(profile: Profile, kind: str, name: str) -> Response:
    if kind == "html":
        page = profile.flame_graph().encode()
        return Response(200, page, "text/html; charset=utf-8", _WHOLE_PAGE)
    if kind == "text":
        return Response(200, f"{profile.top()}\n".encode())
    if kind == "all":
        return Response(200, _all_formats(profile), "application/x-tar")
    save = {"Content-Disposition": f'attachment; filename="{name}.pb.gz"'}
    return Response(200, profile.to_pprof(), "application/octet-stream", save)


def _all_formats(profile: Profile) -> bytes:
    files: dict[str, bytes | str] = {
        "profile.pb.gz": profile.to_pprof(),
        "flame-graph.html": profile.flame_graph(),
        "top.txt": f"{profile.top()}\n",
        "top.json": json.dumps(_top(profile, by="function")),
        "top-lines.txt": f"{profile.top(by='line')}\n",
        "top-lines.json": json.dumps(_top(profile, by="line")),
    }
    return archive(files, is_compressed=False)


def _top(profile: Profile, *, by: str) -> dict[str, object]:
    from ..profiling._top import top_rows

    kind = profile.value_types[-1]
    return {
        "type": kind.type,
        "unit": kind.unit,
        "seconds": profile.seconds,
        "total": profile.total(kind.type),
        "machines": profile.machines,
        "failures": dict(profile.failures),
        f"{by}s": [
            {
                "function": row.frame.function,
                "file": row.frame.file,
                "line": row.frame.line,
                "flat": row.flat,
                "cum": row.cum,
            }
            for row in top_rows(profile, by=by)
        ],
    }


def _seconds(request: Request, *, default: float) -> float:
    text = request.query.get("seconds", "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MAX_SECONDS:
        raise UsageError(
            f"seconds is a number up to {_MAX_SECONDS:g}, such as seconds=10, not {text!r}"
        )
    return seconds


def _chosen_format(request: Request) -> str:
    default = "html" if "text/html" in request.headers.get("accept", "") else "pprof"
    chosen = request.query.get("format", default)
    if chosen not in ("html", "pprof", "text", "all"):
        raise UsageError(f"format is html, pprof, text or all, not {chosen!r}")
    return chosen
