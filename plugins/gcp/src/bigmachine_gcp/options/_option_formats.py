"""How Google writes names: of projects, places, machine types, images, networks, tags, labels.

The patterns are those of the API's discovery document and of "Naming resources" and "Organize
resources using labels" in the Compute Engine documentation.
"""

from __future__ import annotations

import re

from bigmachine.system import one_name_problem

LABEL_PREFIX = "bigmachine-"

# "6 to 30 lowercase letters, digits, or hyphens"; old projects have a domain in front, as in
# example.com:my-project. A project's number is accepted wherever its ID is.
_PROJECT = re.compile(r"([a-z0-9.-]+\.[a-z]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[1-9]\d{5,}")
_REGION = re.compile(r"[a-z]+-[a-z]+\d+")
_ZONE = re.compile(r"([a-z]+-[a-z]+\d+)-[a-z0-9]+")  # us-central1-a, us-central1-ai1a
_AWS_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d[a-z]?")
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_MACHINE_TYPE = re.compile(r"[a-z][a-z0-9-]*")
_ACCELERATOR = re.compile(r"[a-z][a-z0-9-]*(:[1-9]\d?)?")
_URL = re.compile(r"https?://[^/]+/(compute/)?(v1|beta|alpha)/")
_IMAGE = re.compile(r"(projects/[^/]+/)?global/images/(family/)?[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_SHORT_IMAGE = re.compile(r"(?:([a-z][a-z0-9.:-]+)/)?([a-z][a-z0-9-]*)")
# By "OS details" in the Compute Engine documentation: where families, by their first words, are.
_IMAGE_PROJECTS = {
    "almalinux": "almalinux-cloud",
    "centos": "centos-cloud",
    "debian": "debian-cloud",
    "fedora": "fedora-cloud",
    "opensuse": "opensuse-cloud",
    "rhel": "rhel-cloud",
    "rocky": "rocky-linux-cloud",
    "sles": "suse-cloud",
    "ubuntu": "ubuntu-os-cloud",
}
_SERVICE_ACCOUNT = re.compile(r"[^@\s/:]+@[^@\s/:]+\.[a-z]+")

# Labels may have letters of any language that have no case or are lowercase.
_LABEL_KEY = re.compile(r"[^\W\d_][\w-]{0,62}")
_LABEL_VALUE = re.compile(r"[\w-]{0,63}")
_MAX_LABELS = 60  # Google allows 64 on a resource, and up to 4 are bigmachine's
_MAX_TAGS = 63  # Google allows 64 on an instance, and one is the session's


def resource_path(url: str) -> str:
    """Return the part of a resource's URL that begins with ``projects/``, or what was given."""
    return _URL.sub("", url)


def last_part(url: str) -> str:
    """Return the name at the end of a resource's URL or path: that of the resource itself."""
    return url.rpartition("/")[2]


def region_of(zone: str) -> str:
    """Return the region that a zone is in."""
    return zone.rpartition("-")[0]


def _tidy(name: str, pattern: re.Pattern[str]) -> str:
    """Return ``"; did you mean …?"`` for a name in capitals, with spaces or underscores, or ""."""
    tidy = name.strip().lower().replace("_", "-")
    return f"; did you mean {tidy!r}?" if pattern.fullmatch(tidy) else ""


def project_problem(project: str) -> str | None:
    """Return what is wrong with a project's ID, or None."""
    if not project or _PROJECT.fullmatch(project):
        return None
    if project.startswith("projects/"):
        return f"must be the project's ID alone: {last_part(project)!r}, not {project!r}"
    return (
        f"must be a project's ID, like 'my-project-123456', not its name: list both with `gcloud "
        f"projects list`, not {project!r}"
    )


def place_problems(region: str, zones: tuple[str, ...]) -> dict[str, str | None]:
    """Return what is wrong with the options ``region`` and ``zones``, or None for each."""
    return {"region": _region_problem(region, zones), "zones": _zones_problem(zones)}


def _region_problem(region: str, zones: tuple[str, ...]) -> str | None:
    if not region:
        return None
    if not _REGION.fullmatch(region):
        zone = _ZONE.fullmatch(region)
        if zone:
            return (
                f"must be a region, not a zone: {zone[1]!r}, not {region!r}; for one zone alone, "
                f"pass zones={region!r}"
            )
        hint = _aws(region) or _tidy(region, _REGION)
        return f"must be the name of a region, like 'europe-west3', not {region!r}{hint}"
    others = [zone for zone in zones if _ZONE.fullmatch(zone) and region_of(zone) != region]
    if others:
        return f"does not contain the zone {others[0]!r}: omit region, or pass other zones"
    return None


def _zones_problem(zones: tuple[str, ...]) -> str | None:
    for zone in zones:
        if not _ZONE.fullmatch(zone):
            if _REGION.fullmatch(zone):
                return f"must be zones, like '{zone}-a', not a region: pass region={zone!r}"
            hint = _aws(zone) or _tidy(zone, _ZONE)
            return (
                one_name_problem("zones", zone)
                or f"must be zones, like 'europe-west3-a', not {zone!r}{hint}"
            )
    regions = sorted({region_of(zone) for zone in zones})
    if len(regions) > 1:
        return f"must be of one region, not of {' and '.join(regions)}: a session is in one"
    return None


def _aws(place: str) -> str:
    return ", which is a place of AWS" if _AWS_REGION.fullmatch(place) else ""


def machine_type_problem(types: tuple[str, ...]) -> str | None:
    """Return what is wrong with names of machine types, or None."""
    if not all(types):
        return "must name a type"
    for name in types:
        if "/" in name:
            return f"must be the type's name alone: {last_part(name)!r}, not {name!r}"
        if re.fullmatch(r"[a-z0-9-]+\.[a-z0-9]+", name):
            return f"must be a type of Google, like 'n2-standard-4', not of AWS: {name!r}"
        if name.startswith(("Standard_", "Basic_")):
            return f"must be a type of Google, like 'n2-standard-4', not of Azure: {name!r}"
        if not _MACHINE_TYPE.fullmatch(name):
            hint = _tidy(name, _MACHINE_TYPE)
            return (
                one_name_problem("machine_type", name)
                or f"must be machine types, like 'n2-standard-4', not {name!r}{hint}"
            )
    return None


def accelerator_problem(accelerator: str) -> str | None:
    """Return what is wrong with a type and number of GPUs, or None."""
    if not accelerator or _ACCELERATOR.fullmatch(accelerator):
        return None
    return f"must be a type, like 'nvidia-tesla-t4', or with a number, :2, not {accelerator!r}"


def image_problem(image: str) -> str | None:
    """Return what is wrong with the path of an image or an image family, or None."""
    if not image or _IMAGE.fullmatch(resource_path(image)):
        return None
    form = "must be projects/PROJECT/global/images/NAME or …/images/family/NAME, not"
    short = _SHORT_IMAGE.fullmatch(image)
    if short is None or image.startswith("ami-"):
        return f"{form} {image!r}"
    project, name = short[1], short[2]
    if project in (None, "family"):
        project = _IMAGE_PROJECTS.get(name.partition("-")[0])
    if project:
        full = f"projects/{project}/global/images/family/{name}"
        return f"{form} {image!r}: for a family, pass {full!r}"
    own = f"global/images/{'family/' if short[1] else ''}{name}"
    return f"{form} {image!r}: for one of your project, pass {own!r}"


def name_problem(value: str, what: str, collection: str = "") -> str | None:
    """Return what is wrong with a name, or None.

    With a ``collection``, it may also be the path or URL of a resource in such a collection.
    """
    path = resource_path(value)
    if not value or _NAME.fullmatch(path):
        return None
    if collection and re.fullmatch(
        rf"(projects/[^/]+/)?(global|regions/[^/]+)/{collection}/{_NAME.pattern}", path
    ):
        return None
    return f"must be {what}, not {value!r}"


def service_account_problem(account: str) -> str | None:
    """Return what is wrong with the address of a service account, or None."""
    if account in ("", "default") or _SERVICE_ACCOUNT.fullmatch(account):
        return None
    if account.endswith(".json"):
        return (
            f"must be the e-mail address of the service account that instances act as, not a key: "
            f"for the driver's own credentials, set GOOGLE_APPLICATION_CREDENTIALS to {account!r}"
        )
    return f"must be a service account's e-mail address, or 'default', not {account!r}"


def tags_problem(tags: tuple[str, ...]) -> str | None:
    """Return what is wrong with network tags, or None."""
    if len(tags) > _MAX_TAGS:
        return f"must be at most {_MAX_TAGS}"
    for tag in tags:
        if not _NAME.fullmatch(tag):
            return one_name_problem("network_tags", tag) or (
                f"must have 1 to 63 lowercase letters, digits and hyphens, and begin with a "
                f"letter, not {tag!r}"
            )
    return None


def labels_problem(labels: tuple[str, ...]) -> str | None:
    """Return what is wrong with labels, written ``KEY=VALUE``, or None."""
    keys = [label.partition("=")[0] for label in labels]
    if len(labels) > _MAX_LABELS:
        return f"must be at most {_MAX_LABELS}"
    if len(set(keys)) < len(keys):
        return "must not have a key twice"
    for label in labels:
        key, equals, value = label.partition("=")
        if not equals or not key:
            return f"must be KEY=VALUE, not {label!r}"
        if key.startswith((LABEL_PREFIX, "goog-")):
            return f"must not set {key!r}, which is reserved"
        if key != key.lower() or not _LABEL_KEY.fullmatch(key):
            return (
                f"keys begin with a lowercase letter and have at most 63 lowercase letters, "
                f"digits, hyphens and underscores, not {key!r}"
            )
        if value != value.lower() or not _LABEL_VALUE.fullmatch(value):
            return (
                f"values have at most 63 lowercase letters, digits, hyphens and underscores, not "
                f"{value!r}"
            )
    return None
