"""The VMs of an emulated cloud, as hosts of a box."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import trio

from bigmachine.session._loop_thread import LoopThread
from tests.support.cloudbox._box import Box
from tests.support.cloudbox._cloud import Cloud
from tests.support.cloudbox._host import Host
from tests.support.cloudbox._image import why_not

IMAGE_PYTHON = (3, 11)
SHUTDOWN_SECONDS = 5.0  # that a VM that is told to end has to do it in good order
TICK_SECONDS = 0.05


def why_no_drivers() -> str:
    """Say why this process can't be a driver of hosts in a box; empty if it can."""
    if sys.version_info[:2] != IMAGE_PYTHON:
        return f"the box's image has Python {'.'.join(map(str, IMAGE_PYTHON))}"
    reason = why_not()
    return f"a cloud in a box {reason}" if reason else ""


class HostedVms:
    """The hosts behind the VMs of an emulated cloud, by the names, or ids, of the VMs.

    What happens to a host the cloud sees, and what the cloud is asked for happens to the host. The
    box runs in a thread of its own, so that drivers of this process and of others may be tested.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, Host] = {}
        self._box = Box()
        self._loop = LoopThread(self._box)
        self._lost: set[str] = set()

    @property
    def address(self) -> str:
        """The driver's, at which VMs reach the emulated cloud."""
        return f"{self._box.subnet}.1"

    @property
    def block(self) -> str:
        """The addresses of its hosts."""
        return f"{self._box.subnet}.0/24"

    def close(self) -> None:
        """End all hosts, and the box."""
        self._loop.close()

    # -- what the emulated cloud asks for -------------------------------------------------

    def boot(self, name: str, cloud: Cloud, went_off: Callable[[], None]) -> Host:
        """Boot the host of a VM; ``went_off`` is called when it is off, unless it is lost."""
        host: Host = self._call(self._box.boot, cloud)
        self.hosts[name] = host
        self._loop.portal.submit(self._watch, name, host, went_off)
        return host

    def shut_down(self, name: str) -> None:
        """Have a VM shut down in good order, or end it after a while; return at once."""
        if name in self.hosts:
            self._loop.portal.submit(self._shut_down, self.hosts[name])

    def kill(self, name: str) -> None:
        """End a VM at once, and return before that is done."""
        if name in self.hosts:
            self._loop.portal.submit(self.hosts[name].kill)

    def has_no_host(self, name: str) -> bool:
        """Whether nothing runs there any more."""
        return name not in self.hosts or self.hosts[name].is_off

    # -- what happens to the hosts ------------------------------------------------------

    def lose(self, name: str) -> None:
        """Lose a VM with the computer that it is on; the provider does not know it yet."""
        self._lost.add(name)
        self._call(self.hosts[name].kill)

    def cut(self, name: str) -> None:
        """Cut its cable: whatever is sent is lost, and neither end is told."""
        self._call(self.hosts[name].cut)

    def mend(self, name: str) -> None:
        """Mend its cable."""
        self._call(self.hosts[name].mend)

    def run(self, name: str, *command: str) -> str:
        """Run a command on it as root; return what it prints."""
        return str(self._call(partial(self.hosts[name].run, *command)))

    def running(self) -> list[str]:
        """List the VMs whose hosts run."""
        return [name for name, host in self.hosts.items() if not host.is_off]

    def clear(self) -> None:
        """Lose all hosts that still run."""
        for name in self.running():
            self._call(self.hosts[name].kill)
        self.hosts.clear()
        self._lost.clear()

    def _call(self, function: Any, *args: Any) -> Any:
        return self._loop.portal.run(function, *args)

    async def _watch(self, name: str, host: Host, went_off: Callable[[], None]) -> None:
        await host.wait_off()
        if name not in self._lost:
            # In a thread: whoever holds the emulation's lock may wait for this loop.
            await trio.to_thread.run_sync(went_off)

    async def _shut_down(self, host: Host) -> None:
        with trio.move_on_after(SHUTDOWN_SECONDS), contextlib.suppress(RuntimeError, OSError):
            await host.press_power_button()
            await host.wait_off()
        if not host.is_off:
            await host.kill()


@contextlib.contextmanager
def ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Call ``tick`` often while the block runs: hosts end, and nobody need ask for it."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(TICK_SECONDS):
            tick()

    ticker = threading.Thread(target=run, name="emulation-clock", daemon=True)
    ticker.start()
    try:
        yield
    finally:
        over.set()
        ticker.join()
