"""What a session asks a backend's ``start`` hook for: a `LaunchRequest` of `MachineSpec`s."""

from __future__ import annotations

import datetime
import functools
import itertools
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from .._driver import Driver
from .._full_names import short_name
from .._identity import Authority, Identity
from .._values import Keepalive
from ..errors import ProtocolError
from ..process import start_command


class Configure(Protocol):
    """A function that makes the configuration of one worker."""

    def __call__(self, identity: Identity, request: LaunchRequest, *, is_remote: bool) -> bytes:
        """Return what the worker reads from its standard input.

        ``is_remote`` tells whether the worker has none of the driver's files.
        """


class LaunchRequest:
    """What a backend needs to launch the machines of one ``start``.

    Call `new_machine` once for each machine. Machines that have none of the driver's code
    boot with `bigmachine.boot.user_data`, which is the same for all machines of a request.
    ``keepalive`` has the timings, ``argv`` and ``environ`` are the arguments of ``start``.
    ``credential_seconds`` is how long the `credential` is valid: as long as booting may take.
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
        credential_seconds: float = 1800.0,
        owns_hosts: bool = True,
    ) -> None:
        self._credential_seconds = credential_seconds
        self._authority = authority
        self._names = names
        self._configure = configure
        self.keepalive = keepalive
        self._certified: set[str] = set()
        self.argv = tuple(argv)
        self.environ = dict(environ)
        self.owns_hosts = owns_hosts
        """`System.owns_hosts`: whether the machines' hosts may be switched off."""
        self.remaining_budget: float | None = None
        """What the session may still spend, in US dollars; None means no limit."""

    @property
    def session(self) -> str:
        """The globally unique name of the session; backends tag their resources with it."""
        return self._authority.session

    @property
    def authority(self) -> bytes:
        """The certificate of the session's authority, in PEM: all machines trust it."""
        return self._authority.certificate

    @functools.cached_property
    def driver(self) -> Driver:
        """The driver; backends also tag resources with ``str(driver)`` and ``driver.host``."""
        return Driver.here()

    def new_machine(self) -> MachineSpec:
        """Make the name, the identity and the configuration of one new machine."""
        name = next(self._names)
        identity = self._authority.issue(name)
        return MachineSpec(
            name=identity.name,
            config=self._configure(identity, self, is_remote=False),
            request=self,
        )

    @functools.cached_property
    def credential(self) -> Identity:
        """The identity of the boot program until its machine has its own.

        It can only serve, not connect; and only the driver connects to it, while the machines
        of this request boot.
        """
        return self._authority.issue(
            f"boot-{secrets.token_hex(4)}",
            valid_for=datetime.timedelta(seconds=self._credential_seconds),
            may_dial=False,
        )

    def certify(self, name: str, point: bytes) -> Identity:
        """Certify the public key of the machine with that full name; only once per machine."""
        if name in self._certified:
            raise ProtocolError(f"{name} already has its identity")
        self._certified.add(name)
        return self._authority.certify(short_name(name), point)

    def remote_config(self, identity: Identity) -> bytes:
        """Return the configuration of a worker that has none of the driver's files.

        The boot program adds the machine's key, and the path of the built environment.
        """
        return self._configure(identity, self, is_remote=True)


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """One machine to launch.

    Run ``command`` (or anything that calls `bigmachine.worker.main`) on the machine, and
    write ``config`` to its standard input. Keep this input open: when it ends, the machine
    ends. ``config`` contains the machine's private key, so send it over a private channel,
    never on a command line.
    """

    name: str
    config: bytes = field(repr=False)
    request: LaunchRequest = field(repr=False, compare=False)

    @property
    def command(self) -> list[str]:
        """The worker's command line; add ``--listen HOST:PORT`` or ``--listen fd:N``.

        It is for the driver's computer: it begins with the driver's own interpreter, its flags,
        and a file. On another computer, run ``PYTHON -m bigmachine.worker`` instead, with an
        interpreter that has the same environment. With ``--listen HOST:0`` the worker takes any
        free port, and its first line of output is the address, as in ``10.0.0.7:40913``.
        Raises `UsageError` where there is no interpreter, as in a frozen application.
        """
        return start_command("bigmachine.worker._main:run", 0)


def machine_names(prefix: str = "m") -> Iterator[str]:
    """Yield ``m0``, ``m1``, … without end."""
    return (f"{prefix}{number}" for number in itertools.count())
