"""The machine's program: ``python -m bigmachine.worker --listen HOST:PORT``.

Its configuration comes on standard input, which then stays open: when standard input ends,
the driver is gone, and the machine ends, too.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import pickle
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from .._identity import prepare_server_context
from ..boot._config import WorkerConfig
from ..boot.vm.common import HEARTBEAT_VARIABLE
from ..process import pack, prepare_output, read_header, settable
from ._exit import ProcessExit
from ._installer import SetUp, call_special
from ._lifeline import tie_to
from ._own_host import prepare_host
from ._resources import processors
from ._serve import serve

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import trio

    from ..session._peers import AsyncPeerSession, PeerSession

# How long a thread that computes in pure Python keeps others waiting, each time that they need the
# interpreter: two to five times in a null call. With Python's 5 ms, its 99th percentile beside such
# a thread is 45 ms, with 0.5 ms 5, with 0.2 ms 2. Each thread that waits wakes up as often: 128 of
# them leave half of the speed with 0.5 ms, so it is longer where many methods may compute.
_SWITCH_INTERVAL = 0.0002
_SWITCH_INTERVAL_PER_PROCESSOR = 0.00003


def main(config: bytes, *, listen: str, lifeline: int | None = None) -> NoReturn:
    """Be a machine; never returns.

    ``config`` is `MachineSpec.config`, ``listen`` an address for the system's
    ``listen`` hook, and ``lifeline`` a file descriptor whose end is the driver's.
    """
    if lifeline is not None:
        tie_to(lifeline)
    prepare_output()
    # The driver's environment and arguments are the machine's own from here on.
    loaded = WorkerConfig.load(config)
    sys.setswitchinterval(switch_interval(loaded.maxprocs or processors()))
    _set_environ(loaded.environ)
    if HEARTBEAT_VARIABLE in os.environ:  # it has a boot program
        prepare_host()
    sys.argv[:] = loaded.argv
    if loaded.logs is not None:
        loaded.logs.apply()
    system = loaded.system
    process_exit = ProcessExit(system)
    system.main(
        functools.partial(serve, loaded, address=listen, set_up=set_up, process_exit=process_exit)
    )
    system.exit(0)


def switch_interval(maxprocs: int) -> float:
    """Return how long a thread keeps the interpreter on a machine, in seconds, if others wait."""
    interval = max(_SWITCH_INTERVAL, maxprocs * _SWITCH_INTERVAL_PER_PROCESSOR)
    return min(interval, sys.getswitchinterval())


def preload() -> None:
    """Import what every machine needs, and run it once, for a process that forks machines."""
    import ssl

    import cloudpickle
    import h11
    import trio

    from ..session import _fleet, _peers
    from ._rehearsal import rehearse

    _ = (cloudpickle, h11, trio, _fleet, _peers)
    # With a process's first one, OpenSSL reads its configuration and loads its algorithms.
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_bio(
        ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True
    )
    with contextlib.suppress(Exception):  # machines do not depend on it
        rehearse()


def prepare(authority: bytes) -> None:
    """Make what all machines of one session need, for a process that forks them.

    ``authority`` is `LaunchRequest.authority`.
    """
    prepare_server_context(authority)


def set_up(config: WorkerConfig, nursery: trio.Nursery, observers: Sequence[object] = ()) -> SetUp:
    """Return the function that runs a new service's ``setup``, with a session for its peers.

    ``observers`` are those of the calls to them.
    """
    sessions: tuple[AsyncPeerSession, PeerSession] | None = None  # once a service wants one

    async def set_up_service(service: Any) -> None:  # Any: a service is any object
        nonlocal sessions
        if not callable(getattr(service, "setup", None)):
            return
        # Few services have one; the machines of the others never need these imports.
        from ..machine._portal import Portal
        from ..session._peers import AsyncPeerSession, PeerSession

        if sessions is None:
            peers = AsyncPeerSession(
                config.identity, system=config.system, nursery=nursery, observers=observers
            )
            sessions = peers, PeerSession(peers, Portal(nursery))
        # A decorator may hide an async def.
        is_async = inspect.iscoroutinefunction(inspect.unwrap(service.setup))
        await call_special(service.setup, sessions[0 if is_async else 1])

    return set_up_service


def _set_environ(environ: Mapping[str, str]) -> None:
    """Set variables, and make those effective that a process reads only when it starts."""
    os.environ.update(settable(environ))  # as the driver does, whose locale may be another one
    if hasattr(time, "tzset"):
        time.tzset()
    if (frames := environ.get("PYTHONTRACEMALLOC", "")).isdecimal() and int(frames):
        import tracemalloc

        tracemalloc.start(int(frames))
    python_path = environ.get("PYTHONPATH", "").split(os.pathsep)
    # As at the start of Python: behind the program's own folder, which is the first one.
    sys.path[1:1] = [os.path.abspath(entry) for entry in python_path if entry]


def run(header: dict[str, Any] | None = None, *arguments: str) -> NoReturn:
    """Run as a program: with ``arguments``, and a configuration on standard input.

    ``header`` began the configuration, if it had one and somebody has read it already.
    """
    import argparse  # late: forked machines have no command line

    parser = argparse.ArgumentParser(prog="python -m bigmachine.worker", description=__doc__)
    parser.add_argument(
        "--listen",
        required=True,
        metavar="HOST:PORT|fd:N",
        help="where to listen; with port 0, at any free port, which the first line printed tells",
    )
    listen: str = parser.parse_args(arguments).listen
    lifeline = os.dup(0)
    with open(lifeline, "rb", closefd=False) as stdin:
        if header is None and not stdin.peek(1).startswith(pickle.PROTO):
            header = read_header(stdin)
        # A pickle marks its own end; after it, only the end of input follows.
        config = pickle.dumps(pickle.load(stdin), pickle.HIGHEST_PROTOCOL)
    if header is not None:
        config = pack(header) + config
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    host, _, port = listen.rpartition(":")
    address = _free_port(host.strip("[]")) if port == "0" and host != "fd" else listen
    main(config, listen=address, lifeline=lifeline)


def _free_port(host: str) -> str:
    """Listen at a free port of ``host``, and print the address; return how to inherit it."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, 0), family=family)
    found, port = listener.getsockname()[:2]
    address = f"[{found}]:{port}" if ":" in found else f"{found}:{port}"
    os.write(1, f"{address}\n".encode())  # at once, so that one read gets it
    return f"fd:{listener.detach()}"
