"""Before a launch: all that its requests say, and the firewall rule that must exist by then."""

from __future__ import annotations

from collections.abc import Sequence

from bigmachine.boot import LaunchRequest
from bigmachine.cloud import Refusals

from ..guest._user_data import make_metadata
from ..options import _labels
from ..options._options import GcpOptions
from ..plan._launch_plan import LaunchPlan
from ..plan._offers import Offer
from ..resources._access import Access
from ..resources._project import Project
from ._launch import GcpLaunch
from ._launch_specification import LaunchSpecification


async def prepare_launch(
    project: Project,
    access: Access,
    plan: LaunchPlan,
    o: GcpOptions,
    request: LaunchRequest,
    *,
    offers: Sequence[Offer],
    refusals: Refusals,
) -> GcpLaunch:
    """Return a launch of these offers, and let the driver in to its instances.

    Raises `GcpError`, and `UsageError` if the instances' metadata is too large.
    """
    session = request.session
    description = _labels.description(session, request.driver, o)
    forms = {offer.image.boot_form for offer in offers}
    metadata = {form: make_metadata(request, o, form) for form in forms}
    specification = LaunchSpecification(
        options=o,
        network=plan.network,
        network_tags=await access.open(session=session, description=description),
        labels=_labels.session_labels(session, o),
        description=description,
        metadata=metadata,
    )
    return GcpLaunch(
        project.api,
        project.vms,
        specification,
        offers=offers,
        names=iter(lambda: request.new_machine().name, ""),
        region=plan.region,
        terminations=project.terminations,
        refusals=refusals,
    )
