"""Before a launch: all that its requests say, and what VMs need, which must exist by then."""

from __future__ import annotations

from collections.abc import Sequence

from bigmachine.boot import LaunchRequest
from bigmachine.cloud import Refusals

from ..guest._login import login_keys
from ..guest._user_data import make_custom_data
from ..options._options import AzureOptions
from ..options._tags import session_tags
from ..plan._launch_plan import LaunchPlan
from ..plan._offers import Offer
from ..resources._access import Access
from ..resources._account import Account
from ..resources._own_network import open_network
from ..resources._resource_group import open_resource_group
from ._launch import AzureLaunch
from ._launch_specification import LaunchSpecification


async def prepare_launch(
    account: Account,
    access: Access,
    plan: LaunchPlan,
    o: AzureOptions,
    request: LaunchRequest,
    *,
    offers: Sequence[Offer],
    refusals: Refusals,
) -> AzureLaunch:
    """Return a launch of these offers, and let the driver in to its VMs.

    Their resource group, network and security group are created unless they exist. Raises
    `AzureError`, and `StartError` if the custom data is too large.
    """
    data = make_custom_data(request, o, identity=plan.identity)
    tags = session_tags(request.session, request.driver, o)
    await open_resource_group(account.api, location=plan.location, tags=o.own_tags)
    subnet = await open_network(account.api, plan.network, location=plan.location, tags=o.own_tags)
    specification = LaunchSpecification(
        options=o,
        subnet=subnet,
        security_group=await access.open(session=request.session, tags=tags),
        tags=tags,
        custom_data=data,
        keys=login_keys(o),
        identity=plan.identity,
    )
    return AzureLaunch(
        account.api,
        account.vms,
        specification,
        offers=offers,
        names=iter(lambda: request.new_machine().name, ""),
        location=plan.location,
        refusals=refusals,
    )
