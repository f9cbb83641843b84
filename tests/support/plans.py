"""Plans of launches, made with a cloud of the tests: what a system's `setup` finds out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import pytest

from bigmachine.errors import BigmachineError

PlanT = TypeVar("PlanT")
Make = Callable[..., Awaitable[PlanT]]
"""Makes the plan of a kit's cloud: called with the kit, a connection, and options."""


class Planner(Generic[PlanT]):
    """Makes plans for several options with one connection: to sign in takes longer than a plan."""

    def __init__(self, make: Make[PlanT], kit: Any, api: Any) -> None:
        self._make = make
        self._kit = kit
        self._api = api

    async def plan(self, **options: Any) -> PlanT:
        """Return the plan that these options lead to."""
        return await self._make(self._kit, self._api, **options)

    async def refusal(self, error: type[BigmachineError], **options: Any) -> str:
        """Return what is said of options for which there is no plan."""
        with pytest.raises(error) as caught:
            await self.plan(**options)
        return str(caught.value)


class Plans(Generic[PlanT]):
    """What a cloud's tests call, with their fixture ``run``."""

    def __init__(self, make: Make[PlanT]) -> None:
        self._make = make

    def planning(
        self, run: Callable[..., Any], test: Callable[[Planner[PlanT]], Awaitable[None]]
    ) -> None:
        """Run a test with a `Planner`."""

        async def with_planner(kit: Any) -> None:
            api = kit.api
            try:
                await test(Planner(self._make, kit, api))
            finally:
                await api.close()

        run(with_planner)

    def plan(self, run: Callable[..., Any], **options: Any) -> PlanT:
        """Return the plan that these options lead to."""
        plans: list[PlanT] = []

        async def test(planner: Planner[PlanT]) -> None:
            plans.append(await planner.plan(**options))

        self.planning(run, test)
        return plans[0]

    def refusal(self, run: Callable[..., Any], error: type[BigmachineError], **options: Any) -> str:
        """Return what is said of options for which there is no plan."""
        said: list[str] = []

        async def test(planner: Planner[PlanT]) -> None:
            said.append(await planner.refusal(error, **options))

        self.planning(run, test)
        return said[0]
