"""The options of the ``gcp`` system, and the checks that need no request to Google."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from bigmachine import option
from bigmachine.boot import PORT
from bigmachine.system import CloudOptions, check_options

from ._option_formats import (
    accelerator_problem,
    image_problem,
    labels_problem,
    machine_type_problem,
    name_problem,
    place_problems,
    project_problem,
    service_account_problem,
    tags_problem,
)

Market = Literal["spot", "on-demand", "spot-then-on-demand"]
MARKETS = ("spot", "on-demand")

SSH_PORT = 22
# By "Persistent Disk" and "Hyperdisk" of the Compute Engine documentation: 10 GiB is the least
# of all balanced disks, 64 TiB the most. Shared-core types can have 16 disks, others more.
MIN_GIB, MAX_GIB = 10, 65_536
MAX_DATA_VOLUMES = 15
_SCOPE_PREFIX = "https://www.googleapis.com/auth/"
_UNIT_NAME = r"[\w:.\\-]+\.(service|socket|timer|mount|automount|swap|path|slice|target)"


@dataclass(frozen=True, slots=True)
class GcpOptions(CloudOptions):
    """Options of the ``gcp`` system."""

    project: str = option(
        "",
        help="The Google Cloud project's ID; by default GOOGLE_CLOUD_PROJECT, or the project of "
        "the credentials or of gcloud.",
    )
    region: str = option(
        "", help="Google Cloud region; by default that of the zones, or the one gcloud has."
    )
    zones: tuple[str, ...] | str = option(
        (), help="Zones of one region, in order of preference; by default all of the region."
    )
    machine_type: tuple[str, ...] | str = option(
        (),
        help="Machine types, in order of preference; by default the first of n4-standard-2, "
        "n2-standard-2 and e2-standard-2 that a zone has.",
    )
    accelerator: str = option(
        "",
        help="GPUs to attach to each instance, as nvidia-tesla-t4 or nvidia-tesla-t4:2; only for "
        "types that come without, such as n1-standard-4.",
    )
    market: Market = option(
        "spot-then-on-demand",
        help="How instances are purchased: spot instances may be preempted.",
    )
    max_price: float | None = option(
        None,
        help="The highest price of a spot instance, in US dollars an hour; "
        "by default the on-demand price.",
    )
    image: str = option(
        "",
        help="An image or an image family, as projects/PROJECT/global/images/NAME or "
        "projects/PROJECT/global/images/family/NAME; by default the newest Ubuntu LTS, or "
        "Debian, that has the driver's version of Python.",
    )
    disk: int = option(20, help="Size of the boot disk, in GiB.")
    disk_type: str = option(
        "",
        help="Type of all disks, such as pd-ssd; by default hyperdisk-balanced, or pd-balanced "
        "where the machine type has no Hyperdisk.",
    )
    data_disk: int = option(
        0,
        help="Size of a data disk at /mnt/data, in GiB, which also holds temporary and cached "
        "files; 0 is none.",
    )
    data_volumes: int = option(
        4, help="How many disks the data disk is striped over; each adds throughput."
    )
    local_disks: bool = option(
        False,
        help="Whether the machine's local SSDs are a data disk at /mnt/data, together with the "
        "volumes of data_disk, if there are any.",
    )
    files: tuple[str, ...] = option(
        (), help="Files for the machines, as /PATH/THERE=path/here, owned by root, with their mode."
    )
    units: tuple[str, ...] = option(
        (), help="Paths of systemd units that a machine starts before it serves."
    )
    network: str = option(
        "",
        help="The VPC network: its name, or projects/HOST/global/networks/NAME; by default that "
        "of the subnetwork, or the network 'default'.",
    )
    subnetwork: str = option(
        "",
        help="The subnetwork: its name, or projects/HOST/regions/REGION/subnetworks/NAME; "
        "needed for a network in custom mode.",
    )
    network_tags: tuple[str, ...] = option(
        (),
        help="Network tags of the instances, for which firewall rules of yours allow the driver "
        "and the session's machines; by default a rule is created for the session.",
    )
    allow: tuple[str, ...] = option(
        (),
        help="CIDR blocks that the session's firewall rule allows; by default the driver's own "
        "address.",
    )
    public_address: bool = option(
        True, help="Whether instances have external addresses, and the driver uses these."
    )
    port: int = option(
        PORT,
        help="The port where machines listen; filters of outgoing traffic often allow only 443.",
        minimum=1,
        maximum=65535,
    )
    service_account: str = option(
        "",
        help="E-mail address of the service account that instances act as, or 'default' for the "
        "project's default one; by default none.",
    )
    scopes: tuple[str, ...] = option(
        ("cloud-platform",),
        help="Access scopes of the service account: names, or URLs that begin with "
        "https://www.googleapis.com/auth/.",
    )
    secure_boot: bool = option(
        False, help="Whether instances start with Secure Boot, as some organizations require."
    )
    ssh_key: tuple[str, ...] | str = option(
        (),
        help="A public key of yours for ssh to the instances, or its file, as in "
        "~/.ssh/id_ed25519.pub. The session's firewall rule then allows ssh from the driver.",
    )
    labels: tuple[str, ...] = option(
        (), help="More labels for all instances and disks, as KEY=VALUE."
    )
    detailed_description: bool = option(
        True,
        help="Whether descriptions of resources also name the driver's user, and its program "
        "with the options on its command line, without their values.",
    )
    verify_boot: bool = option(
        False,
        help="Whether the key of a new instance must be on its console, so that nobody who can "
        "read its metadata can pose as it.",
    )
    endpoint_url: str = option(
        "", help="URL of the Compute Engine API, for emulators; by default Google's."
    )

    @property
    def machine_types(self) -> tuple[str, ...]:
        """The requested machine types, in order of preference, each once."""
        return _each_once(self.machine_type)

    @property
    def zone_names(self) -> tuple[str, ...]:
        """The requested zones, in order of preference, each once."""
        return _each_once(self.zones)

    @property
    def has_ssh(self) -> bool:
        """Whether somebody is to log in by ssh."""
        return bool(self.ssh_key)

    @property
    def markets(self) -> tuple[str, ...]:
        """The markets to try, in this order: of ``"spot"`` and ``"on-demand"``."""
        return MARKETS if self.market == "spot-then-on-demand" else (self.market,)

    @property
    def accelerator_type(self) -> str:
        """The type of the GPUs to attach; "" for none."""
        return self.accelerator.partition(":")[0]

    @property
    def accelerator_count(self) -> int:
        """How many GPUs to attach to each instance."""
        return int(self.accelerator.partition(":")[2] or 1) if self.accelerator else 0

    @property
    def scope_urls(self) -> tuple[str, ...]:
        """The access scopes of the service account, as Google writes them."""
        return tuple(s if s.startswith("https://") else _SCOPE_PREFIX + s for s in self.scopes)

    @property
    def own_labels(self) -> Mapping[str, str]:
        """The user's labels."""
        return {key: value for key, _, value in (label.partition("=") for label in self.labels)}


