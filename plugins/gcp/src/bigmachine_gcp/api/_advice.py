"""The user's error for an error of Google: which option, what Google answered, what to do next."""

from __future__ import annotations

import re

from bigmachine.cloud import network_advice
from bigmachine.errors import BigmachineError, StartError, UsageError

from ..options._kms_key import key_advice
from ._credential_advice import LOGIN, credentials_advice
from ._errors import GcpError
from ._policy_advice import policy_error

_USER = "the Google account in use"
_CONSOLE = "https://console.cloud.google.com"

# What is rejected, by the field that Google names: "Invalid value for field
# 'resource.networkInterfaces[0].subnetwork': '…'. …". The first that matches counts.
_FIELD = re.compile(r"(?:for field|for parameter|field) '([\w.\[\]-]+)'")
_FIELDS = (
    ("machineType", "machine_type"),
    ("ccelerator", "accelerator"),
    ("sourceImage", "image"),
    ("diskType", "disk_type"),
    ("diskSizeGb", "disk"),
    ("subnetwork", "subnetwork"),
    ("networkInterfaces", "network"),
    ("network", "network"),
    ("tags", "network_tags"),
    ("labels", "labels"),
    ("serviceAccount", "service_account"),
    ("metadata", "files"),
    ("maxRunDuration", "lifetime"),
    ("zone", "zones"),
    ("region", "region"),
    ("project", "project"),
)
# Its field is resource.networkInterfaces[0] (GoogleCloudDataproc/bdutil issue 108).
_CUSTOM_MODE = re.compile("Subnetwork (should be|was not) specified")
# By the resource that is not found: "The resource 'projects/…/global/networks/…' was not found",
# and by what Google says of some options, with reasons as badRequest and UNSUPPORTED_OPERATION.
_TEXTS = (
    (r"/machineTypes/|[Mm]achine type with name '\S+' does not exist", "machine_type"),
    (r"/acceleratorTypes/|does not support accelerator|[Gg]uest accelerator", "accelerator"),
    (r"/images/|disk architecture|image family", "image"),
    (r"/diskTypes/|disk type cannot be used|features are not compatible", "disk_type"),
    (r"[Ll]ocal SSD", "local_disks"),
    (r"[Dd]isk size cannot be smaller", "disk"),
    (r"/subnetworks/", "subnetwork"),
    (r"/serviceAccounts/", "service_account"),
    (r"/networks/", "network"),
    (r"[Ll]abel (key|value)", "labels"),
    (r"Unknown zone|/zones/[^/' ]+' was not found", "zones"),
    (r"Unknown region|/regions/[^/' ]+' was not found", "region"),
)
_ADVICE = {
    "accelerator": "Google rejects it; list all with `gcloud compute accelerator-types list`",
    "disk": "Google rejects it: set it to the size that the image needs, or more",
    "disk_type": "the machine type can't have such a disk: omit the option, or pass another type",
    "files": "Google rejects the instances' metadata, which has them: pass fewer, smaller ones",
    "image": "Google rejects it: pass another one, or omit it; list all families with `gcloud "
    "compute images list`",
    "labels": "Google rejects them: use lowercase letters, digits, hyphens and underscores",
    "lifetime": "Google rejects it: pass another one, or omit it",
    "local_disks": "the machine type can't have local SSDs like that: pass another type",
    "machine_type": "Google rejects it: pass another one, or omit it; list all with `gcloud "
    "compute machine-types list`",
    "network": "Google rejects it; list all with `gcloud compute networks list`",
    "network_tags": "Google rejects them: use lowercase letters, digits and hyphens",
    "project": "Google rejects it; list all with `gcloud projects list`",
    "region": "Google has no such region; list all with `gcloud compute regions list`",
    "service_account": "Google rejects it; list all with `gcloud iam service-accounts list`",
    "subnetwork": "Google rejects it, or a network in custom mode needs one of the region; list "
    "all with `gcloud compute networks subnets list`",
    "zones": "Google has no such zone; list all with `gcloud compute zones list`",
}

