"""The configuration of a worker: what it needs before it serves its first connection."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from .._identity import Identity
from .._values import Keepalive
from ..logs._settings import LogSettings
from ..process import module_path, pack, unpack
from ..system._request import LaunchRequest

if TYPE_CHECKING:
    from ..system import System


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """All that a worker needs before it serves its first connection.

    ``header`` says where the driver's modules and its current folder are, for a worker on the
    driver's computer; the boot program of any other one knows that. ``logs`` says how it logs; None
    leaves that as it is. ``is_traced`` if its driver asks for the traces of its calls.
    """

    identity: Identity
    system: System
    keepalive: Keepalive
    maxprocs: int | None
    argv: tuple[str, ...]
    environ: Mapping[str, str]
    header: Mapping[str, Any] | None = None
    logs: LogSettings | None = None
    is_traced: bool = False

    def dump(self) -> bytes:
        """Return the bytes that `load` reads."""
        outer = pickle.dumps({"config": self._dump_inner()}, 5)
        return outer if self.header is None else pack(dict(self.header)) + outer

    def _dump_inner(self) -> bytes:
        """Return the inner of two pickles.

        The outer one needs nothing but the standard library, so that the worker can set its module
        path before it meets the driver's own classes.
        """
        from ..rpc import dumps_whole  # late: it takes a backend's import too long

        return dumps_whole(replace(self, header=None))

    @classmethod
    def load(cls, data: bytes) -> WorkerConfig:
        """Read what `dump` wrote; sets the driver's module path and folder first."""
        header: dict[str, Any] = {}
        if not data.startswith(_PICKLE):
            header, data = unpack(data)
        outer = header | pickle.loads(data)
        sys.path[:] = [*dict.fromkeys([*outer["path"], *sys.path])]
        with contextlib.suppress(OSError):  # it was deleted, or is on another computer
            os.chdir(outer["cwd"] or os.curdir)
        config = pickle.loads(outer["config"])
        if not isinstance(config, cls):
            raise TypeError(f"expected a WorkerConfig, got {type(config).__name__}")
        return replace(config, identity=replace(config.identity, **outer.get("identity", {})))


class Configurator:
    """Makes the configurations of the workers of one request; see `Configure`.

    What the workers of the driver's computer share is pickled once: all but their identities.
    """

    def __init__(
        self,
        *,
        system: System,
        maxprocs: int | None,
        logs: LogSettings | None = None,
        is_traced: bool = False,
    ) -> None:
        self._system = system
        self._maxprocs = maxprocs
        self._logs = logs
        self._is_traced = is_traced
        self._shared: tuple[bytes, bytes] | None = None

    def __call__(self, identity: Identity, request: LaunchRequest, *, is_remote: bool) -> bytes:
        if is_remote:
            # The boot program adds the key, which it has made, and the path.
            return self._config(identity, request).dump()
        if self._shared is None:
            # Where the driver's modules and its current folder are.
            header = pack({**module_path(), "cwd": _current_folder()})
            self._shared = header, self._config(_NOBODY, request)._dump_inner()
        header, config = self._shared
        return header + pickle.dumps({"config": config, "identity": asdict(identity)}, 5)

    def _config(self, identity: Identity, request: LaunchRequest) -> WorkerConfig:
        return WorkerConfig(
            identity=identity,
            system=self._system,
            keepalive=request.keepalive,
            maxprocs=self._maxprocs,
            argv=request.argv,
            environ=request.environ,
            logs=self._logs,
            is_traced=self._is_traced,
        )


_NOBODY = Identity("", "", b"", b"", b"")


def _current_folder() -> str:
    """Return the current folder, or the root if it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return os.path.abspath(os.sep)


_PICKLE = pickle.PROTO  # the first byte of every pickle
