"""What instances are launched with, and the ``bulkInsert`` requests that follow from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..catalog._images import BootForm
from ..guest._guest_setup import data_names
from ..options import _labels
from ..options._options import GcpOptions
from ..plan._offers import Offer
from ..resources._network import Network

MAX_RUN_SECONDS = 120 * 86_400
"""The longest `maxRunDuration`; the shortest is 30 seconds ("Limit the run time of a VM")."""
_MIN_RUN_SECONDS = 30

# They can't be moved to another host while they run ("Live migration process during maintenance
# events", "Limitations"), besides types with GPUs and bare metal.
_WITHOUT_MIGRATION = ("h3", "h4d", "z3")


@dataclass(frozen=True, slots=True)
class LaunchSpecification:
    """What all instances of one start have in common; its methods return bodies of requests.

    ``metadata`` is what starts the boot program, by the image's form. ``network_tags`` are those
    of the instances, for firewall rules.
    """

    options: GcpOptions
    network: Network
    network_tags: Sequence[str]
    labels: Mapping[str, str]
    description: str
    metadata: Mapping[BootForm, Mapping[str, str]]

    def bulk_insert(
        self, offers: Sequence[Offer], names: Sequence[str], *, token: str, is_regional: bool
    ) -> dict[str, Any]:
        """Return the body that launches instances of these names, of any of the offers.

        The offers differ in type and zone only, see `bulk_groups`. A zonal request has one.
        Instances and disks are labelled with ``token``, to be found again.

        Types are names here, not URLs: with a URL the answer is INTERNAL_ERROR (the discovery
        document's InstanceProperties).
        """
        types = [*dict.fromkeys(offer.type_name for offer in offers)]
        body: dict[str, Any] = {
            "count": len(names),
            "min_count": 1,  # by default, it would be all or none
            "per_instance_properties": {name: {} for name in names},
            "instance_properties": self._properties(offers[0], token=token),
        }
        if is_regional:
            zones = dict.fromkeys(offer.zone for offer in offers)
            body["location_policy"] = {
                # A list of those allowed, unlike `locations`, where all others are allowed, too
                # (GoogleCloudPlatform/cluster-toolkit, pull request 5378).
                "zones": [{"zone": f"zones/{zone}"} for zone in zones],
                "target_shape": "ANY",  # several zones, if one has too few
            }
        if len(types) == 1:
            body["instance_properties"]["machine_type"] = types[0]
        else:
            body["instance_flexibility_policy"] = {
                "instance_selections": {
                    # "Considered first, in the ascending order of the rank"
                    f"choice-{rank}": {"machine_types": [name], "rank": rank}
                    for rank, name in enumerate(types)
                }
            }
        return body

    def _properties(self, offer: Offer, *, token: str) -> dict[str, Any]:
        """Return what the instances are like. Of the offer, the zone and the type don't matter."""
        o = self.options
        labels = {**self.labels, _labels.REQUEST: token}
        interface: dict[str, Any] = {
            "network": self.network.link,
            "subnetwork": self.network.subnetwork,
        }
        if o.public_address:
            interface["access_configs"] = [{"name": "External NAT", "type_": "ONE_TO_ONE_NAT"}]
        metadata = self.metadata[offer.image.boot_form]
        properties: dict[str, Any] = {
            "description": self.description,
            "labels": labels,
            "tags": {"items": [*self.network_tags]},
            "metadata": {"items": [{"key": key, "value": text} for key, text in metadata.items()]},
            "disks": self._disks(offer, labels),
            "network_interfaces": [interface],
            "scheduling": self._scheduling(offer),
        }
        if o.service_account:
            account = {"email": o.service_account, "scopes": [*o.scope_urls]}
            properties["service_accounts"] = [account]
        if o.accelerator:
            properties["guest_accelerators"] = [
                {
                    "accelerator_type": o.accelerator_type,
                    "accelerator_count": o.accelerator_count,
                }
            ]
        if o.secure_boot:
            properties["shielded_instance_config"] = {"enable_secure_boot": True}
        return properties

    def _disks(self, offer: Offer, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        o = self.options
        # A disk is named after its instance: with the name of one that exists, that one would be
        # attached (the discovery document's AttachedDiskInitializeParams).
        new = {
            "disk_type": offer.disks.type_name,
            "labels": dict(labels),
            "description": self.description,
        }
        boot = {**new, "source_image": offer.image.link, "disk_size_gb": o.disk}
        common: dict[str, Any] = {"auto_delete": True}
        if o.kms_key:
            common["disk_encryption_key"] = {"kms_key_name": o.kms_key}
        disks = [{**common, "boot": True, "initialize_params": boot}]
        if o.data_disk:
            size = math.ceil(o.data_disk / o.data_volumes)
            disks += [
                {
                    **common,
                    "device_name": name,
                    "initialize_params": {**new, "disk_size_gb": size},
                }
                for name in data_names(o.data_volumes)
            ]
        local = {
            "type_": "SCRATCH",
            "auto_delete": True,
            "interface": "NVME",
            "initialize_params": {"disk_type": "local-ssd"},
        }
        return [*disks, *[local] * offer.disks.attached_ssds]

    def _scheduling(self, offer: Offer) -> dict[str, Any]:
        machine_type = offer.machine_type
        is_spot = offer.market == "spot"
        lifetime = math.ceil(self.options.lifetime or MAX_RUN_SECONDS)
        # No `preemption_notice_duration`: outside its alpha and beta, gcloud does not send it in
        # bulk requests, and a project that may not use it would get no spot VM.
        scheduling: dict[str, Any] = {
            "provisioning_model": "SPOT" if is_spot else "STANDARD",
            "automatic_restart": False,  # by default true: it would boot again, with a new key
            "instance_termination_action": "DELETE",
            "max_run_duration": {
                "seconds": min(max(lifetime, _MIN_RUN_SECONDS), MAX_RUN_SECONDS),
            },
        }
        if (
            is_spot
            or machine_type.accelerators
            or machine_type.is_metal
            or machine_type.series in _WITHOUT_MIGRATION
        ):
            scheduling["on_host_maintenance"] = "TERMINATE"
        return scheduling
