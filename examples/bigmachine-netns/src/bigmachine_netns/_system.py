"""The ``netns`` system: machines as hosts of a network that exists on this computer only."""

from dataclasses import dataclass

import trio

import bigmachine as bm
from bigmachine.system import check_options

from ._checks import check_computer, find_problem
from ._host import Host, find_instances, free, instance_at

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

    async def launch(self, spec):
        host = self.hosts[spec.name] = await Host.open(spec, self.options.subnet)
        address = await host.address()
        await host.process.stdin.send_all(spec.config)
        return instance_at(address, spec.name)

    async def keepalive_failed(self, instance):
        with trio.move_on_after(GRACE):
            host = self.hosts.get(instance.name)
            how = f"with status {await host.process.wait()}" if host else "and was freed"
            return bm.Termination(bm.StopReason.EXITED, f"its process ended {how}")
        return None

    async def tail(self, instance):
        if host := self.hosts.get(instance.name):
            async for line in host.lines():
                yield line

    async def stop(self, instance):
        await free(instance.name)
        if host := self.hosts.pop(instance.name, None):
            await host.close()

    async def shutdown(self):
        for name in [*self.hosts]:
            await self.stop(bm.Instance(name, address=""))

    async def instances(self):
        return find_instances()