def check_offline(o: GcpOptions) -> None:
    """Raise a `UsageError` that lists all problems that need no request to Google."""
    check_options(
        o,
        **o.problems(),
        project=project_problem(o.project),
        **place_problems(o.region, o.zone_names),
        machine_type=machine_type_problem(o.machine_types),
        accelerator=accelerator_problem(o.accelerator),
        max_price=_price_problem(o),
        image=image_problem(o.image),
        disk=None
        if MIN_GIB <= o.disk <= MAX_GIB
        else f"must be {MIN_GIB} to {MAX_GIB} GiB, as Google's disks",
        disk_type=name_problem(o.disk_type, "a disk type, like 'pd-balanced'"),
        data_disk=_data_disk_problem(o),
        data_volumes=None
        if 1 <= o.data_volumes <= MAX_DATA_VOLUMES
        else f"must be 1 to {MAX_DATA_VOLUMES}",
        files=_files_problem(o.files),
        units=_units_problem(o.units),
        network=name_problem(
            o.network, "a network's name, or projects/HOST/global/networks/NAME", "networks"
        ),
        subnetwork=name_problem(
            o.subnetwork,
            "a subnetwork's name, or projects/HOST/regions/REGION/subnetworks/NAME",
            "subnetworks",
        ),
        network_tags=tags_problem(o.network_tags),
        allow=_allow_problem(o),
        port="is ssh's own port: choose another" if o.port == SSH_PORT else None,
        service_account=service_account_problem(o.service_account),
        labels=labels_problem(o.labels),
        endpoint_url=None
        if not o.endpoint_url or re.match(r"https?://[^/]", o.endpoint_url)
        else "must begin with http:// or https://",
    )


def _each_once(given: tuple[str, ...] | str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((given,) if isinstance(given, str) else given))


def _price_problem(o: GcpOptions) -> str | None:
    if o.max_price is None:
        return None
    if o.market == "on-demand":
        return "is for spot instances, but market is 'on-demand': omit one of them"
    return None if o.max_price > 0 else "must be more than 0 US dollars an hour"


def _data_disk_problem(o: GcpOptions) -> str | None:
    volumes = max(o.data_volumes, 1)
    lowest, highest = MIN_GIB * volumes, MAX_GIB * volumes
    if o.data_disk and not lowest <= o.data_disk <= highest:
        return f"must be {lowest} to {highest} GiB on {o.data_volumes} volumes, or 0 for none"
    return None


def _files_problem(files: tuple[str, ...]) -> str | None:
    paths = [file.partition("=")[0] for file in files]
    for file, path in zip(files, paths, strict=True):
        if not all(file.partition("=")):
            return f"must be /PATH/THERE=path/here, not {file!r}"
        if str(PurePosixPath(path)) != path or not path.startswith("/") or ".." in path.split("/"):
            return f"must have an absolute path on the machine, not {path!r}"
    return _duplicate(paths)


def _units_problem(units: tuple[str, ...]) -> str | None:
    names = [re.split(r"[/\\]", unit)[-1] for unit in units]
    invalid = [name for name in names if not re.fullmatch(_UNIT_NAME, name)]
    if invalid:
        return f"must be paths of systemd units (NAME.service, …), not {invalid[0]!r}"
    return _duplicate(names)


def _duplicate(names: list[str]) -> str | None:
    duplicates = [name for name in names if names.count(name) > 1]
    return f"must not have {duplicates[0]!r} twice" if duplicates else None


def _allow_problem(o: GcpOptions) -> str | None:
    if o.allow and o.network_tags:
        return "is for the session's own firewall rule, but network_tags are given"
    for block in o.allow:
        try:
            ipaddress.IPv4Network(block)
        except ValueError as exc:
            return f"must be IPv4 CIDR blocks: {exc}"
    return None
