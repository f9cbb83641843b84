"""The ``gcp`` system: machines as instances of Google Compute Engine."""

from __future__ import annotations

from collections.abc import Sequence

from bigmachine.boot import LaunchRequest
from bigmachine.errors import StartError
from bigmachine.system import Instance, System

from ._options import GcpOptions, check_offline


class GcpSystem(System):
    """Machines as instances of Google Compute Engine, on demand or spot."""

    name = "gcp"
    Options = GcpOptions
    ships_environment = True
    is_billed = True

    options: GcpOptions

    async def setup(self) -> None:
        """Check the options."""
        check_offline(self.options)

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch instances: not yet."""
        raise StartError("system 'gcp' can't launch instances yet")
