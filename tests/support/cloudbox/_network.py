"""The network of a box: sockets in its namespace, and what befalls the packets of a host."""

import ctypes
import socket
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pytest
import trio

CLONE_NEWNET = 0x40000000  # of linux/sched.h

T = TypeVar("T")


class Unsupported(pytest.skip.Exception):
    """The kernel here can't do it; a test that asks for it is skipped."""


@dataclass
class Link:
    """A host's cable, as nftables has it: what is lost on it, either way, without a word.

    Neither end is told: not even that of a cable that is cut sees its carrier go.
    """

    name: str  # of the bridge's port
    is_cut: bool = False
    loss_percent: float = 0

    def rule(self, match: str) -> str:
        if self.is_cut:
            return f'{match} "{self.name}" drop'
        return f'{match} "{self.name}" numgen random mod 1000 < {self.loss_percent * 10:.0f} drop'


def ruleset(links: list[Link]) -> str:
    """Write all that nft has to know of the links; it takes the place of what it knew."""
    lines = ["table bridge cloudbox", "flush table bridge cloudbox", "table bridge cloudbox {"]
    for hook, match in (("prerouting", "iifname"), ("postrouting", "oifname")):
        lines += [f"chain {hook} {{", f"type filter hook {hook} priority 0"]
        lines += [link.rule(match) for link in links if link.is_cut or link.loss_percent]
        lines += ["}"]
    return "\n".join([*lines, "}", ""])


async def run_in(pid: int, *command: str, stdin: str = "") -> str:
    """Run a command in the network of the process; return what it prints."""
    inside = ["nsenter", f"--net=/proc/{pid}/ns/net", *command]
    done = await trio.run_process(
        inside, stdin=stdin.encode(), capture_stdout=True, capture_stderr=True, check=False
    )
    if done.returncode:
        said = done.stderr.decode().strip()
        if "qdisc kind is unknown" in said:
            raise Unsupported(f"this kernel has no such traffic control: {' '.join(command)}")
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, said)
    return done.stdout.decode()


def listen(address: str, port: int) -> socket.socket:
    """Open a TCP socket that listens."""
    return socket.create_server((address, port), backlog=100)


def open_in(pid: int, make: Callable[[], T]) -> T:
    """Call ``make`` in the network of the process: a socket that is made there stays there."""
    with open(f"/proc/{pid}/ns/net") as namespace:

        def enter() -> T:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
            return make()

        # A namespace is entered by a thread. It is one of our own, since trio's would be
        # used again for something else, and be in the wrong network then.
        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(enter).result()
