"""The ``azure`` system: machines as Azure virtual machines."""

from __future__ import annotations

from collections.abc import Sequence

from bigmachine.boot import LaunchRequest
from bigmachine.cloud import CloudSystem
from bigmachine.errors import BigmachineError
from bigmachine.system import Instance

from ._errors import AzureError
from ._options import AzureOptions


class AzureSystem(CloudSystem):
    """Machines as Azure virtual machines, on demand or spot."""

    name = "azure"
    Options = AzureOptions
    provider = "Azure"
    capabilities = frozenset()  # until the hooks are there

    options: AzureOptions

    async def start(self, count: int, request: LaunchRequest) -> Sequence[Instance]:
        """Launch VMs until there are enough, or Azure has no more."""
        raise NotImplementedError

    def explain(self, error: AzureError) -> BigmachineError:
        """Return the error for the user."""
        from ._advice import explain

        return explain(error)
