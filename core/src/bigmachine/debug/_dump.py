"""All that a session can show of itself, as one archive: for a look later, or by somebody else."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import trio

from .._version import __version__
from ..metrics import SessionVariables
from ..profiling import Profile
from ._archive import archive
from ._board import StatusBoard
from ._inspected import Inspected
from ._logs import with_time
from ._text import status_text

PART_SECONDS = 60.0
"""How long each part may take, all at once; what takes longer is not in it."""

Part = Callable[[], Awaitable[Mapping[str, bytes | str]]]


async def dump(board: StatusBoard, session: Inspected) -> bytes:
    """Return a compressed tar archive of what the session and its machines do and are.

    It holds status, metrics, stacks, heaps and logs of all machines, and the driver's own stacks. A
    part that can't be had is a file that says why. It has no values of variables, arguments or the
    environment, unless the program has printed them.
    """
    files: dict[str, bytes | str] = {"session.txt": _about(session)}

    async def add(name: str, part: Part) -> None:
        try:
            with trio.fail_after(PART_SECONDS):
                files.update(await part())
        except Exception as error:  # of a service's, too: the others are worth having
            reason = str(error) or f"no answer within {PART_SECONDS:g} s"
            files[f"{name}.txt"] = f"not available: {type(error).__name__}: {reason}\n"

    await add("threads", lambda: _threads(session))  # before machines do what this asks of them
    async with trio.open_nursery() as nursery:
        for name, part in {
            "status": lambda: _status(board),
            "variables": lambda: _variables(session),
            "driver-threads": _driver_threads,
            "heap": lambda: _heap(session),
            "logs": lambda: _logs(session),
        }.items():
            nursery.start_soon(add, name, part)
    paths = {f"{board.short_name}/{name}": content for name, content in files.items()}
    return await trio.to_thread.run_sync(archive, paths)


def write_dump(data: bytes, folder: str, session: str) -> Path:
    """Write an archive that only this user can read; return its path.

    It comes into ``folder``, or else into the temporary directory. Raises `OSError`.
    """
    name = f"{session}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"
    opener = functools.partial(os.open, mode=0o600)
    for place in dict.fromkeys([folder, tempfile.gettempdir()]):
        path = Path(place, name)
        try:
            with open(path, "xb", opener=opener) as file:
                file.write(data)
        except OSError as error:
            problem = error
            continue
        return path
    raise problem


def _about(session: Inspected) -> str:
    return (
        f"{session!r}\n"
        f"at {time.strftime('%Y-%m-%d %H:%M:%S %z')}\n"
        f"bigmachine {__version__}, Python {sys.version}\n"
        f"{platform.platform()}, pid {os.getpid()}\n"
    )


async def _status(board: StatusBoard) -> dict[str, bytes | str]:
    await board.measures.first()
    status = board.status()
    data = json.dumps(dataclasses.asdict(status), indent=2)
    return {"status.txt": status_text(status), "status.json": data}


async def _variables(session: Inspected) -> dict[str, bytes | str]:
    variables: SessionVariables = await session.variables()
    return {"variables.json": json.dumps(variables.to_dict(), indent=2)}


async def _threads(session: Inspected) -> dict[str, bytes | str]:
    dump = await session.threads()
    return {
        "threads.txt": dump.text(hint="threads-full.txt"),
        "threads-full.txt": dump.text(full=True),
    }


async def _driver_threads() -> dict[str, bytes | str]:
    from ..profiling._threads import dump_threads

    return {"driver-threads.txt": (await dump_threads(lambda _: None)).text(full=True)}


async def _heap(session: Inspected) -> dict[str, bytes | str]:
    heap: Profile = await session.heap(0.0)
    return {"heap.pb.gz": heap.to_pprof(), "heap.txt": heap.top(50)}


async def _logs(session: Inspected) -> dict[str, bytes | str]:
    lines: dict[str, list[str]] = {}
    async for line in session.logs(None, follow=False):
        lines.setdefault(line.machine, []).append(f"{with_time(line, line.full_text)}\n")
    return {f"logs/{machine}.txt": "".join(texts) for machine, texts in lines.items()}
