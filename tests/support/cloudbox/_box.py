"""A box: a network of its own, the hosts on it, and what tells them of their cloud."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from tests.support.cloudbox import _dhcp
from tests.support.cloudbox._cloud import Cloud, Request, Response, serve
from tests.support.cloudbox._delay import Delay
from tests.support.cloudbox._host import Host
from tests.support.cloudbox._image import root, why_not
from tests.support.cloudbox._leftovers import left, new_name, sweep, sweep_dead
from tests.support.cloudbox._network import listen, open_in, ruleset, run_in

SCRIPT = str(Path(__file__).with_name("fabric.sh"))
METADATA = "169.254.169.254"  # of every cloud
WIRESERVER = "168.63.129.16"  # of Azure
FIRST, LAST = 11, 253  # the last byte of hosts' addresses
PARTING = 20.0  # seconds for hosts to go, on a busy computer; it takes a tenth of one


class Box:
    """Hosts on a network that leads nowhere but to the namespace of the process that opens it.

    It serves their metadata from this process: what a test sets, its host hears. When
    it is closed nothing is left of it; nor if this process is killed.
    """

    def __init__(self) -> None:
        self.name = new_name()
        self.hosts: list[Host] = []

    @property
    def subnet(self) -> str:
        """The first three bytes of its addresses; the driver's ends with ``.1``."""
        return f"10.215.{self._number}"

    @property
    def pid(self) -> int:
        """The process whose network is the box's."""
        return self._fabric.pid

    async def __aenter__(self) -> Self:
        if reason := why_not():
            raise RuntimeError(f"a cloud in a box {reason}")
        self._opened = self._open()
        await self._opened.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # What went wrong in the block is raised as it is, and not in our nursery's group.
        await self._opened.__aexit__(None, None, None)
        if (rest := self.left()) and error is None:
            raise RuntimeError(f"left of a box: {', '.join(rest)}")

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        sweep_dead()
        self._numbers = itertools.count(FIRST)
        self._fabric = fabric = await trio.lowlevel.open_process(
            ["unshare", "--net", "sh", SCRIPT, str(os.getpid()), self.name],
            stdin=subprocess.PIPE,  # its lifeline
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for its owner
        )
        assert fabric.stdin
        assert fabric.stdout
        try:
            if not (number := await fabric.stdout.receive_some()):
                raise RuntimeError("a box can't have its network: standard error says why")
            self._number = int(number)
            async with trio.open_nursery() as self._nursery:
                self._serve()
                yield
                with trio.move_on_after(PARTING, shield=True):
                    for host in self.hosts:
                        await host.end()
                self._nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(PARTING, shield=True):
                await fabric.stdin.aclose()
                await fabric.wait()
            sweep(self.name)

    def _serve(self) -> None:
        """Begin to serve the hosts, at addresses in their network."""
        services = [
            trio.SocketListener(trio.socket.from_stdlib_socket(open_in(self.pid, make)))
            for make in (partial(listen, METADATA, 80), partial(listen, WIRESERVER, 80))
        ]
        self._nursery.start_soon(serve, services, self._answer)
        dhcp = open_in(self.pid, _dhcp.open_socket)
        told = {"gateway": f"{self.subnet}.254", "wireserver": WIRESERVER}
        self._nursery.start_soon(partial(_dhcp.serve, dhcp, **told))

    async def boot(self, cloud: Cloud, *, disk_bytes: int = 1 << 30) -> Host:
        """Have a new host boot, in a cloud of its own; return at once.

        Its disk takes so many bytes beyond what the image has; it is this computer's memory,
        as far as it is written.
        """
        number = next(self._numbers)
        if number > LAST:
            raise RuntimeError(f"{self.name} has had {len(self.hosts)} hosts: its network is full")
        host = Host(self, number, cloud)
        self.hosts.append(host)
        await self._nursery.start(partial(host._live, root=root(), disk_bytes=disk_bytes))
        return host

    def left(self) -> list[str]:
        """List what there is of it on this computer, as the computer itself has it."""
        return left(self.name)

    async def plug_in(self, delay: Delay, *, host: int) -> None:
        """Put a delay into the cable of the host with that process, as long as the box is open."""
        await delay.plug_in(host, self._nursery)

    async def apply_links(self) -> None:
        """Let the network know what is lost on the hosts' links."""
        await run_in(self.pid, "nft", "-f", "-", stdin=ruleset([host.link for host in self.hosts]))

    async def _answer(self, request: Request, asker: str) -> Response:
        for host in self.hosts:
            if host.address == asker:
                return await host.cloud.answer(request, host)
        return Response(404)
