"""The options of systems whose machines are the VMs of a large cloud."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar, Literal

from .._options import option
from ._cloud_options import CloudOptions

Market = Literal["spot", "on-demand", "spot-then-on-demand"]
"""What the option ``market`` may be."""
MARKETS = ("spot", "on-demand")
"""What instances are purchased on, the cheaper one first."""

PORT = 7443
"""The port where machines listen by default."""
SSH_PORT = 22
"""Where sshd listens, so that machines can't."""
_UNIT_NAME = r"[\w:.\\-]+\.(service|socket|timer|mount|automount|swap|path|slice|target)"


@dataclass(frozen=True, slots=True)
class VmOptions(CloudOptions):
    """Base of the options of a system whose machines are the VMs of a large cloud.

    All of its options mean the same on every such cloud, and the system supports all of them.
    The class variables are the limits that differ.
    """

    max_data_volumes: ClassVar[int] = 16
    """The most volumes that a data disk is striped over."""
    volume_gib: ClassVar[tuple[int, int]] = (1, 65536)
    """The smallest and the largest volume, in GiB."""
    lowest_price: ClassVar[float] = 0.0
    """What ``max_price`` must exceed, in US dollars an hour."""

    market: Market = option(
        "spot-then-on-demand",
        help="How instances are purchased: spot instances may be interrupted.",
        other_names=("preemptible", "provisioning_model", "spot_instance"),
    )
    max_price: float | None = option(
        None,
        help="The highest price of a spot instance, in US dollars an hour; "
        "by default what the provider charges, at most its on-demand price.",
        other_names=("spot_price", "spot_max_price", "bid_price"),
    )
    disk: int = option(
        20,
        help="Size of the root disk, in GiB.",
        other_names=("disk_size", "boot_disk_size", "root_volume_size", "volume_size"),
    )
    data_disk: int = option(
        0,
        help="Size of a data disk at /mnt/data, in GiB, which also holds temporary and cached "
        "files; 0 is none.",
    )
    data_volumes: int = option(
        4, help="How many volumes the data disk is striped over; each adds throughput."
    )
    local_disks: bool = option(
        False,
        help="Whether the disks in the machine's host (instance store, local SSDs) are a data "
        "disk at /mnt/data, together with the volumes of data_disk, if there are any.",
        other_names=("local_ssd", "instance_store"),
    )
    files: tuple[str, ...] = option(
        (), help="Files for the machines, as /PATH/THERE=path/here, owned by root, with their mode."
    )
    units: tuple[str, ...] = option(
        (),
        help="Paths of systemd units that a machine starts before it serves.",
        other_names=("startup_script", "user_data", "cloud_init", "bootstrap"),
    )
    allow: tuple[str, ...] = option(
        (),
        help="CIDR blocks that the session's firewall allows; by default the driver's own address.",
        other_names=("source_ranges", "ingress", "cidr_block"),
    )
    public_address: bool = option(
        True,
        help="Whether instances have public addresses, and the driver uses these.",
        other_names=("external_ip", "public_ip"),
    )
    port: int = option(
        PORT,
        help="The port where machines listen; filters of outgoing traffic often allow only 443.",
        minimum=1,
        maximum=65535,
    )
    ssh_key: tuple[str, ...] | str = option(
        (),
        help="A public key of yours for ssh to the instances, or its file, as in "
        "~/.ssh/id_ed25519.pub. The session's firewall then allows ssh from the driver.",
        other_names=("key_name", "ssh_public_key", "username"),
    )
    verify_boot: bool = option(
        False,
        help="Whether the key of a new instance must be on its console, so that nobody who can "
        "read its user data can pose as it.",
    )
    endpoint_url: str = option(
        "", help="URL of the provider's services, for emulators; by default the provider's own."
    )

    @property
    def markets(self) -> tuple[str, ...]:
        """The markets to try, in this order: of ``"spot"`` and ``"on-demand"``."""
        return MARKETS if self.market == "spot-then-on-demand" else (self.market,)

    @property
    def has_ssh(self) -> bool:
        """Whether somebody is to log in by ssh."""
        return bool(self.ssh_key)

    def problems(self, *, boot_timeout: float = 600.0) -> dict[str, str | None]:
        """Return what is wrong, by option; see `CloudOptions.problems`."""
        return {
            **CloudOptions.problems(self, boot_timeout=boot_timeout),
            "max_price": self._price_problem(),
            "disk": None if self.disk >= 1 else "must be at least 1 GiB",
            "data_disk": self._data_disk_problem(),
            "data_volumes": None
            if 1 <= self.data_volumes <= self.max_data_volumes
            else f"must be 1 to {self.max_data_volumes}",
            "files": _files_problem(self.files),
            "units": _units_problem(self.units),
            "allow": _allow_problem(self.allow),
            "port": "is ssh's own port: choose another" if self.port == SSH_PORT else None,
            "endpoint_url": None
            if not self.endpoint_url or re.match(r"https?://[^/]", self.endpoint_url)
            else "must begin with http:// or https://",
        }

    def _price_problem(self) -> str | None:
        if self.max_price is None:
            return None
        if self.market == "on-demand":
            return "is for spot instances, but market is 'on-demand': omit one of them"
        limit = self.lowest_price
        return None if self.max_price > limit else f"must be more than {limit:g} US dollars an hour"

    def _data_disk_problem(self) -> str | None:
        count = max(self.data_volumes, 1)
        lowest, highest = (size * count for size in self.volume_gib)
        if self.data_disk and not lowest <= self.data_disk <= highest:
            return (
                f"must be {lowest} to {highest} GiB on {self.data_volumes} volumes, or 0 for none"
            )
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


def _allow_problem(blocks: tuple[str, ...]) -> str | None:
    for block in blocks:
        try:
            ipaddress.IPv4Network(block)
        except ValueError as exc:
            return f"must be IPv4 CIDR blocks: {exc}"
    return None


def each_once(given: tuple[str, ...] | str) -> tuple[str, ...]:
    """Return the values of an option that takes one or several, in order, each once."""
    return tuple(dict.fromkeys((given,) if isinstance(given, str) else given))


def one_name_problem(option: str, given: str) -> str:
    """Return what is wrong with a value that is several names in one text; "" for a single one.

    ``option`` takes one name or several.
    """
    names = re.split(r"[\s,;]+", given.strip())
    return f"must be one name each: pass {option}={names}" if len(names) > 1 else ""
