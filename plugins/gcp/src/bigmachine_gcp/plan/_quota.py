"""How much the project may have in the region: quotas, as far as the Compute Engine API lists them.

"Allocation quotas" of its documentation says which quota is about what. The quotas of new machine
series (C3D, C4 and later) are in another API: what is not listed is unknown, and not 0.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from bigmachine.cloud import Quota, Quotas

from ..api._api import Api
from ..api._errors import GcpError
from ..catalog._disk_types import local_ssd_gib
from ..options._options import GcpOptions
from ._offers import Offer

logger = logging.getLogger("bigmachine.gcp")

_CPUS = {
    **dict.fromkeys(("e2", "n1"), "CPUS"),
    **{
        series: f"{series.upper()}_CPUS"
        for series in ("a2", "c2", "c2d", "c3", "m1", "m2", "m3", "n2", "n2d", "t2a", "t2d")
    },
}
_GPUS = {
    "nvidia-a100-80gb": "NVIDIA_A100_80GB_GPUS",
    "nvidia-l4": "NVIDIA_L4_GPUS",
    "nvidia-tesla-a100": "NVIDIA_A100_GPUS",
    "nvidia-tesla-p100": "NVIDIA_P100_GPUS",
    "nvidia-tesla-p4": "NVIDIA_P4_GPUS",
    "nvidia-tesla-t4": "NVIDIA_T4_GPUS",
    "nvidia-tesla-v100": "NVIDIA_V100_GPUS",
}
_DISKS = {
    "hyperdisk-balanced": "HDB_TOTAL_GB",
    "pd-balanced": "SSD_TOTAL_GB",
    "pd-ssd": "SSD_TOTAL_GB",
    "pd-standard": "DISKS_TOTAL_GB",
}


class ProjectQuotas(Quotas[Offer]):
    """The quotas of a project that a session's machines count against."""

    system = "gcp"
    account = "project"
    increased_at = (
        "IAM & Admin, Quotas, in the Google Cloud console; free trials must be upgraded first"
    )
    alternatives = "other types, another market, region or disk_type"

    def __init__(self, options: GcpOptions, quotas: Mapping[str, Quota]) -> None:
        super().__init__(quotas)
        self._options = options

    def needs(self, offer: Offer) -> dict[str, float]:
        """Return how much of each quota one machine needs."""
        o, machine_type, is_spot = self._options, offer.machine_type, offer.market == "spot"
        needs: dict[str, float] = {"CPUS_ALL_REGIONS": machine_type.vcpus, "INSTANCES": 1}
        if cpus := _CPUS.get(machine_type.series, ""):
            needs[self._spot_metric(cpus, "CPUS") if is_spot else cpus] = machine_type.vcpus
        for name, number in machine_type.accelerators:
            needs["GPUS_ALL_REGIONS"] = number
            if gpus := _GPUS.get(name, ""):
                needs[self._gpu_metric(gpus, is_spot=is_spot)] = number
        if disks := _DISKS.get(offer.disks.type_name, ""):
            needs[disks] = o.disk + o.data_disk
        if ssds := offer.disks.attached_ssds:
            total = "LOCAL_SSD_TOTAL_GB"
            metric = self._spot_metric(total, "LOCAL_SSD_GB") if is_spot else total
            needs[metric] = ssds * local_ssd_gib(machine_type)
        if o.public_address:
            needs["IN_USE_ADDRESSES"] = 1
        return needs

    def _spot_metric(self, standard: str, resource: str) -> str:
        """Return the quota that spot instances count against.

        It is a preemptible one once that was granted, which shows by its not being 0; until then,
        the standard one ("Spot VMs", "Quotas"; hail-is/hail pull request 10588).
        """
        preemptible = self.quotas.get(f"PREEMPTIBLE_{resource}")
        return preemptible.name if preemptible and preemptible.limit > 0 else standard

    def _gpu_metric(self, standard: str, *, is_spot: bool) -> str:
        """Return the quota that GPUs count against.

        Those of an instance that ends after seven days at most can count against either ("Limit
        the run time of a VM"), and bigmachine's may be such instances.
        """
        preemptible = self._spot_metric(standard, standard)
        if is_spot or standard not in self.quotas:
            return preemptible
        return max(standard, preemptible, key=lambda metric: self.quotas[metric].limit)


async def find_quotas(api: Api, o: GcpOptions, *, region: str) -> ProjectQuotas:
    """Return the quotas of the region and the project, as far as they can be read."""
    found: dict[str, Quota] = {}
    for place, method in (("all regions", "projects.get"), (region, "regions.get")):
        request: dict[str, Any] = {"region": region} if place == region else {}
        try:
            raw = await api.read(method, **request)
        except GcpError as error:
            logger.debug("the quotas of %s can't be read: %s", place, error)
            continue
        for each in raw.quotas:
            # Nothing says what a negative limit would be, and it can't be less than none.
            limit = each.limit if each.limit >= 0 else math.inf
            found[each.metric] = Quota(each.metric, limit, each.usage, place)
    return ProjectQuotas(o, found)
