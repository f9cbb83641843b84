"""Plans of launches, made with the tests' Compute Engine: what `setup` finds out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bigmachine.errors import BigmachineError
from bigmachine_gcp._launch_plan import LaunchPlan, make_launch_plan

ALLOW = "192.0.2.7/32"


def plan(run: Callable[..., Any], **options: Any) -> LaunchPlan:
    """Return the plan that these options lead to."""
    plans: list[LaunchPlan] = []

    async def test(kit: Any) -> None:
        api = kit.api
        try:
            plans.append(await make_launch_plan(api, kit.options, address_service_url=""))
        finally:
            await api.close()

    run(test, **options)
    return plans[0]


def refusal(run: Callable[..., Any], error: type[BigmachineError], **options: Any) -> str:
    """Return what is said of options for which there is no plan."""
    with pytest.raises(error) as caught:
        plan(run, **options)
    return str(caught.value)
