"""Sections WAIVER, HOOKS, IMPORT and OPTIONS broken."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib.metadata import entry_points

from bigmachine.system import Keepalive
from tests.conformance.broken import add, breaks
from tests.conformance.broken._helper import Helper
from tests.conformance.cloud import ACCOUNT, CloudOptions, CloudSystem

# A suite, and a module that is slow to import, are loaded only where they run.
add("OverridesWithoutReason", "tests.conformance.broken.overridden", {"WAIVER-1": "overridden:"})
add("HeavyImport", "heavy_backend", {"IMPORT-1": "import SDKs in setup"})


@breaks({"HOOKS-1": "must be `async def`, not a plain `def`"})
class SynchronousStart(CloudSystem):
    """`start` is a plain function instead of a coroutine function."""

    def start(self, count, request):
        return []


@breaks({"HOOKS-2": "did you mean 'tail'"})
class MisspeltHook(CloudSystem):
    """The hook `tail` is misspelt as `tails`, so that it is never called."""

    def tails(self, instance):
        return iter(())


@breaks({"HOOKS-3": "the period is wrong"})
class PeriodExceedsTimeout(CloudSystem):
    """The keepalive period is longer than the keepalive timeout."""

    def keepalive(self):
        return Keepalive(period=120.0, timeout=60.0, rpc_timeout=10.0)


@breaks({"HOOKS-4": "the pickled system takes"})
class LargeState(CloudSystem):
    """The driver's price list is sent to each machine with the system."""

    def __getstate__(self):
        return {**super().__getstate__(), "prices": bytes(100_000)}


@breaks({"HOOKS-5": "creating the object starts process"})
class ConstructorStartsProcess(CloudSystem):
    """The constructor starts a helper process."""

    def __init__(self, options=None):
        super().__init__(options)
        self._tunnel = Helper(tied=True)

    async def shutdown(self):
        await super().shutdown()
        if self._tunnel is not None:
            self._tunnel.end()
            self._tunnel = None


@breaks(
    {"IMPORT-2": "calls it 'claud'"},
    entry_points="[bigmachine.systems]\nclaud = tests.conformance.broken.offline:MisspeltEntry\n",
)
class MisspeltEntry(CloudSystem):
    """The name of its entry point is misspelt."""


@breaks({"IMPORT-3": "ImportError: broken"})
class ImportsAllSystems(CloudSystem):
    """The constructor imports all installed systems."""

    def __init__(self, options=None):
        super().__init__(options)
        self._others = [entry.load() for entry in entry_points(group="bigmachine.systems")]


@dataclass(frozen=True, slots=True)
class _Undocumented(CloudOptions):
    image: str = "debian"


@breaks({"OPTIONS-1": "options without a help text: image"})
class UndocumentedOption(CloudSystem):
    """An option has no help text."""

    Options = _Undocumented


@dataclass(frozen=True, slots=True)
class _Tagged(CloudOptions):
    tags: dict[str, str] = field(default_factory=dict, metadata={"help": "Tags of machines."})


@breaks({"OPTIONS-1": "options that cannot be set by an environment variable: tags"})
class OptionIsTable(CloudSystem):
    """The value of an option is a table, which no environment variable can hold."""

    Options = _Tagged


@breaks({"OPTIONS-2": "a hook has blocked trio's loop"})
class HangingSetup(CloudSystem):
    """`setup` blocks the event loop for an hour."""

    async def setup(self):
        time.sleep(3600)


@breaks({"OPTIONS-2": "setup was called already"})
class SecondSetupFails(CloudSystem):
    """A second call of `setup` raises an error."""

    _is_set_up = False

    async def setup(self):
        if self._is_set_up:
            raise RuntimeError("setup was called already")
        await super().setup()
        self._is_set_up = True


@breaks({"OPTIONS-3": "setup accepts"})
class SetupIgnoresOptions(CloudSystem):
    """`setup` does not validate the options."""

    async def setup(self):
        await ACCOUNT.describe()
