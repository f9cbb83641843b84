"""How Azure writes names: of subscriptions, places, VM sizes, images, resources, tags.

The rules are those of "Naming rules and restrictions for Azure resources", "Use tags to organize
your Azure resources", and the patterns in the specifications of its REST API.
"""

from __future__ import annotations

import re

from bigmachine.system import one_name_problem

TAG_PREFIX = "bigmachine-"

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_LOCATION = re.compile(
    r"[a-z]{3,}[0-9]?[a-z0-9]*"
)  # westeurope, eastus2, usgovvirginia, eastus2euap
_RESOURCE_GROUP = re.compile(r"[\w.()-]{0,89}[\w()-]")
_NAME = re.compile(r"[A-Za-z0-9]([\w.-]{0,78}\w)?")
_VM_SIZE = re.compile(r"(Standard|Basic)_[A-Z]+\d+[\w-]*", re.I)
_BARE_SIZE = re.compile(r"[A-Z]{1,4}\d+[a-z]*(-\d+[a-z]*)?(_[\w]+)?_v\d+", re.I)
_URN = re.compile(r"[\w.-]+:[\w.-]+:[\w.-]+:[\w.-]+")
_IMAGE_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.Compute/"
    r"(images/[^/]+|galleries/[^/]+/images/[^/]+(/versions/[^/]+)?)"
    r"|/(CommunityGalleries|SharedGalleries)/[^/]+/Images/[^/]+(/Versions/[^/]+)?",
    re.I,
)
# Of the enumerations StorageAccountTypes and DiskStorageAccountTypes in the SDK.
DISK_TYPES = (
    "Standard_LRS",
    "StandardSSD_LRS",
    "StandardSSD_ZRS",
    "Premium_LRS",
    "Premium_ZRS",
    "PremiumV2_LRS",
    "UltraSSD_LRS",
)
_NOT_IN_KEYS = re.compile(r"[<>%&\\?/\x00-\x1f\x7f]")
_RESERVED_PREFIXES = ("azure", "microsoft", "windows")
_MAX_TAGS = 38  # Azure allows 50 on a resource, and up to 12 are bigmachine's
_MAX_KEY, MAX_TAG_VALUE = 512, 256


def location_name(location: str) -> str:
    """Return a location as requests name it: ``westeurope`` for ``West Europe``."""
    return re.sub(r"\s", "", location).lower()


def last_part(id: str) -> str:
    """Return the name at the end of a resource's ID."""
    return id.rstrip("/").rpartition("/")[2]


def is_subscription_id(subscription: str) -> bool:
    """Whether this is a subscription's ID, not its name."""
    return bool(_UUID.fullmatch(subscription))


def subscription_problem(subscription: str) -> str | None:
    """Return what is wrong with a subscription's ID or name, or None."""
    if subscription.startswith("/subscriptions/"):
        return f"must be the ID alone: {subscription.split('/')[2]!r}, not {subscription!r}"
    if subscription != subscription.strip() or len(subscription) > 128:
        return f"must be a subscription's ID or name, not {subscription!r}"
    return None


def location_problem(location: str) -> str | None:
    """Return what is wrong with a location's name, or None."""
    name = location_name(location)
    if not name or _LOCATION.fullmatch(name):
        return None
    form = f"must be one region, like 'westeurope', not {location!r}"
    if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d[a-z]?", name):
        return f"{form}, which is a place of AWS"
    if re.fullmatch(r"[a-z]+-[a-z]+\d+(-[a-z])?", name):
        return f"{form}, which is a place of Google"
    if re.fullmatch(r"[a-z0-9]+-[123]", name):
        return f"{form}: for one zone alone, pass location={name[:-2]!r}, zones={name[-1]!r}"
    tidy = re.sub(r"[^a-z0-9]", "", name)
    return f"{form}; did you mean {tidy!r}?" if _LOCATION.fullmatch(tidy) else form


def resource_group_problem(name: str) -> str | None:
    """Return what is wrong with a resource group's name, or None."""
    if not name or _RESOURCE_GROUP.fullmatch(name):
        return None
    if "/" in name:
        return f"must be the group's name alone: {last_part(name)!r}, not {name!r}"
    return (
        f"must have at most 90 letters, digits, underscores, hyphens, periods and parentheses, "
        f"and not end with a period, not {name!r}"
    )


def zones_problem(zones: tuple[str, ...]) -> str | None:
    """Return what is wrong with availability zones, or None."""
    for zone in zones:
        if not re.fullmatch(r"[1-9]", zone):
            hint = re.fullmatch(r"[a-z0-9]+-([1-9])", zone)
            end = f"; did you mean {hint[1]!r}?" if hint else ""
            return one_name_problem("zones", zone) or (
                f"must be a zone's number, like '1', not {zone!r}{end}"
            )
    return None


