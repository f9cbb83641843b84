"""The configuration of a worker: what it needs before it serves its first connection."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .._identity import Identity
from .._values import Keepalive
from ..rpc import dumps_whole
from ..system._request import LaunchRequest

if TYPE_CHECKING:
    from ..system import System


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All that a worker needs before it serves its first connection."""

    identity: Identity
    system: System
    keepalive: Keepalive
    maxprocs: int | None
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    path: tuple[str, ...]
    cwd: str

    def dump(self) -> bytes:
        """Return the bytes that `load` reads."""
        # Two pickles: the outer one needs nothing but the standard library, so that the
        # worker can set its module path before it meets the driver's own classes.
        outer = {"path": self.path, "cwd": self.cwd, "config": dumps_whole(self)}
        return pickle.dumps(outer, 5)

    @classmethod
    def load(cls, data: bytes) -> WorkerConfig:
        """Read what `dump` wrote; sets the driver's module path and folder first."""
        outer = pickle.loads(data)
        machine_made = outer.get("identity", {})  # by the boot program: its key never travels
        sys.path[:] = [*dict.fromkeys([*outer["path"], *sys.path])]
        if os.path.isdir(outer["cwd"]):
            os.chdir(outer["cwd"])
        config = pickle.loads(outer["config"])
        if not isinstance(config, cls):
            raise TypeError(f"expected a WorkerConfig, got {type(config).__name__}")
        return replace(config, identity=replace(config.identity, **machine_made))


def configure_worker(
    identity: Identity,
    request: LaunchRequest,
    *,
    is_remote: bool,
    system: System,
    maxprocs: int | None,
) -> bytes:
    """Return the configuration of one worker of ``request``; see `Configure`."""
    config = WorkerConfig(
        identity=identity,
        system=system,
        keepalive=request.keepalive,
        maxprocs=maxprocs,
        argv=request.argv,
        environ=request.environ,
        path=() if is_remote else _module_path(),
        cwd="" if is_remote else os.getcwd(),
    )
    return config.dump()


def _module_path() -> tuple[str, ...]:
    """Return `sys.path` with its relative entries ('' is the current folder) made absolute."""
    return tuple(os.path.abspath(entry) for entry in sys.path)
