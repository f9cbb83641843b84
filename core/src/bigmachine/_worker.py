"""A machine from the inside: its services, its supervisor and its server, in one trio loop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from . import _host
from ._supervisor import Supervisor
from .boot import WorkerConfig
from .rpc import Server, Services

# Given the worker's config and its nursery, gives the function that runs a service's setup.
SetUpFactory = Callable[[WorkerConfig, trio.Nursery], Callable[[object], Awaitable[None]]]


async def serve(config: WorkerConfig, *, address: str, set_up: SetUpFactory) -> None:
    """Be the machine that ``config`` describes, listening at ``address``, until it ends."""
    system = config.system
    maxprocs = config.maxprocs or _host.processors()
    services = Services()
    server = Server(services, identity=config.identity, maxprocs=maxprocs)
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(
            services,
            name=config.identity.name,
            maxprocs=maxprocs,
            timeout=config.keepalive.timeout,
            set_up=set_up(config, nursery),
            flush=server.flush,
            exit=lambda code: system.exit(code),
        )
        services.add("Supervisor", supervisor)
        listeners = await system.listen(address)
        await nursery.start(server.serve, listeners)
        nursery.start_soon(supervisor.watch)
