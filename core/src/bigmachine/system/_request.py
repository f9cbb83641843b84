"""The order for new machines that a session gives to a backend's ``start`` hook."""

from __future__ import annotations

import datetime
import functools
import itertools
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .._driver import Driver
from .._identity import Authority, Identity
from .._values import Keepalive
from ..errors import ProtocolError

_CREDENTIAL_VALIDITY = datetime.timedelta(minutes=30)  # for the slowest of VMs to boot


class Configure(Protocol):
    """Makes the configuration of a worker; ``is_remote``: it has none of the driver's files."""

    def __call__(self, identity: Identity, request: LaunchRequest, *, is_remote: bool) -> bytes:
        """Return what the worker reads from its standard input."""


class LaunchRequest:
    """What a backend needs to bring up the machines of one ``start``.

    Call `new_machine` once for each machine to be launched. Machines that have none of the
    driver's code come up by `bigmachine.boot.user_data`, which is the same for all of them.
    """

    def __init__(
        self,
        *,
        authority: Authority,
        names: Iterator[str],
        keepalive: Keepalive,
        argv: Sequence[str],
        environ: Mapping[str, str],
        configure: Configure,
    ) -> None:
        self._authority = authority
        self._names = names
        self._configure = configure
        self.keepalive = keepalive
        self._certified: set[str] = set()
        self.argv = tuple(argv)
        self.environ = dict(environ)
        self.remaining_budget: float | None = None
        """What the session may still spend, in US dollars; None for no limit."""

    @property
    def session(self) -> str:
        """The session's name, unique in the world: what a backend tags its resources with."""
        return self._authority.session

    @functools.cached_property
    def driver(self) -> Driver:
        """The driver: what a backend tags its resources with besides, as text and by its host."""
        return Driver.here()

    def new_machine(self) -> MachineSpec:
        """Name one new machine and make its identity and configuration."""
        name = next(self._names)
        identity = self._authority.issue(name)
        return MachineSpec(
            name=identity.name,
            config=self._configure(identity, self, is_remote=False),
            request=self,
        )

    @functools.cached_property
    def credential(self) -> Identity:
        """What the boot program serves under until its machine has an identity of its own.

        It can't dial anybody, and nobody but the driver, in these machines' boot, dials it.
        """
        return self._authority.issue(
            f"boot-{secrets.token_hex(4)}", valid_for=_CREDENTIAL_VALIDITY, may_dial=False
        )

    def certify(self, name: str, point: bytes) -> Identity:
        """Certify the key that the machine of that full name has made for itself, once."""
        if name in self._certified:
            raise ProtocolError(f"{name} has been given its identity already")
        self._certified.add(name)
        return self._authority.certify(name.partition(".")[0], point)

    def remote_config(self, identity: Identity) -> bytes:
        """Return the configuration of a worker that has neither this driver's files nor folder.

        The boot program adds the key, and where what it has built is.
        """
        return self._configure(identity, self, is_remote=True)


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One machine to launch.

    Run ``command`` (or anything that calls `bigmachine.worker.main`) where the
    machine is to be, with ``config`` on its standard input; keep that input
    open: when it ends, the machine ends. ``config`` holds the machine's private
    key, so it goes by a private channel and never on a command line.
    """

    name: str
    config: bytes = field(repr=False)
    request: LaunchRequest = field(repr=False, compare=False)

    @property
    def command(self) -> list[str]:
        """The worker's command line; add ``--listen HOST:PORT`` or ``--listen fd:N``."""
        return [sys.executable, "-m", "bigmachine.worker"]


def machine_names(prefix: str = "m") -> Iterator[str]:
    """Yield ``m0``, ``m1``, … without end."""
    return (f"{prefix}{number}" for number in itertools.count())
