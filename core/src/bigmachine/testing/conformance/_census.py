"""How many machines of a session exist: counted by the kit itself, not by what `start` returned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from bigmachine.system import Capability

from ._processes import HostProcess, marked

if TYPE_CHECKING:
    from bigmachine.machine._async import AsyncMachine
    from bigmachine.session._async import AsyncSession

    from ._kit import Kit

_LISTEN = "0A"  # the state's number in /proc/net/tcp
_LISTED_SECONDS = 10.0  # a provider's lists may lack a new machine for a while
_POLL = 0.5


async def check_exactly(kit: Kit, session: AsyncSession, machines: Iterable[AsyncMachine]) -> None:
    """Fail unless these machines of the session exist, once each, and no others.

    The witnesses are `instances`, if the backend has it, and the processes of this computer.
    """
    machines = list(machines)
    wanted = Counter(machine.instance.name for machine in machines)
    if Capability.INSTANCES in kit.capabilities:
        found = await _listed(session)
        until = trio.current_time() + _LISTED_SECONDS
        while wanted - found and trio.current_time() < until:
            await trio.sleep(_POLL)
            found = await _listed(session)
        more, less = found - wanted, wanted - found
        assert not more, f"`start` did not return {_names(more)}, but `instances` lists it"
        assert not less, f"`start` returned {_names(less)}, but `instances` does not list it"
    # The last one is asked where it runs: those before it may be frozen by now.
    if machines and await kit.process_of(machines[-1]) is not None:
        workers = _workers(kit.mark)
        assert len(workers) <= len(machines), (
            f"`start` returned {len(machines)} machines, but processes of {len(workers)} listen: "
            + "; ".join(", ".join(map(str, group)) for group in workers)
        )


async def _listed(session: AsyncSession) -> Counter[str]:
    instances = await session._plugins.hooks.instances()
    return Counter(
        one.name for one in instances if one.session == session.name and one.kind == "instance"
    )


def _workers(mark: str) -> list[list[HostProcess]]:
    """Group the processes that run bigmachine and listen on a TCP port: a group shares one."""
    groups: list[tuple[set[str], list[HostProcess]]] = []
    for process in marked(mark):
        if not (ours := process.sockets & _listening(process.pid)) or not _is_worker(process):
            continue
        for sockets, group in groups:
            if sockets & ours:
                sockets |= ours
                group.append(process)
                break
        else:
            groups.append((ours, [process]))
    return [group for _, group in groups]


def _is_worker(process: HostProcess) -> bool:
    return "bigmachine" in process.command  # a tunnel, or a provider's own agent, is none


def _listening(pid: int) -> set[str]:
    """Return the sockets that listen in the network of a process, as its descriptors name them."""
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            rows = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
        except OSError:
            continue
        fields = (row.split() for row in rows)
        found |= {f"socket:[{each[9]}]" for each in fields if each[3] == _LISTEN}
    return found


def _names(names: Counter[str]) -> str:
    return ", ".join(sorted(names.elements()))
