"""Section ORPHAN broken."""

from __future__ import annotations

from bigmachine_local import LocalSystem
from tests.conformance.broken import breaks
from tests.conformance.broken._helper import Helper


@breaks(
    {
        "ORPHAN-1": "after the driver was killed: process",
        "ORPHAN-2": "after the driver was killed: process",
        "ORPHAN-4": "after the driver was killed: process",
        "ORPHAN-5": "after the driver was killed: process",
    }
)
class HelperOutlivesDriver(LocalSystem):
    """A helper process outlives a killed driver, since only `shutdown` ends it."""

    orphan_timeout = 2.0
    _shipper = None

    async def setup(self):
        await super().setup()
        if self._shipper is None:
            self._shipper = Helper(tied=False)

    async def shutdown(self):
        await super().shutdown()
        if self._shipper is not None:
            self._shipper.end()
            self._shipper = None


@breaks({"ORPHAN-3": "the machine ends itself"})
class IgnoresErrorExit(LocalSystem):
    """`exit` does nothing if the status is an error."""

    def exit(self, code):
        if code == 0:
            super().exit(code)
