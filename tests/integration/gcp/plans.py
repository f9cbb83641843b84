"""Plans of launches, made with the tests' Compute Engine: what `setup` finds out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from bigmachine.errors import BigmachineError
from bigmachine_gcp._launch_plan import LaunchPlan, make_launch_plan
from tests.support.gcp.fixtures import Kit

ALLOW = "192.0.2.7/32"


class Planner:
    """Makes plans for several options with one connection: to sign in takes longer than a plan."""

    def __init__(self, kit: Kit, api: Any) -> None:
        self._kit = kit
        self._api = api

    async def plan(self, **options: Any) -> LaunchPlan:
        """Return the plan that these options lead to."""
        kit = Kit(self._kit.gce, **options)
        return await make_launch_plan(self._api, kit.options, address_service_url="")

    async def refusal(self, error: type[BigmachineError], **options: Any) -> str:
        """Return what is said of options for which there is no plan."""
        with pytest.raises(error) as caught:
            await self.plan(**options)
        return str(caught.value)


def planning(run: Callable[..., Any], test: Callable[[Planner], Awaitable[None]]) -> None:
    """Run a test with a `Planner`."""

    async def with_planner(kit: Kit) -> None:
        api = kit.api
        try:
            await test(Planner(kit, api))
        finally:
            await api.close()

    run(with_planner)


def plan(run: Callable[..., Any], **options: Any) -> LaunchPlan:
    """Return the plan that these options lead to."""
    plans: list[LaunchPlan] = []

    async def test(planner: Planner) -> None:
        plans.append(await planner.plan(**options))

    planning(run, test)
    return plans[0]


def refusal(run: Callable[..., Any], error: type[BigmachineError], **options: Any) -> str:
    """Return what is said of options for which there is no plan."""
    said: list[str] = []

    async def test(planner: Planner) -> None:
        said.append(await planner.refusal(error, **options))

    planning(run, test)
    return said[0]
