"""The ``azure`` system as the conformance kit gets it in a box."""

from __future__ import annotations

from bigmachine.system import Keepalive
from bigmachine_azure import AzureSystem


class BoxedAzure(AzureSystem):
    """The system as it is, but that it is free of charge, and that nobody is patient for long."""

    is_billed = False
    uses_reaper = True
    orphan_timeout = 90.0

    def keepalive(self) -> Keepalive:
        return Keepalive(period=2.0, timeout=10.0, rpc_timeout=3.0)
