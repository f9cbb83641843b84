"""Sections WAIVER, HOOKS, IMPORT and OPTIONS broken."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import entry_points

from bigmachine.system import Keepalive
from tests.conformance.broken import add, breaks
from tests.conformance.broken._helper import Helper
from tests.conformance.cloud import ACCOUNT, CloudOptions, CloudSystem

# Each suite below, or module that takes long to import, is loaded where it is run.
add("Unexplained", "tests.conformance.broken.unexplained", "WAIVER-1")
add("HeavyImport", "heavy_backend", "IMPORT-1")


@breaks("HOOKS-1")
class PlainStart(CloudSystem):
    """`start` was written as a plain function: nothing in it had to wait."""

    def start(self, count, request):
        return []


@breaks("HOOKS-2")
class NearlyAHook(CloudSystem):
    """The hook was remembered as `tails`; nobody ever calls it."""

    def tails(self, instance):
        return iter(())


@breaks("HOOKS-3")
class RareKeepalive(CloudSystem):
    """`period` and `timeout` were mixed up."""

    def keepalive(self):
        return Keepalive(period=120.0, timeout=60.0, rpc_timeout=10.0)


@breaks("HOOKS-4")
class HeavyState(CloudSystem):
    """The price list that the driver chooses machines by travels to each machine, too."""

    def __getstate__(self):
        return {**super().__getstate__(), "prices": bytes(100_000)}


@breaks("HOOKS-5")
class EagerHelper(CloudSystem):
    """The tunnel is opened in the constructor."""

    def __init__(self, options=None):
        super().__init__(options)
        self._tunnel = Helper(tied=True)

    async def shutdown(self):
        await super().shutdown()
        if self._tunnel is not None:
            self._tunnel.end()
            self._tunnel = None


@breaks(
    "IMPORT-2",
    entry_points="[bigmachine.systems]\nclaud = tests.conformance.broken.offline:Misnamed\n",
)
class Misnamed(CloudSystem):
    """Its entry point has a typing error in its name."""


@breaks("IMPORT-3")
class NosyNeighbour(CloudSystem):
    """It imports all installed systems, to see whether one of them is a fork of itself."""

    def __init__(self, options=None):
        super().__init__(options)
        self._others = [entry.load() for entry in entry_points(group="bigmachine.systems")]


@dataclass(frozen=True, slots=True)
class _Undocumented(CloudOptions):
    image: str = "debian"


@breaks("OPTIONS-1")
class UndocumentedOption(CloudSystem):
    """An option was added in a hurry, without a word of what it is."""

    Options = _Undocumented


@breaks("OPTIONS-2")
class SetUpOnce(CloudSystem):
    """`setup` takes a second call for a mistake of the caller's."""

    _is_set_up = False

    async def setup(self):
        if self._is_set_up:
            raise RuntimeError("setup was called already")
        await super().setup()
        self._is_set_up = True


@breaks("OPTIONS-3")
class TrustingSetup(CloudSystem):
    """`setup` checks the credentials, and leaves the options to the provider."""

    async def setup(self):
        await ACCOUNT.describe()
