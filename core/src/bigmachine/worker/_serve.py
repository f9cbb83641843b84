"""A machine's main task: its services, its supervisor and its server, in one trio loop."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Awaitable, Callable

import trio

from ..boot._config import WorkerConfig
from ..rpc import Server, Services
from ..system import gives_notices
from . import _resources
from ._notices import Notices
from ._supervisor import Supervisor

SILENCE_KEEPALIVES = 2
"""A connection is closed if its peer sends nothing for so many keepalive timeouts.

Drivers and peers ask more than once in a keepalive timeout, each over its own connection.
"""

# Takes the worker's config and its nursery; returns the function that runs a service's setup.
SetUpFactory = Callable[[WorkerConfig, trio.Nursery], Callable[[object], Awaitable[None]]]


async def serve(config: WorkerConfig, *, address: str, set_up: SetUpFactory) -> None:
    """Be the machine that ``config`` describes, listening at ``address``, until it ends."""
    system = config.system
    maxprocs = config.maxprocs or _resources.processors()
    services = Services()
    notices = Notices() if gives_notices(system) else None
    server = Server(
        services,
        identity=config.identity,
        maxprocs=maxprocs,
        silence_timeout=SILENCE_KEEPALIVES * config.keepalive.timeout,
    )
    async with trio.open_nursery() as nursery:
        supervisor = Supervisor(
            services,
            name=config.identity.name,
            maxprocs=maxprocs,
            timeout=config.keepalive.timeout,
            nursery=nursery,
            set_up=set_up(config, nursery),
            flush=server.flush,
            heard=_heartbeat(),
            exit=lambda code: system.exit(code),
            notices=notices,
            # Not inherited by processes that services start: they are not machines.
            log=os.environ.pop("BIGMACHINE_LOG", ""),
        )
        services.add("Supervisor", supervisor)
        listeners = await system.listen(address)
        await nursery.start(server.serve, listeners)
        nursery.start_soon(supervisor.watch)
        if notices is not None:
            nursery.start_soon(notices.follow, system.notices)


def _heartbeat() -> Callable[[], object]:
    """Return a function that tells the boot program, if there is one, of a keepalive.

    The boot program ends the VM if the worker hangs, and so can't notice that its driver is gone.
    """
    fd = os.environ.pop("BIGMACHINE_HEARTBEAT", "")
    if not fd:
        return lambda: None
    os.set_inheritable(int(fd), False)

    def beat() -> None:
        with contextlib.suppress(OSError):  # the boot program is gone, and this worker soon, too
            os.write(int(fd), b".")

    return beat
