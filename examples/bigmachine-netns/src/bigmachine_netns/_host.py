"""A machine's host: a network namespace and the one program in it, which end together."""

import ipaddress
import subprocess
from collections import deque
from pathlib import Path

import trio

import bigmachine as bm

SCRIPT = str(Path(__file__).with_name("machine.sh"))  # makes the namespace, and takes it away
PORT = 8443  # each machine's network is its own: every port is free


class Host:
    """One host, as its driver has it: the ``process`` of a script that outlives the driver."""

    def __init__(self, process):
        self.process = process
        self._follower = trio.Semaphore(1)
        self._lines = deque()  # here, so that none is lost with the follower that read it
        self._rest = b""

    @classmethod
    async def open(cls, machine, subnet):
        """Begin to make one; its program will wait for the configuration."""
        network = ipaddress.IPv4Network(subnet)
        card = f"{network[1]}/{network.prefixlen}"
        numbers = [str(int(network[2])), str(int(network[-2])), str(PORT)]
        process = await trio.lowlevel.open_process(
            ["sh", SCRIPT, "run", machine.name, card, *numbers, *machine.command],
            stdin=subprocess.PIPE,  # the configuration, then the lifeline
            stdout=subprocess.PIPE,  # the address
            stderr=subprocess.PIPE,  # what was wrong, or what the machine prints
            start_new_session=True,  # neither Ctrl-C nor the terminal's end reaches it
        )
        return cls(process)

    async def address(self):
        """Return its address once it is made; raise a `StartError` if it can't be."""
        if address := await self.process.stdout.receive_some():
            return address.decode().strip()
        said = [line.decode(errors="replace") async for line in self.lines()]
        raise bm.StartError(f"can't make a network namespace: {' '.join(said)}")

    async def lines(self):
        """Yield what the program prints, line by line; each comes to one follower."""
        async with self._follower:
            while True:
                while self._lines:
                    yield self._lines.popleft()
                part = await self.process.stderr.receive_some()
                if not part and not self._rest:
                    break
                *lines, self._rest = (self._rest + (part or b"\n")).split(b"\n")
                self._lines.extend(lines)

    async def close(self):
        """Hang up, for one that is not made yet; return when the script has ended."""
        await self.process.stdin.aclose()
        await self.process.wait()


async def free(name):
    """Take a machine's host away, with all that runs in it; fine if there is none."""
    await trio.run_process(["sh", SCRIPT, "free", name])


def find_instances():
    """List the hosts that there are, of any driver."""
    namespaces = Path("/run/netns").glob("bigmachine-[0-9]*-*")
    return [instance_at(*namespace.name.split("-", 2)[1:]) for namespace in namespaces]


def instance_at(address, name):
    """Describe the machine of that name, whose host has the address."""
    return bm.Instance(name, f"{address}:{PORT}", id=f"bigmachine-{address}-{name}")
