"""What `setup` checks, so that no machine fails for it: the option, and the computer."""

import ipaddress
import json
import shutil

import trio

import bigmachine as bm

TOOLS = {"ip": "iproute2", "flock": "util-linux", "setsid": "util-linux", "unshare": "util-linux"}
UPLINK = "bigmachine0"  # see machine.sh


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
    may_unshare = ["unshare", "--net", "--mount", "true"]
    probe = await trio.run_process(may_unshare, capture_stderr=True, check=False)
    if probe.returncode != 0:
        raise bm.UsageError(
            "system 'netns' needs root: run the driver with sudo; if it is in a container, "
            f"run it with --privileged ({probe.stderr.decode(errors='replace').strip()})"
        )
    wanted = ipaddress.IPv4Network(subnet)
    routes = await trio.run_process(["ip", "-4", "-j", "route", "show"], capture_stdout=True)
    for route in json.loads(routes.stdout or b"[]"):
        is_other_network = route["dst"] != "default" and route.get("dev") != UPLINK
        if is_other_network and wanted.overlaps(ipaddress.IPv4Network(route["dst"])):
            raise bm.UsageError(
                f"subnet: {subnet} overlaps with {route['dst']} on {route.get('dev')}, "
                "which this computer is in already; choose another"
            )
