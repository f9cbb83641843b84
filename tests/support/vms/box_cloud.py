"""A cloud of hosts in a box, and drivers in processes of their own that start hosts there."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from tests.support.cloudbox import Box, Ec2, Host, Request, Response
from tests.support.cloudbox._cloud import serving


class BoxCloud:
    """Hosts of a box, by the names of their machines; it serves `BoxSystem`.

    If ``kept`` is set, the next machine gets that host instead of a new one. ``files``, by path,
    replace files of the hosts' image.
    """

    def __init__(self, box: Box, *, disk_bytes: int = 1 << 30) -> None:
        self.box = box
        self.files: dict[str, bytes] = {}
        self.hosts: dict[str, Host] = {}
        self.kept: Host | None = None
        self.endpoint = ""
        self.delete_delay = 5.0
        """Seconds that a host gets to power itself off, and say why, before it is deleted."""
        self._disk_bytes = disk_bytes

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[BoxCloud]:
        """Serve drivers while the block runs."""
        async with serving(self._answer) as self.endpoint:
            yield self

    async def _answer(self, request: Request, asker: str) -> Response:
        name = request.path[1:]
        if request.method == "PUT":
            self.hosts[name] = await self._launch(request.body)
        host = self.hosts[name]
        if request.method == "DELETE" and not host.is_off:
            with trio.move_on_after(self.delete_delay):
                await host.wait_off()
            await host.kill()
        about = {"address": host.address, "is_off": host.is_off, "console": host.console()}
        return Response.of_json(about)

    async def _launch(self, user_data: bytes) -> Host:
        if self.kept is None:
            cloud = Image(user_data=user_data, changes=self.files)
            return await self.box.boot(cloud, disk_bytes=self._disk_bytes)
        await self.kept.run("sh", "-c", gzip.decompress(user_data).decode())
        return self.kept


@dataclass
class Image(Ec2):
    """An instance of an image with changed files."""

    changes: dict[str, bytes] = field(default_factory=dict)

    def files(self, host: Host, /) -> dict[str, bytes]:
        return {**super().files(host), **self.changes}


class Driver:
    """A program in a process of its own, and the messages that it has printed: JSON lines."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.messages: list[dict[str, Any]] = []
        self.errors = ""
        self._unread = b""

    async def until(self, **wanted: Any) -> dict[str, Any]:
        """Wait for a message with all these fields, and return it; ``...`` is any value."""
        while True:
            found = await self._next()
            if all(key in found and value in (found[key], ...) for key, value in wanted.items()):
                return found

    async def ask(self) -> None:
        """Make it call its machine once more."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")

    async def end(self) -> int:
        """Make it end, and return its exit status."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()
        with contextlib.suppress(EOFError):
            while True:
                await self._next()
        return await self.process.wait()

    async def _next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            data = await self.process.stdout.receive_some()
            if not data:
                raise EOFError(f"the driver ended:\n{self.errors}")
            self._unread += data
        line, self._unread = self._unread.split(b"\n", 1)
        self.messages.append(json.loads(line))
        return self.messages[-1]


@contextlib.asynccontextmanager
async def driver(
    project: Path, cloud: BoxCloud, *arguments: str, **environ: str
) -> AsyncIterator[Driver]:
    """Run a project's program; kill it at the end of the block if it still runs."""
    async with trio.open_nursery() as nursery:
        process = await trio.lowlevel.open_process(
            [sys.executable, "main.py", cloud.endpoint, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=project,
            env={**os.environ, **environ},
        )
        found = Driver(process)

        async def read_errors() -> None:
            assert process.stderr is not None
            async for data in process.stderr:
                found.errors += data.decode(errors="replace")

        nursery.start_soon(read_errors)
        try:
            yield found
        finally:
            with trio.CancelScope(shield=True):
                process.kill()
                await process.wait()
