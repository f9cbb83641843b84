"""A box: a private network, its hosts, and their metadata services."""

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
from tests.support.cloudbox._leftovers import (
    leftovers,
    new_name,
    remove_leftovers,
    remove_leftovers_of_dead_boxes,
)
from tests.support.cloudbox._network import listen, open_in, ruleset, run_in

SCRIPT = str(Path(__file__).with_name("fabric.sh"))
METADATA = "169.254.169.254"  # of every cloud
WIRESERVER = "168.63.129.16"  # of Azure
FIRST, LAST = 11, 253  # the last byte of hosts' addresses
SHUTDOWN_TIMEOUT = 20.0  # seconds, on a busy computer; usually 0.1 s is enough


class Box:
    """Hosts on a network that is connected only to the network namespace of this process.

    This process serves the hosts' metadata, so a test can change it at any time. No resource
    remains after the box is closed, or after this process is killed.
    """

    def __init__(self) -> None:
        self.name = new_name()
        self.hosts: list[Host] = []

    @property
    def subnet(self) -> str:
        """The first three bytes of its addresses; the driver's address ends with ``.1``."""
        return f"10.215.{self._number}"

    @property
    def pid(self) -> int:
        """The process that holds the network namespace of the box."""
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
        # An exception of the block is raised as it is, not in an exception group of our nursery.
        await self._opened.__aexit__(None, None, None)
        if (remaining := self.leftovers()) and error is None:
            raise RuntimeError(f"leftovers of a box: {', '.join(remaining)}")

    @contextlib.asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        remove_leftovers_of_dead_boxes()
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
                raise RuntimeError("cannot create the network of a box: see standard error")
            self._number = int(number)
            async with trio.open_nursery() as self._nursery:
                self._serve()
                yield
                with trio.move_on_after(SHUTDOWN_TIMEOUT, shield=True):
                    for host in self.hosts:
                        await host.end()
                self._nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(SHUTDOWN_TIMEOUT, shield=True):
                await fabric.stdin.aclose()
                await fabric.wait()
            remove_leftovers(self.name)

    def _serve(self) -> None:
        """Start the metadata services and the DHCP server, in the network of the hosts."""
        services = [
            trio.SocketListener(trio.socket.from_stdlib_socket(open_in(self.pid, make)))
            for make in (partial(listen, METADATA, 80), partial(listen, WIRESERVER, 80))
        ]
        self._nursery.start_soon(serve, services, self._answer)
        dhcp = open_in(self.pid, _dhcp.open_socket)
        options = {"gateway": f"{self.subnet}.254", "wireserver": WIRESERVER}
        self._nursery.start_soon(partial(_dhcp.serve, dhcp, **options))

    async def boot(self, cloud: Cloud, *, disk_bytes: int = 1 << 30) -> Host:
        """Start to boot a new host in the given cloud; return at once.

        ``disk_bytes`` is the disk space in addition to the image. What is written there is kept
        in the memory of this computer.
        """
        number = next(self._numbers)
        if number > LAST:
            raise RuntimeError(f"{self.name} has had {len(self.hosts)} hosts: its network is full")
        host = Host(self, number, cloud)
        self.hosts.append(host)
        await self._nursery.start(partial(host._run, root=root(), disk_bytes=disk_bytes))
        return host

    def leftovers(self) -> list[str]:
        """List the resources of the box that exist on this computer."""
        return leftovers(self.name)

    async def plug_in(self, delay: Delay, *, host: int) -> None:
        """Add a delay to the cable of the host with PID ``host``, until the box is closed."""
        await delay.plug_in(host, self._nursery)

    async def apply_links(self) -> None:
        """Apply cuts and packet loss of all links to the network."""
        await run_in(self.pid, "nft", "-f", "-", stdin=ruleset([host.link for host in self.hosts]))

    async def _answer(self, request: Request, sender: str) -> Response:
        for host in self.hosts:
            if host.address == sender:
                return await host.cloud.answer(request, host)
        return Response(404)
