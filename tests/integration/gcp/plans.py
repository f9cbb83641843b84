"""Plans of launches, made with the tests' Compute Engine: what `setup` finds out."""

from __future__ import annotations

from typing import Any

from bigmachine_gcp.plan._launch_plan import LaunchPlan, make_launch_plan
from tests.support.gcp.fixtures import Kit
from tests.support.plans import Plans

ALLOW = "192.0.2.7/32"


async def _make(kit: Kit, api: Any, **options: Any) -> LaunchPlan:
    other = Kit(kit.cloud, **options)
    return await make_launch_plan(api, other.options, address_service_url="")


_plans = Plans(_make)
planning, plan, refusal = _plans.planning, _plans.plan, _plans.refusal
