"""The ``netns`` system: machines as hosts of a network that exists on this computer only."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

import trio

import bigmachine as bm
from bigmachine.system import check_options

from ._host import Host, check_computer, find_instances, find_problem, free

GRACE = 1.0  # a connection breaks some ms before its machine is seen to be gone


@dataclass(frozen=True, slots=True)
class NetnsOptions:
    """Options of the ``netns`` system."""

    subnet: str = bm.option("10.213.0.0/16", help="Where machines get their addresses from.")


class NetnsSystem(bm.System):
    """Machines as hosts of a network of their own: network namespaces of Linux."""

    name = "netns"
    Options = NetnsOptions
    capabilities = frozenset({bm.Capability.INSTANCES, bm.Capability.TAIL})
    orphan_timeout = 10.0

    def __init__(self, options=None):
        super().__init__(options)
        self.hosts = {}

    async def setup(self):
        check_options(self.options, subnet=find_problem(self.options.subnet))
        await check_computer(self.options.subnet)

    async def start(self, count, boot):
        async with AsyncExitStack() as undo:
            new = [Host(boot.machine(), self.options.subnet) for _ in range(count)]
            for host in new:
                await undo.enter_async_context(host)
            undo.pop_all()
        self.hosts |= {host.instance.name: host for host in new}
        return [host.instance for host in new]

    async def keepalive_failed(self, instance):
        with trio.move_on_after(GRACE):
            if host := self.hosts.get(instance.name):
                await host.wait()
            return bm.Gone(bm.StopReason.EXITED, "its process ended")
        return None

    async def tail(self, instance):
        if host := self.hosts.get(instance.name):
            async for line in host.lines():
                yield line

    async def stop(self, instance):
        if host := self.hosts.pop(instance.name, None):
            await host.close()
        await free(instance)

    async def shutdown(self):
        for host in [*self.hosts.values()]:
            await host.close()

    async def instances(self):
        return find_instances()
