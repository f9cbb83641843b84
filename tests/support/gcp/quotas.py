"""Quotas: what regions and the project tell, what they don't tell, and what is used of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.gcp.catalog import MachineType
from tests.support.gcp.errors import OperationError

if TYPE_CHECKING:
    from tests.support.gcp.gce import Gce

REGIONAL = {
    "CPUS": 200.0,
    "N2_CPUS": 200.0,
    "N2D_CPUS": 200.0,
    "C2_CPUS": 200.0,
    "C3_CPUS": 200.0,
    "T2A_CPUS": 100.0,
    "T2D_CPUS": 100.0,
    "E2_CPUS": 200.0,
    "A2_CPUS": 48.0,
    "PREEMPTIBLE_CPUS": 0.0,
    "DISKS_TOTAL_GB": 40960.0,
    "SSD_TOTAL_GB": 10240.0,
    "LOCAL_SSD_TOTAL_GB": 10000.0,
    "IN_USE_ADDRESSES": 575.0,
    "INSTANCES": 6000.0,
    "NVIDIA_T4_GPUS": 4.0,
    "NVIDIA_L4_GPUS": 4.0,
    "NVIDIA_V100_GPUS": 4.0,
    "NVIDIA_A100_GPUS": 4.0,
    "NVIDIA_A100_80GB_GPUS": 4.0,
    "PREEMPTIBLE_NVIDIA_T4_GPUS": 4.0,
    "PREEMPTIBLE_NVIDIA_L4_GPUS": 4.0,
    "PREEMPTIBLE_NVIDIA_A100_GPUS": 4.0,
}
GLOBAL = {
    "CPUS_ALL_REGIONS": 500.0,
    "GPUS_ALL_REGIONS": 8.0,
    "FIREWALLS": 200.0,
    "NETWORKS": 15.0,
}
"""What projects have that have been used for a while; new ones have less (12 to 32 CPUs)."""

_OWN_CPUS = {"a2", "c2", "c3", "n2", "n2d", "t2a", "t2d"}
_GPU_METRIC = {
    "nvidia-tesla-t4": "NVIDIA_T4_GPUS",
    "nvidia-l4": "NVIDIA_L4_GPUS",
    "nvidia-tesla-v100": "NVIDIA_V100_GPUS",
    "nvidia-tesla-a100": "NVIDIA_A100_GPUS",
    "nvidia-a100-80gb": "NVIDIA_A100_80GB_GPUS",
}
_DISK_METRIC = {
    "pd-standard": "DISKS_TOTAL_GB",
    "pd-balanced": "SSD_TOTAL_GB",
    "pd-ssd": "SSD_TOTAL_GB",
}
_BY_FAMILY = ("c3d", "c4", "c4a", "c4d", "n4", "n4a", "n4d")
"""Series of newer quotas, which have dimensions and which neither regions nor projects tell."""


@dataclass
class Quotas:
    """Limits, by metric; a test may change them."""

    gce: Gce
    limits: dict[tuple[str, str], float] = field(default_factory=dict)
    """By (region, metric), where they differ from the default; region "" is the project's."""
    families: dict[str, float] = field(default_factory=dict)
    """CPUS_PER_VM_FAMILY, by series; 24 where nothing is said."""
    at_once: bool = False
    """Whether a request is refused that exceeds one; else its operation fails. Both happen."""
    are_unknown: bool = False
    """Whether Google can't tell regions' quotas at the moment."""

    def limit(self, region: str, metric: str) -> float:
        default = (REGIONAL if region else GLOBAL).get(metric, 0.0)
        return self.limits.get((region, metric), default)

    def documents(self, region: str) -> list[dict[str, Any]]:
        usage = self._used(region)
        metrics = {*(REGIONAL if region else GLOBAL)}
        metrics |= {metric for place, metric in self.limits if place == region}
        return [
            {
                "metric": metric,
                "limit": self.limit(region, metric),
                "usage": float(usage.get(metric, 0.0)),
            }
            for metric in sorted(metrics)
        ]

    def error_of(self, instance: Mapping[str, Any], zone: str) -> OperationError | None:
        """Return which quota one more instance exceeds, if any, as operations tell it."""
        region = zone.rpartition("-")[0]
        for place, metric, amount in self._needs(instance, region):
            limit, used = self.limit(place, metric), self._used(place).get(metric, 0.0)
            if metric == "CPUS_PER_VM_FAMILY":
                family = _series(instance)
                limit = self.families.get(family, 24.0)
                used = self._used(region).get(f"family {family}", 0.0)
            if used + amount > limit:
                return self._exceeded(metric, limit, region if place else "", instance)
        return None

    def _exceeded(
        self, metric: str, limit: float, region: str, instance: Mapping[str, Any]
    ) -> OperationError:
        # The words of Google's answers: hashicorp/terraform-provider-google#20599 for families.
        name = "compute.googleapis.com/" + metric.lower()
        dimensions = {"region": region} if region else {}
        where = f"in region {region}" if region else "globally"
        text = f"Quota '{metric}' exceeded.  Limit: {limit:.1f} {where}."
        if metric == "CPUS_PER_VM_FAMILY":
            family = _series(instance).upper()
            name = "compute.googleapis.com/cpus_per_vm_family"
            dimensions = {"region": region, "vm_family": family}
            text = (
                f"Quota 'CPUS_PER_VM_FAMILY' exceeded.  Limit: {limit:.1f} in region {region}.\n"
                f"\tmetric name = {name}\n\tlimit name = CPUS-PER-VM-FAMILY-per-project-region\n"
                f"\tlimit = {limit:.1f}\n\tdimensions = region: {region}\nvm_family: {family}\n"
            )
        info = {
            "metricName": name,
            "limitName": f"{metric.replace('_', '-')}-per-project" + ("-region" if region else ""),
            "dimensions": dimensions,
            "limit": limit,
        }
        return OperationError("QUOTA_EXCEEDED", text, 403, [{"quotaInfo": info}])

    def _used(self, region: str) -> dict[str, float]:
        """Return what is used in a region, or in all of them."""
        used: dict[str, float] = {}
        for vm in self.gce.instances.all.values():
            if vm.status in ("TERMINATED", "STOPPED") or (region and vm.region != region):
                continue
            for place, metric, amount in self._needs(vm.document, vm.region):
                if bool(place) == bool(region):
                    name = metric
                    if metric == "CPUS_PER_VM_FAMILY":
                        name = f"family {_series(vm.document)}"
                    used[name] = used.get(name, 0.0) + amount
        return used

    def _needs(self, instance: Mapping[str, Any], region: str) -> list[tuple[str, str, float]]:
        """Return what an instance takes: of (region or "", metric), so much."""
        of = self.gce.catalog.machine_types[_type_name(instance)]
        scheduling = instance.get("scheduling", {})
        is_spot = scheduling.get("provisioningModel") == "SPOT"
        needs = [(region, "INSTANCES", 1.0), ("", "CPUS_ALL_REGIONS", float(of.cpus))]
        needs.append((region, self._cpu_metric(of, region, is_spot), float(of.cpus)))
        gpus = [(kind, count) for kind, count in [of.gpu] if of.gpu] if of.gpu else []
        for card in instance.get("guestAccelerators", ()) if not gpus else ():
            gpus.append((card["acceleratorType"].rpartition("/")[2], card["acceleratorCount"]))
        for kind, count in gpus:
            prefix = "PREEMPTIBLE_" if is_spot else ""
            needs.append((region, prefix + _GPU_METRIC[kind], float(count)))
            needs.append(("", "GPUS_ALL_REGIONS", float(count)))
        if any(nic.get("accessConfigs") for nic in instance.get("networkInterfaces", ())):
            needs.append((region, "IN_USE_ADDRESSES", 1.0))
        for disk in instance.get("disks", ()):
            needs += self._disk_needs(disk, region)
        return needs

    def _disk_needs(self, disk: Mapping[str, Any], region: str) -> list[tuple[str, str, float]]:
        if disk.get("type") == "SCRATCH":
            return [(region, "LOCAL_SSD_TOTAL_GB", 375.0)]
        params = disk.get("initializeParams", {})
        made = [of for of in self.gce.disks.all.values() if of["selfLink"] == disk.get("source")]
        kind = made[0]["type"] if made else params.get("diskType", "")
        size = float(disk.get("diskSizeGb") or params.get("diskSizeGb") or 10)
        metric = _DISK_METRIC.get(kind.rpartition("/")[2])
        return [(region, metric, size)] if metric else []

    def _cpu_metric(self, of: MachineType, region: str, is_spot: bool) -> str:
        # "If you don't have preemptible quota … [Spot VMs] consume standard quota" (Spot VMs).
        if is_spot and self.limit(region, "PREEMPTIBLE_CPUS"):
            return "PREEMPTIBLE_CPUS"
        if of.series in _BY_FAMILY:
            return "CPUS_PER_VM_FAMILY"
        return f"{of.series.upper()}_CPUS" if of.series in _OWN_CPUS else "CPUS"


def _type_name(instance: Mapping[str, Any]) -> str:
    return str(instance["machineType"]).rpartition("/")[2]


def _series(instance: Mapping[str, Any]) -> str:
    return _type_name(instance).partition("-")[0]
