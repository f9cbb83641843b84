"""Before a launch: all that its requests say, and the security group that must exist by then."""

from __future__ import annotations

from collections.abc import Sequence

from bigmachine.boot import LaunchRequest
from bigmachine.cloud import Refusals

from ..guest._user_data import make_user_data
from ..options._options import Ec2Options
from ..options._tags import session_tags
from ..plan._offers import Offer
from ..resources._access import Access
from ..resources._region import Region
from ._launch import Launch
from ._launch_specification import LaunchSpecification


async def prepare_launch(
    region: Region,
    access: Access,
    o: Ec2Options,
    request: LaunchRequest,
    *,
    offers: Sequence[Offer],
    caller_arn: str,
    refusals: Refusals,
) -> Launch:
    """Return a launch of these offers, and let the driver in to its instances.

    ``caller_arn`` is the ARN of the credentials, for errors. Raises `AwsError`, and `UsageError`
    if the user data is too large.
    """
    data = make_user_data(request, o)
    tags = session_tags(request.session, request.driver, o)
    groups = await access.open(session=request.session, tags=tags)
    return Launch(
        region.api,
        region.vms,
        LaunchSpecification(o, tags=tags, groups=groups, user_data=data),
        offers=offers,
        session=request.session,
        caller_arn=caller_arn,
        refusals=refusals,
    )