# "Quota 'CPUS' exceeded.  Limit: 8.0 in region us-east1." (mesosphere-backup/terraform-dcos issue
# 61), "Quota 'GPUS_ALL_REGIONS' exceeded. Limit: 0.0 globally." (fastai/course-v3 issue 165)
_QUOTA = re.compile(r"Quota '([\w-]+)' exceeded\.?\s+Limit: ([\d.]+)(?: in region ([\w-]+))?")


def explain(error: GcpError) -> BigmachineError:
    """Return the error for the user."""
    answer = (
        f"{'Google answered' if error.is_response else 'its library says'} {error.code}: "
        f"{error.message}"
    )
    where = f"({error.action}: {answer})"
    policy = policy_error(error, where)
    if policy is not None:
        return policy
    project = _project_advice(error)
    if project:
        return StartError(f"{project} {where}")
    if error.is_project_unknown:
        return UsageError(
            f"project: Google has no project {error.project!r}, or the credentials may not use "
            f"it: list yours, with their IDs, with `gcloud projects list`, or use other "
            f"credentials {where}"
        )
    if key := key_advice(error.message):
        return UsageError(f"{key} {where}")
    if "SERVICE_ACCOUNT_ACCESS_DENIED" in error.reasons or "service account" in error.message:
        return UsageError(f"{_service_account_advice(error)} {where}")
    if error.is_denied:
        return StartError(f"{_permission_advice(error)} ({answer})")
    if error.is_unauthenticated:
        return StartError(f"{credentials_advice(error)} {where}")
    if error.is_unreachable or (error.is_outcome_unknown and not error.is_response):
        return StartError(f"{network_advice(error, 'Google')} {where}")
    if error.is_quota:
        return StartError(f"{quota_advice(error)} {where}")
    if error.is_throttled:
        return StartError(
            f"Google throttles the requests of the project {error.project!r}: try again in a "
            f"minute or more, or request an increase of its rate quotas at "
            f"{_quotas_url(error.project)} {where}"
        )
    if error.is_capacity:
        return StartError(
            f"Google has no such instances just now: try again later, or name more machine types "
            f"or zones {where}"
        )
    if error.status >= 500 and error.is_temporary:
        return StartError(
            f"Google has a fault: try again later; https://status.cloud.google.com tells what is "
            f"known of it {where}"
        )
    option = _option(error)
    if option:
        return UsageError(f"{option}: {_ADVICE[option]} {where}")
    return StartError(f"{error.action} failed: {answer}")


def quota_advice(error: GcpError) -> str:
    """Return what to do about a quota that is used up."""
    named = _QUOTA.search(error.message)
    name, limit, place = "", "", ""
    if error.quota is not None:
        name = error.quota.name or error.quota.metric
        limit = "" if error.quota.limit is None else f"{error.quota.limit:g}"
        place = ", ".join(f"{key} {value}" for key, value in sorted(error.quota.dimensions.items()))
    elif named:
        name, limit, place = named[1], f"{float(named[2]):g}", named[3] or "all regions"
    what = f"the quota {name}" if name else "a quota"
    limits = f", {limit}{f' for {place}' if place else ''}," if limit else ""
    other = (
        "pass public_address=False" if "IN_USE_ADDRESSES" in name else "use other types or regions"
    )
    return (
        f"{what} of the project {error.project!r}{limits} is used up: request an increase at "
        f"{_quotas_url(error.project)}, delete what is not needed any more, or {other}. A free "
        f"trial gets no increase until its billing account is upgraded"
    )


def act_as_advice(who: str, account: str = "it") -> str:
    """Return what to do if instances may not act as a service account."""
    return (
        f"service_account: {who or _USER} may not have instances act as {account}: have the role "
        f"'Service Account User' (roles/iam.serviceAccountUser) on it granted, or omit the option"
    )


