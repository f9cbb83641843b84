"""The AWS configuration of this computer, as boto3 finds it: credentials and the region."""

from __future__ import annotations

import logging
import os
from typing import Any

from bigmachine.cloud import nearest_name, quiet
from bigmachine.errors import StartError, UsageError

logger = logging.getLogger("bigmachine.ec2")

_PRICING_REGION = "us-east-1"


def open_session(region: str, profile: str = "") -> Any:
    """Return a boto3 session in that region, by default the configured one.

    With a ``profile``, its credentials are used, whatever variables like AWS_ACCESS_KEY_ID say.
    Raises `StartError` and `UsageError`, for users.
    """
    try:
        import boto3
        import botocore.session
        from botocore.exceptions import BotoCoreError, ProfileNotFound
    except ImportError as exc:  # not after a regular installation
        raise StartError("system 'ec2' needs boto3: pip install boto3") from exc
    try:
        # AWS_REGION comes first, as for the `aws` command (version 2); boto3 does not read it.
        region = region or os.environ.get("AWS_REGION", "")
        session = boto3.Session(profile_name=profile or None, region_name=region or None)
        with quiet("botocore.credentials"):
            credentials = session.get_credentials()
    except ProfileNotFound as exc:
        name, names = exc.kwargs["profile"], botocore.session.Session().available_profiles
        hint = nearest_name(name, names)
        known = f"It has {', '.join(names)}: set it to one of these" if names else "It has none"
        raise UsageError(
            f"{'aws_profile' if profile else 'AWS_PROFILE'}: the AWS configuration has no profile "
            f"{name!r}{f'; {hint}' if hint else '.'} {known}, or "
            f"{'omit' if profile else 'unset'} it"
        ) from exc
    except BotoCoreError as exc:
        raise StartError(
            f"the AWS configuration can't be used; boto3 says: {exc}. Correct it, for example "
            f"with `aws configure`; show it with `aws configure list`"
        ) from exc
    if not session.region_name:
        raise UsageError(
            f"region: set neither by the option nor by the AWS configuration (profile "
            f"{session.profile_name!r}); pass one, like region='eu-central-1', or set "
            f"AWS_REGION"
        )
    if credentials is None and profile:
        raise StartError(
            f"aws_profile: the profile {profile!r} has no credentials: give it some with "
            f"`aws configure --profile {profile}` or `aws configure sso --profile {profile}`"
        )
    if credentials is None:
        raise StartError(
            "there are no AWS credentials: run `aws configure` or `aws sso login`, or set "
            "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if credentials.method == "assume-role":
        _check_no_code(session.profile_name)
    logger.debug("AWS credentials come from: %s", credentials.method)
    return session


def price_list_region(session: Any) -> str:
    """Return the region whose Price List API has the prices of the session's partition.

    "" if its partition has no such API, like GovCloud. Each such API has all regions' prices.
    """
    from botocore.exceptions import UnknownRegionError

    try:
        partition = session.get_partition_for_region(session.region_name)
    except UnknownRegionError:
        return _PRICING_REGION
    regions = session.get_available_regions("pricing", partition_name=partition)
    return _PRICING_REGION if _PRICING_REGION in regions else next(iter(regions), "")


def _check_no_code(profile: str) -> None:
    """Raise `StartError` if this profile's role needs a multi-factor code.

    boto3 asks for it on the terminal, from one of our threads, at the first request. It renews the
    credentials never: "Cannot refresh credentials: MFA token required" (botocore's
    RefreshWithMFAUnsupportedError). Another process, like the reaper, has to ask again.
    """
    import botocore.session

    profiles = botocore.session.Session().full_config["profiles"]
    name, visited = profile, set[str]()
    while name and name not in visited:
        visited.add(name)
        settings = profiles.get(name, {})
        if "role_arn" not in settings or (name != profile and "aws_access_key_id" in settings):
            return
        if "mfa_serial" in settings:
            raise StartError(
                f"the AWS profile {name!r} needs a multi-factor code (mfa_serial), which boto3 "
                f"would ask for in the middle of a session, and which the reaper, a process of its "
                f"own, can't be told: get credentials first, with `eval \"$(aws configure "
                f'export-credentials --profile {profile} --format env)"`, and name no profile; or '
                f"use `aws sso login`"
            )
        name = settings.get("source_profile", "")


def check_region(session: Any) -> None:
    """Raise `UsageError` if boto3 has no region of that name. It may lack a new region."""
    name = session.region_name
    known = [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition_name=partition)
    ]
    if name not in known:
        raise UsageError(
            f"region: AWS can't be reached in {name!r}, and boto3 knows no such region; "
            f"{nearest_name(name, known, example='eu-central-1')} List all with `aws account "
            f"list-regions`"
        )
