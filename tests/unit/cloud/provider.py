"""A made-up provider, in memory: it sells instances as clouds do, and a `Launch` buys them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import trio

from bigmachine.cloud import CloudError, Launch, LaunchResult, Refusals, Scope
from bigmachine.errors import BigmachineError, StartError, UsageError


@dataclasses.dataclass(frozen=True)
class Pool:
    """An offer of the provider."""

    market: str
    type_name: str
    zone: str

    def __str__(self) -> str:
        return f"{self.market} {self.type_name} in {self.zone}"


@dataclasses.dataclass(frozen=True)
class Vm:
    id: str
    pool: Pool
    token: str


class Refused(CloudError):
    """An error of the provider: its codes are names of scopes, and those below."""

    def __init__(self, code: str, message: str = "no") -> None:
        super().__init__("launch", code, message)

    @property
    def leaves_outcome_unknown(self) -> bool:
        return self.code == "UNKNOWN"

    @property
    def is_throttled(self) -> bool:
        return self.code == "THROTTLED"

    @property
    def is_capacity(self) -> bool:
        return self.code == "POOL"

    @property
    def is_quota(self) -> bool:
        return self.code == "QUOTA"

    @property
    def is_denied(self) -> bool:
        return self.code == "DENIED"


class Region:
    """What the provider has, and has sold."""

    def __init__(self) -> None:
        self.capacity: dict[str, int] = {}  # by pool; others have more than anybody wants
        self.quota = 1000
        self.refusal: Callable[[Pool], str] = lambda pool: ""  # the code of an error
        self.losses = 0  # answers that are still to be lost
        self.listed_after = 0.0  # seconds, by trio's clock
        self.is_listing_down = False
        self.seconds = 0.0  # that a list and a termination take
        self.requests: list[str] = []  # "2 × spot small in a, spot small in b"
        self.ended: list[str] = []
        self._sold: list[tuple[float, Vm]] = []  # when, and what
        self._ids = itertools.count()

    @property
    def live(self) -> list[Vm]:
        return [vm for _, vm in self._sold if vm.id not in self.ended]

    def sell(self, pools: Sequence[Pool], count: int, token: str) -> LaunchResult[Pool, Vm]:
        """Sell what the pools have, in their order; raise if the quota has no room for all."""
        self.requests.append(f"{count} × {', '.join(map(str, pools))}")
        if len(self.live) + count > self.quota:
            raise Refused("QUOTA")
        errors, sold = [], []
        for pool in pools:
            code = self.refusal(pool)
            while not code and len(sold) < count:
                if self.capacity.setdefault(str(pool), 1000) <= 0:
                    code = "POOL"
                else:
                    self.capacity[str(pool)] -= 1
                    sold.append(Vm(f"i-{next(self._ids)}", pool, token))
            if code and code != "NO REASON" and len(sold) < count:
                errors.append((pool, Refused(code)))
        self._sold += [(trio.current_time(), vm) for vm in sold]
        if self.losses:
            self.losses -= 1
            raise Refused("UNKNOWN")
        return LaunchResult(sold, errors, is_temporary=any(e.is_temporary for _, e in errors))

    def listed(self, tokens: Sequence[str]) -> list[Vm]:
        """List what these requests were sold, as soon as it is listed."""
        if self.is_listing_down:
            raise Refused("DOWN")
        now = trio.current_time()
        sold = [vm for at, vm in self._sold if now >= at + self.listed_after]
        return [vm for vm in sold if vm.token in tokens and vm.id not in self.ended]


class Single:
    """Launches one offer."""

    max_count = 500

    def __init__(self, region: Region, pools: Sequence[Pool]) -> None:
        self.offers = pools
        self._region = region

    async def launch(self, count: int, *, token: str) -> LaunchResult[Pool, Vm]:
        await trio.lowlevel.checkpoint()
        return self._region.sell(self.offers, count, token)


class Fleet(Single):
    """Launches any of several offers."""


class RegionLaunch(Launch[Pool, Vm, Refused]):
    """Launches all pools of a market in one fleet, or one by one."""

    system = "madeup"
    provider = "Made-up Cloud"
    quota_advice = "ask for more"

    def __init__(
        self,
        region: Region,
        pools: Sequence[Pool],
        *,
        has_fleets: bool = False,
        refusals: Refusals | None = None,
    ) -> None:
        super().__init__(place="nowhere-1", offers=pools, refusals=refusals)
        self._pools = pools
        self._region = region
        self._has_fleets = has_fleets

    def methods(self) -> Iterator[Single]:
        for market in dict.fromkeys(pool.market for pool in self._pools):
            pools = [pool for pool in self._pools if pool.market == market]
            if self._has_fleets and not self.ruled_out.has_method(Fleet):
                yield Fleet(self._region, pools)
                if not self.ruled_out.has_method(Fleet):
                    continue
            for pool in pools:
                yield Single(self._region, [pool])

    def scope_of(self, error: Refused, offer: Pool) -> Scope:
        if error.is_quota or (error.is_denied and offer.market == "spot"):
            return Scope.MARKET
        return Scope.__members__.get(error.code, Scope.ALL)

    def explain(self, error: Refused) -> BigmachineError:
        kind = UsageError if error.code == "ALL" else StartError
        return kind(f"what to do about {error.code}")

    async def find(self, tokens: Sequence[str]) -> list[Vm]:
        await trio.sleep(self._region.seconds)
        return self._region.listed(tokens)

    async def terminate(self, vms: Sequence[Vm]) -> None:
        await trio.sleep(self._region.seconds)
        self._region.ended += [vm.id for vm in vms]
