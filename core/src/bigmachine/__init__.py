"""bigmachine: ad-hoc clusters for Python.

Start machines, install services on them, call their methods::

    import bigmachine as bm

    with bm.Session("local") as session:
        machines = session.start(5, services={"PI": CirclePI()})
        futures = [m.submit("PI.sample", 1_000_000) for m in machines]
        print(sum(f.result() for f in futures))

``docs/code.md`` of the repository draws the layers of the code, and says which file does what.
"""

from __future__ import annotations

# Not from typing: nothing is imported before it is known that no file of the user's hides it.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

    from ._events import BootProgress as BootProgress
    from ._events import CallEnded as CallEnded
    from ._events import CallStarted as CallStarted
    from ._events import CostWarning as CostWarning
    from ._events import EnvironmentCaptured as EnvironmentCaptured
    from ._events import Event as Event
    from ._events import IdleWarning as IdleWarning
    from ._events import MachineChanged as MachineChanged
    from ._events import MachineHealth as MachineHealth
    from ._events import MachineNotice as MachineNotice
    from ._events import MachinesRequested as MachinesRequested
    from ._events import MachinesStarted as MachinesStarted
    from ._events import SessionClosed as SessionClosed
    from ._events import SessionOpened as SessionOpened
    from ._values import Cost as Cost
    from ._values import CostGroup as CostGroup
    from ._values import DiskInfo as DiskInfo
    from ._values import EnvironmentOptions as EnvironmentOptions
    from ._values import Instance as Instance
    from ._values import Keepalive as Keepalive
    from ._values import LoadInfo as LoadInfo
    from ._values import LogLine as LogLine
    from ._values import MachineInfo as MachineInfo
    from ._values import MemoryInfo as MemoryInfo
    from ._values import Notice as Notice
    from ._values import State as State
    from ._values import Termination as Termination
    from .debugger._post_mortem import post_mortem as post_mortem
    from .errors import BigmachineError as BigmachineError
    from .errors import BootError as BootError
    from .errors import CallTimeout as CallTimeout
    from .errors import IncompleteListError as IncompleteListError
    from .errors import MachineError as MachineError
    from .errors import MachineStopped as MachineStopped
    from .errors import NotSupportedError as NotSupportedError
    from .errors import PluginError as PluginError
    from .errors import ProtocolError as ProtocolError
    from .errors import RemoteError as RemoteError
    from .errors import RpcError as RpcError
    from .errors import StartError as StartError
    from .errors import StopReason as StopReason
    from .errors import TransportError as TransportError
    from .errors import UnknownSystemError as UnknownSystemError
    from .errors import UsageError as UsageError
    from .machine._async import AsyncMachine as AsyncMachine
    from .machine._async_stream import AsyncStream as AsyncStream
    from .machine._sync import Machine as Machine
    from .machine._sync import Stream as Stream
    from .metrics import counter as counter
    from .metrics import gauge as gauge
    from .metrics import histogram as histogram
    from .profiling._profile import Profile as Profile
    from .profiling._thread_dump import ThreadDump as ThreadDump
    from .services._decorators import concurrent as concurrent
    from .services._decorators import exclusive as exclusive
    from .services._decorators import parallel as parallel
    from .session._async import AsyncSession as AsyncSession
    from .session._peers import AsyncPeerSession as AsyncPeerSession
    from .session._peers import PeerSession as PeerSession
    from .session._sync import Session as Session
    from .system import Capability as Capability
    from .system import LaunchRequest as LaunchRequest
    from .system import MachineSpec as MachineSpec
    from .system import System as System
    from .system import hookimpl as hookimpl
    from .system._options import option as option

# The same names again, for when the program runs: each module is imported when one of
# its names is first used. trio alone takes 0.15 s, and a session's system comes up
# while it is imported.
_HOMES = {
    "_events": (
        "BootProgress CallEnded CallStarted CostWarning EnvironmentCaptured Event IdleWarning "
        "MachineChanged MachineHealth MachineNotice MachinesRequested MachinesStarted "
        "SessionClosed SessionOpened"
    ),
    "_values": (
        "Cost CostGroup DiskInfo EnvironmentOptions Instance Keepalive LoadInfo LogLine "
        "MachineInfo MemoryInfo Notice State Termination"
    ),
    "debugger._post_mortem": "post_mortem",
    "errors": (
        "BigmachineError BootError CallTimeout IncompleteListError MachineError MachineStopped "
        "NotSupportedError PluginError ProtocolError RemoteError RpcError StartError StopReason "
        "TransportError UnknownSystemError UsageError"
    ),
    "machine._async": "AsyncMachine",
    "machine._async_stream": "AsyncStream",
    "machine._sync": "Machine Stream",
    "metrics": "counter gauge histogram",
    "profiling._profile": "Profile",
    "profiling._thread_dump": "ThreadDump",
    "services._decorators": "concurrent exclusive parallel",
    "session._async": "AsyncSession",
    "session._peers": "AsyncPeerSession PeerSession",
    "session._sync": "Session",
    "system": "Capability LaunchRequest MachineSpec System hookimpl",
    "system._options": "option",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        import sys

        if "bigmachine.errors" not in sys.modules:  # nothing of ours is, as in a driver at first
            from .services._hidden import check_nothing_hidden

            check_nothing_hidden()

        from importlib import import_module

        value = getattr(import_module("." + _HOME_OF[name], __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
