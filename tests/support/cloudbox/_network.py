"""The network of a box: sockets in its namespace, and rules that drop packets of a host."""

import ctypes
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pytest
import trio

CLONE_NEWNET = 0x40000000  # from linux/sched.h

T = TypeVar("T")


class Unsupported(pytest.skip.Exception):
    """The kernel lacks a function; a test that needs it is skipped."""


@dataclass
class Link:
    """The cable of a host, with the packets that nftables drops on it, either way.

    Neither end gets an error. If the cable is cut, both ends still see a carrier.
    """

    name: str  # the bridge's port
    is_cut: bool = False
    loss_percent: float = 0

    def rule(self, match: str) -> str:
        if self.is_cut:
            return f'{match} "{self.name}" drop'
        return f'{match} "{self.name}" numgen random mod 1000 < {self.loss_percent * 10:.0f} drop'


def ruleset(links: list[Link]) -> str:
    """Return the nft rules for all links; they replace earlier rules."""
    lines = ["table bridge cloudbox", "flush table bridge cloudbox", "table bridge cloudbox {"]
    for hook, match in (("prerouting", "iifname"), ("postrouting", "oifname")):
        lines += [f"chain {hook} {{", f"type filter hook {hook} priority 0"]
        lines += [link.rule(match) for link in links if link.is_cut or link.loss_percent]
        lines += ["}"]
    return "\n".join([*lines, "}", ""])


async def run_in(pid: int, *command: str, stdin: str = "") -> str:
    """Run a command in the network namespace of a process; return its output."""
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net", *command]
    done = await trio.run_process(
        inside, stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False
    )
    if done.returncode:
        error = done.stderr.decode().strip()
        if "qdisc kind is unknown" in error:
            raise Unsupported(f"this kernel has no such traffic control: {' '.join(command)}")
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, error)
    return done.stdout.decode()


def listen(address: str, port: int) -> socket.socket:
    """Open a listening TCP socket."""
    return socket.create_server((address, port), backlog=100)


def open_in(pid: int, make: Callable[[], T]) -> T:
    """Call ``make`` in the network namespace of a process; a socket made there stays there."""
    with open(f"/proc/{pid}/ns/net") as namespace:

        def enter() -> T:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            return make()

        # A thread enters the namespace. A thread of trio's cache would be reused for
        # something else, in the wrong network.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(enter).result()
