"""An instance of a session, as Compute Engine describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bigmachine.cloud import machine_port, resource_details
from bigmachine.system import Instance

from ..catalog._prices import PriceKey
from ..options import _labels
from ..options._option_formats import last_part

_NOT_ENDED = ("PENDING", "PROVISIONING", "STAGING", "RUNNING", "REPAIRING")


@dataclass(frozen=True, slots=True)
class Vm:
    """An instance as Compute Engine describes it. An address is empty while it has none.

    ``id`` is its partial URL, which also says where it is:
    ``"zones/us-central1-a/instances/bm-main-0123abcd-m3"``. ``session`` is the full name of the
    session that launched it, "" if none did.
    """

    id: str
    url: str
    state: str
    state_message: str
    machine_type: str
    market: str
    internal_address: str
    external_address: str
    session: str
    description: Mapping[str, str] = field(repr=False)

    @classmethod
    def from_response(cls, raw: Any) -> Vm:
        """Parse an ``Instance`` message of google-cloud-compute."""
        interface = next(iter(raw.network_interfaces), None)
        access = next(iter(interface.access_configs), None) if interface else None
        zone = last_part(raw.zone)
        return cls(
            id=f"zones/{zone}/instances/{raw.name}",
            url=raw.self_link,
            state=raw.status,
            state_message=raw.status_message,
            machine_type=last_part(raw.machine_type),
            market="spot" if raw.scheduling.provisioning_model == "SPOT" else "on-demand",
            internal_address=interface.network_i_p if interface else "",
            external_address=access.nat_i_p if access else "",
            session=_labels.session_of(raw.name, raw.description),
            description=_labels.parse_description(raw.description),
        )

    @property
    def resource_name(self) -> str:
        """Its name in its zone."""
        return name_of(self.id)

    @property
    def zone(self) -> str:
        """Its zone."""
        return zone_of(self.id)

    @property
    def name(self) -> str:
        """Its machine's full name."""
        label = self.resource_name.rpartition("-")[2]
        return f"{label}.{self.session}"

    @property
    def price_key(self) -> PriceKey:
        """What its price depends on."""
        return PriceKey(self.market, self.machine_type, self.zone)

    @property
    def is_ours(self) -> bool:
        """Whether a session launched it."""
        return bool(self.session)

    @property
    def has_ended(self) -> bool:
        """Whether it no longer runs. It may be stopped, and its disks may still cost."""
        return self.state not in _NOT_ENDED

    def instance(self, *, port: int = 0) -> Instance:
        """Return it as a system's `Instance`. The default ``port`` is the one it was made with.

        Its address is the internal one: machines reach one another there, and a firewall rule
        knows the session's machines by their internal addresses only.
        """
        port = port or machine_port(self.description.get("port", ""))
        host = self.internal_address
        return Instance(
            name=self.name,
            address=f"{host}:{port}" if host else "",
            id=self.resource_name,
            zone=self.zone,
            details=resource_details(
                self.description,
                kind="instance",
                state=self.state,
                instance_type=self.machine_type,
                market=self.market,
                **({"immortal": "yes"} if self.description.get("immortal") else {}),
            ),
        )


def zone_of(id: str) -> str:
    """Return the zone of a partial URL, ``"zones/ZONE/instances/NAME"``."""
    return id.split("/")[1]


def name_of(id: str) -> str:
    """Return the last part of a partial URL: the resource's name."""
    return last_part(id)
