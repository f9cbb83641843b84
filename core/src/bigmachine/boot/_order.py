"""The order for new machines that a session gives to a backend's ``start`` hook."""

from __future__ import annotations

import datetime
import functools
import itertools
import os
import pickle
import secrets
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .._driver import Driver
from .._identity import Authority, Identity
from .._values import Keepalive
from ..errors import ProtocolError

if TYPE_CHECKING:
    from ..system import System

_CREDENTIAL_VALIDITY = datetime.timedelta(minutes=30)  # for the slowest of VMs to boot


class Boot:
    """What a backend needs to bring up the machines of one ``start``.

    Ask `machine` once for each machine to be launched. Machines that have none of the
    driver's code come up by `bigmachine.boot.user_data`, which is the same for all of them.
    """

    def __init__(
        self,
        *,
        authority: Authority,
        system: System,
        names: Iterator[str],
        keepalive: Keepalive,
        maxprocs: int | None,
        argv: Sequence[str],
        environ: Mapping[str, str],
    ) -> None:
        self._authority = authority
        self._system = system
        self._names = names
        self.keepalive = keepalive
        self._maxprocs = maxprocs
        self._certified: set[str] = set()
        self.argv = tuple(argv)
        self.environ = dict(environ)
        self.dollars_left: float | None = None
        """What the session may still spend, in US dollars; None for no limit."""

    @property
    def session(self) -> str:
        """The session's name, unique in the world: what a backend tags its resources with."""
        return self._authority.session

    @functools.cached_property
    def driver(self) -> Driver:
        """The driver: what a backend tags its resources with besides, as text and by its host."""
        return Driver.here()

    def machine(self) -> MachineBoot:
        """Name one new machine and make its identity and configuration."""
        name = next(self._names)
        identity = self._authority.issue(name)
        config = WorkerConfig(
            identity=identity,
            system=self._system,
            keepalive=self.keepalive,
            maxprocs=self._maxprocs,
            argv=self.argv,
            environ=self.environ,
        )
        return MachineBoot(name=identity.name, config=config.dump(), boot=self)

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
        config = WorkerConfig(
            identity=identity,
            system=self._system,
            keepalive=self.keepalive,
            maxprocs=self._maxprocs,
            argv=self.argv,
            environ=self.environ,
            path=(),
            cwd="",
        )
        return config.dump()


@dataclass(frozen=True, slots=True)
class MachineBoot:
    """One machine to launch.

    Run ``command`` (or anything that calls `bigmachine.worker.main`) where the
    machine is to be, with ``config`` on its standard input; keep that input
    open: when it ends, the machine ends. ``config`` holds the machine's private
    key, so it goes by a private channel and never on a command line.
    """

    name: str
    config: bytes = field(repr=False)
    boot: Boot = field(repr=False, compare=False)

    @property
    def command(self) -> list[str]:
        """The worker's command line; add ``--listen HOST:PORT`` or ``--listen fd:N``."""
        return [sys.executable, "-m", "bigmachine.worker"]


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All that a worker is told before it serves its first connection."""

    identity: Identity
    system: System
    keepalive: Keepalive
    maxprocs: int | None
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    path: tuple[str, ...] = field(default_factory=lambda: _module_path())
    cwd: str = field(default_factory=os.getcwd)

    def dump(self) -> bytes:
        """Return the bytes that `load` reads."""
        import cloudpickle

        # Two pickles: the outer one needs nothing but the standard library, so that the
        # worker can set its module path before it meets the driver's own classes.
        outer = {"path": self.path, "cwd": self.cwd, "config": cloudpickle.dumps(self, 5)}
        return pickle.dumps(outer, 5)

    @classmethod
    def load(cls, data: bytes) -> WorkerConfig:
        """Read what `dump` wrote; takes on the driver's module path and folder first."""
        outer = pickle.loads(data)
        made_there = outer.get("identity", {})  # by the boot program, whose key never travels
        sys.path[:] = [*dict.fromkeys([*outer["path"], *sys.path])]
        if os.path.isdir(outer["cwd"]):
            os.chdir(outer["cwd"])
        config = pickle.loads(outer["config"])
        if not isinstance(config, cls):
            raise TypeError(f"expected a WorkerConfig, got {type(config).__name__}")
        return replace(config, identity=replace(config.identity, **made_there))


def machine_names(prefix: str = "m") -> Iterator[str]:
    """Yield ``m0``, ``m1``, … without end."""
    return (f"{prefix}{number}" for number in itertools.count())


def _module_path() -> tuple[str, ...]:
    """Return `sys.path` with its relative entries ('' is the current folder) made absolute."""
    return tuple(os.path.abspath(entry) for entry in sys.path)
