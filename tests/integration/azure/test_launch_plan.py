"""What `setup` finds out about all options together, without changing anything."""

from __future__ import annotations

from tests.integration.azure.plans import ALLOW, plan
from tests.support.azure.arm import LOCATION


def test_plan_is_made_by_reads_alone(run, arm):
    made = plan(run, vm_size=["Standard_D2s_v5", "Standard_D2ps_v5"], zones=["1", "3"])
    assert made.location == LOCATION
    assert made.allow == (ALLOW,)
    assert [str(offer) for offer in made.offers] == []
    assert {call.verb for call in arm.asked} == {"GET"}