def missing_permission(error: GcpError) -> str | None:
    """Return the permission that a role must grant; None if that would not help."""
    return (error.denied_permission or None) if error.is_denied else None


def _project_advice(error: GcpError) -> str:
    """Return what to do about a project that can't be used, or its quota project; "" if it can."""
    project = error.project
    if error.is_disabled:
        service = error.metadata.get("service", "compute.googleapis.com")
        title = error.metadata.get("serviceTitle", service)
        consumer = error.metadata.get("consumer", "").removeprefix("projects/") or project
        return (
            f"the project {consumer!r} does not use the {title} yet: enable it with `gcloud "
            f"services enable {service} --project {consumer}`, or on the page that Google names, "
            f"and wait some minutes"
        )
    if error.is_billing_disabled:
        return (
            f"no billing account pays for the project {project!r}: link one at "
            f"{_CONSOLE}/billing/linkedaccount?project={project}, or use another project"
        )
    if error.is_suspended:
        return (
            f"Google has suspended the project {project!r}: see its dashboard, "
            f"{_CONSOLE}/home/dashboard?project={project}, and appeal there"
        )
    if "USER_PROJECT_DENIED" in error.reasons or "serviceusage.services.use" in error.message:
        named = error.metadata.get("consumer", "").removeprefix("projects/") or "the quota project"
        return (
            f"the credentials' quota project can't be used: have the role "
            f"roles/serviceusage.serviceUsageConsumer granted on {named}, or set another with "
            f"`gcloud auth application-default set-quota-project {project}`, or unset "
            f"GOOGLE_CLOUD_QUOTA_PROJECT"
        )
    if "requires a quota project" in error.message:
        return (
            f"this API needs a quota project: run `gcloud auth application-default "
            f"set-quota-project {project}`"
        )
    if error.is_scope_missing:
        return (
            f"the access scopes of {_who(error)} don't include Compute Engine: give this instance "
            f"the scope cloud-platform (stop it, then `gcloud compute instances "
            f"set-service-account --scopes=cloud-platform`), or run `{LOGIN}`"
        )
    return ""


def _service_account_advice(error: GcpError) -> str:
    if "SERVICE_ACCOUNT_ACCESS_DENIED" in error.reasons or "does not have access" in error.message:
        return act_as_advice(error.account)
    if "scopes are invalid" in error.message:  # GoogleCloudPlatform/cloud-build-local pull 49
        return "scopes: Google rejects them: pass others, or omit them"
    return f"service_account: {_ADVICE['service_account']}"


def _permission_advice(error: GcpError) -> str:
    permission, who = error.denied_permission, _who(error)
    if not permission:
        return (
            f"{who} may not call {error.action} in the project {error.project!r}: have a role "
            f"granted that may, such as 'Compute Admin' (roles/compute.admin), or use other "
            f"credentials"
        )
    is_project = permission == "compute.projects.get"
    hint = ". If that is not your project's ID, correct the option project" if is_project else ""
    return (
        f"{who} lacks the permission {permission} in the project {error.project!r}: have a role "
        f"granted that includes it, such as 'Compute Admin' (roles/compute.admin), or use other "
        f"credentials{hint}"
    )


def _option(error: GcpError) -> str | None:
    """Return the option whose value Google rejects, if it is one's."""
    if error.status not in (0, 400, 404, 412):
        return None
    if _CUSTOM_MODE.search(error.message):
        return "subnetwork"
    named = _FIELD.search(error.message)
    field = named[1] if named else error.metadata.get("field", "")
    for part, option in _FIELDS:
        if part in field:
            return option
    for pattern, option in _TEXTS:
        if re.search(pattern, error.message):
            return option
    return None


def _who(error: GcpError) -> str:
    return error.account or _USER


def _quotas_url(project: str) -> str:
    return f"{_CONSOLE}/iam-admin/quotas?project={project}"