def vm_size_problem(sizes: tuple[str, ...]) -> str | None:
    """Return what is wrong with names of VM sizes, or None."""
    if not all(sizes):
        return "must name a size"
    for name in sizes:
        if re.fullmatch(r"[a-z0-9-]+\.[a-z0-9]+", name):
            return f"must be a size of Azure, like 'Standard_D2s_v5', not of AWS: {name!r}"
        if re.fullmatch(r"[a-z]\d[a-z]*-[a-z]+-\w+", name):
            return f"must be a size of Azure, like 'Standard_D2s_v5', not of Google: {name!r}"
        if not _VM_SIZE.fullmatch(name):
            hint = _size_hint(name)
            return (not hint and one_name_problem("vm_size", name)) or (
                f"must be VM sizes, like 'Standard_D2s_v5', not {name!r}{hint}"
            )
    return None


def _size_hint(name: str) -> str:
    """Return ``"; did you mean …?"`` for a size without its prefix, or with spaces, or ""."""
    tidy = re.sub(r"[\s-]+", "_", name.strip())
    tidy = tidy if _VM_SIZE.fullmatch(tidy) else f"Standard_{tidy}"
    is_size = _BARE_SIZE.fullmatch(tidy.partition("_")[2])
    return f"; did you mean {tidy!r}?" if is_size else ""


def image_problem(image: str) -> str | None:
    """Return what is wrong with an image's URN or ID, or None."""
    if not image or _URN.fullmatch(image) or _IMAGE_ID.fullmatch(image):
        return None
    form = "must be PUBLISHER:OFFER:SKU:VERSION, or an image's ID, like /subscriptions/…, not"
    if re.fullmatch(r"[\w.-]+:[\w.-]+:[\w.-]+", image):
        return f"{form} {image!r}; did you mean '{image}:latest'?"
    if re.fullmatch(r"(Ubuntu|Debian)[\w.-]*", image, re.I):  # as an alias of the az command
        return (
            f"{form} {image!r}: list the URNs of images with `az vm image list --all --publisher "
            f"{'Canonical' if image.lower().startswith('u') else 'Debian'} --output table`"
        )
    return f"{form} {image!r}"


def disk_type_problem(disk_type: str) -> str | None:
    """Return what is wrong with a disk type, or None."""
    if not disk_type or disk_type in DISK_TYPES:
        return None
    tidy = re.sub(r"[\W_]", "", disk_type).lower()
    meant = [each for each in DISK_TYPES if each.replace("_", "").lower() in (tidy, tidy + "lrs")]
    hint = f"; did you mean {meant[0]!r}?" if meant else ""
    return f"must be one of {', '.join(DISK_TYPES)}, not {disk_type!r}{hint}"


def resource_problem(given: str, type: str) -> str | None:
    """Return what is wrong with a resource's name or ID, or None.

    ``type`` is its resource type, like ``Microsoft.Network/virtualNetworks/subnets``. A resource
    in another one has no ID here: it is named, and so is that one.
    """
    provider, *kinds = type.split("/")
    if not given or _NAME.fullmatch(given):
        return None
    if "/" not in given:
        return (
            f"must have at most 80 letters, digits, underscores, hyphens and periods, begin with a "
            f"letter or digit, and end with one or an underscore, not {given!r}"
        )
    path = "".join(f"/{kind}/[^/]+" for kind in kinds)
    pattern = rf"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/{re.escape(provider)}{path}"
    if len(kinds) == 1 and re.fullmatch(pattern, given, re.I):
        return None
    if len(kinds) > 1:
        return f"must be a name alone, like {last_part(given)!r}, not {given!r}"
    return (
        f"must be a name, or an ID like /subscriptions/ID/resourceGroups/GROUP/providers/{type}/"
        f"NAME, not {given!r}"
    )


def tags_problem(tags: tuple[str, ...]) -> str | None:
    """Return what is wrong with tags, written ``KEY=VALUE``, or None."""
    if len(tags) > _MAX_TAGS:
        return f"must be at most {_MAX_TAGS}"
    keys = [tag.partition("=")[0].lower() for tag in tags]
    if len(set(keys)) < len(keys):
        return "must not have a key twice; capitals make no difference to Azure"
    for tag in tags:
        key, equals, value = tag.partition("=")
        if not equals or not key.strip():
            return f"must be KEY=VALUE, not {tag!r}"
        if key.lower().startswith(TAG_PREFIX):
            return f"must not set {key!r}, which is reserved"
        if key.lower().startswith(_RESERVED_PREFIXES):
            return f"must not set {key!r}: Azure reserves the prefixes azure, microsoft and windows"
        if len(key) > _MAX_KEY or _NOT_IN_KEYS.search(key):
            return f"keys have at most {_MAX_KEY} characters, none of <>%&\\?/, not {key!r}"
        if len(value) > MAX_TAG_VALUE:
            return (
                f"values have at most {MAX_TAG_VALUE} characters, not {len(value)}: that of {key!r}"
            )
    return None
