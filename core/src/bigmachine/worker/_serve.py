"""A machine's main task: its services, its supervisor and its server, in one trio loop."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

import trio

from .._identity import DRIVER
from ..boot._config import WorkerConfig
from ..boot.vm.common import HEARTBEAT_VARIABLE, LOG_VARIABLE
from ..debugger._breakpoints import Breakpoints
from ..rpc import Server, Services
from ..system import gives_notices
from . import _resources
from ._ending import Ending
from ._exit import EXIT_HANDLERS_SECONDS, ProcessExit
from ._installer import Installer, SetUp
from ._loop_watch import LoopWatch
from ._notices import Notices
from ._service_methods import peer_dialler
from ._shortage import Shortage
from ._supervisor import LOG_POLL_SECONDS, Supervisor
from ._tracing import machine_tracer
from ._variables import MachineVariables

SILENCE_KEEPALIVES = 2
"""A connection is closed if its peer sends nothing for so many keepalive timeouts.

Drivers and peers ask more than once in a keepalive timeout, each over its own connection.
"""

# Takes the worker's config, its nursery, and the observers of its calls to peers; returns the
# function that runs a service's setup.
SetUpFactory = Callable[[WorkerConfig, trio.Nursery, Sequence[object]], SetUp]

_CALLS_SECONDS = 1.0  # for cancelled calls, and for the `finally` blocks of their generators
_PROCESSES_SECONDS = 1.0  # for the exit handlers of the processes of parallel methods
_LAST_LINES_SECONDS = 2.5 * LOG_POLL_SECONDS  # for a driver that follows the log
_FINISH_SECONDS = _CALLS_SECONDS + _PROCESSES_SECONDS + EXIT_HANDLERS_SECONDS


async def serve(
    config: WorkerConfig,
    *,
    address: str,
    set_up: SetUpFactory,
    process_exit: ProcessExit | None = None,
) -> None:
    """Be the machine that ``config`` describes, listening at ``address``, until it ends.

    ``process_exit`` is None if the process is not the machine's own.
    """
    system = config.system
    driver = f"{DRIVER}.{config.identity.session}"
    maxprocs = config.maxprocs or _resources.processors()
    services = Services()
    notices = Notices() if gives_notices(system) else None
    tracer = machine_tracer(config, has_process=process_exit is not None)
    breakpoints = Breakpoints(config.identity.name) if process_exit is not None else None
    if breakpoints is not None:
        breakpoints.install()
    # Not inherited by processes that services start: they are not machines.
    log = os.environ.pop(LOG_VARIABLE, "")
    server = Server(
        services,
        identity=config.identity,
        maxprocs=maxprocs,
        silence_timeout=SILENCE_KEEPALIVES * config.keepalive.timeout,
        trace=tracer.trace if tracer is not None else None,
    )
    async with trio.open_nursery() as nursery:
        observers = [tracer.observer] if tracer is not None else []
        installer = Installer(
            services,
            server=server,
            nursery=nursery,
            set_up=set_up(config, nursery, observers),
        )

        async def finish() -> None:
            has_teardown = installer.teardown_seconds > 0
            if breakpoints is not None:
                breakpoints.end()
            if process_exit is not None:
                process_exit.limit(_FINISH_SECONDS + installer.teardown_seconds)
            # Without a teardown, nothing can get into the way of methods that still run.
            await server.end_calls(_CALLS_SECONDS, with_threads=has_teardown)
            await installer.tear_down()
            await services.end_processes(_PROCESSES_SECONDS)
            services.clear()
            if process_exit is not None:
                process_exit.run_handlers()
            if has_teardown and log:
                await trio.sleep(_LAST_LINES_SECONDS)

        ending = Ending(
            timeout=config.keepalive.timeout,
            finish=finish,
            flush=server.flush,
            heard=_heartbeat(),
            driver_heard=lambda: server.heard_from(driver),
            exit=process_exit.exit if process_exit is not None else system.exit,
        )
        shortage = Shortage()
        supervisor = Supervisor(
            installer,
            dial_peer=peer_dialler(config),
            ending=ending,
            shortage=shortage,
            name=config.identity.name,
            maxprocs=maxprocs,
            activity=server.activity,
            measure=MachineVariables(server, maxprocs=maxprocs).measure,
            profile_processes=services.profile_processes,
            notices=notices,
            spans=tracer.spans if tracer is not None else None,
            breakpoints=breakpoints,
            log=log,
            login_user=system.login_user,
        )
        services.add("Supervisor", supervisor)
        listeners = await system.listen(address)
        await nursery.start(server.serve, listeners)
        nursery.start_soon(ending.watch)
        if process_exit is not None:
            LoopWatch(server.check_places, shortage.check).start()
            nursery.start_soon(process_exit.follow_signals, ending.begin)
        if notices is not None:
            nursery.start_soon(notices.follow, system.notices)


def _heartbeat() -> Callable[[], object]:
    """Return a function that tells the boot program, if there is one, of a keepalive.

    The boot program ends the VM if the worker hangs, and so can't notice that its driver is gone.
    """
    fd = os.environ.pop(HEARTBEAT_VARIABLE, "")
    if not fd:
        return lambda: None
    os.set_inheritable(int(fd), False)

    def beat() -> None:
        with contextlib.suppress(OSError):  # the boot program is gone, and this worker soon, too
            os.write(int(fd), b".")

    return beat
