"""A machine's host: a network namespace and the one program in it, which end together."""

import ipaddress
import json
import os
import shutil
import subprocess
from pathlib import Path

import trio

import bigmachine as bm

SCRIPT = str(Path(__file__).with_name("machine.sh"))  # makes the namespace, and takes it away
TOOLS = {"ip": "iproute2", "flock": "util-linux", "setsid": "util-linux", "unshare": "util-linux"}
UPLINK = "bigmachine0"  # see machine.sh
PORT = 8443  # each machine's network is its own: every port is free


class Host:
    """One host, there while the ``async with`` block runs.

    The script that makes it outlives the driver, and takes it away then too.
    """

    def __init__(self, machine, subnet):
        self._machine = machine
        self._subnet = ipaddress.ip_network(subnet)
        self._follower = trio.Semaphore(1)
        self.instance = None

    async def __aenter__(self):
        switch = f"{self._subnet[1]}/{self._subnet.prefixlen}"
        numbers = [str(int(self._subnet[2])), str(int(self._subnet[-2])), str(PORT)]
        self._process = await trio.lowlevel.open_process(
            ["sh", SCRIPT, "run", self._machine.name, switch, *numbers, *self._machine.command],
            stdin=subprocess.PIPE,  # the configuration, then the lifeline
            stdout=subprocess.PIPE,  # the address
            stderr=subprocess.PIPE,  # what was wrong, or what the machine prints
            start_new_session=True,  # neither Ctrl-C nor the terminal's end reaches it
        )
        try:
            address = (await self._process.stdout.receive_some()).decode().strip()
            if not address:
                said = [line.decode(errors="replace") async for line in self.lines()]
                raise bm.StartError(f"can't make a network namespace: {' '.join(said)}")
            await self._process.stdin.send_all(self._machine.config)
        except trio.BrokenResourceError as exc:
            await self.close()
            raise bm.StartError("the machine ended before it knew its configuration") from exc
        except BaseException:
            await self.close()
            raise
        self.instance = _instance(address, self._machine.name)
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        """End the program; return when it and the namespace are gone."""
        with trio.CancelScope(shield=True):  # the script takes its time, but no longer
            await self._process.stdin.aclose()
            await self._process.wait()

    async def wait(self):
        """Wait until program and namespace are gone."""
        await self._process.wait()

    async def lines(self):
        """Yield what the program prints, line by line, to one follower at a time."""
        rest = b""
        async with self._follower:
            async for part in self._process.stderr:
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    yield line
        if rest:
            yield rest


def find_instances():
    """List the hosts that there are, of any driver."""
    namespaces = Path("/run/netns").glob("bigmachine-[0-9]*-*")
    return [_instance(*namespace.name.split("-", 2)[1:]) for namespace in namespaces]


async def free(instance):
    """Take away a host that nobody else does any more; fine if there is none."""
    await trio.run_process(["sh", SCRIPT, "free", instance.id])


def find_problem(subnet):
    """Say what is wrong with the option; None if nothing is."""
    try:
        network = ipaddress.IPv4Network(subnet)
    except ValueError as exc:
        return f"{exc}; it must be like 10.213.0.0/16"
    if not network.is_private:
        return f"{subnet} is out in the Internet; choose a private one, such as 10.213.0.0/16"
    if network.prefixlen > 29:
        return f"{subnet} has too few addresses; it must be a /29 or larger"
    return None


async def check_computer(subnet):
    """Raise a `UsageError` if hosts can't be made here, or their addresses are taken."""
    for tool, package in TOOLS.items():
        if not shutil.which(tool):
            raise bm.UsageError(f"system 'netns' needs the command {tool!r}: install {package}")
    if os.geteuid() != 0:
        raise bm.UsageError("system 'netns' needs root: run the driver with sudo")
    probe = await trio.run_process(
        ["unshare", "--net", "--mount", "true"], capture_stderr=True, check=False
    )
    if probe.returncode != 0:
        raise bm.UsageError(
            "system 'netns' may make no namespaces here "
            f"({probe.stderr.decode(errors='replace').strip()}): in a container, "
            "run it with --privileged"
        )
    wanted = ipaddress.IPv4Network(subnet)
    routes = await trio.run_process(["ip", "-4", "-j", "route", "show"], capture_stdout=True)
    for route in json.loads(routes.stdout or b"[]"):
        is_anothers = route["dst"] != "default" and route.get("dev") != UPLINK
        if is_anothers and wanted.overlaps(ipaddress.IPv4Network(route["dst"])):
            raise bm.UsageError(
                f"subnet: {subnet} overlaps with {route['dst']} on {route.get('dev')}, "
                "which this computer is in already; choose another"
            )


def _instance(address, name):
    return bm.Instance(name, f"{address}:{PORT}", id=f"bigmachine-{address}-{name}")
