"""Why a VM no longer runs, as far as Azure tells it.

Azure's activity log has who deleted or stopped a VM, but minutes later ("Azure Monitor activity
log"), and evictions not at all. Those are announced in the VM, see `guest/_notices`, and bigmachine
counts an unexplained loss after such a notice as an interruption.
"""

from __future__ import annotations

from bigmachine.errors import StopReason
from bigmachine.system import Termination

from ._vm import Vm


def explain_missing(*, market: str) -> Termination:
    """Return why a VM ended that Azure no longer has. ``market`` is "" if that is not known."""
    return Termination(StopReason.GONE, "Azure no longer has its VM" + _deletion_of(market))


def explain_ended(vm: Vm) -> Termination:
    """Return why a VM ended that Azure still has."""
    if vm.is_being_deleted:
        detail = "Azure is deleting its VM"
        return Termination(StopReason.GONE, detail + _deletion_of(vm.market))
    if vm.is_deallocated:
        by = "somebody, or a schedule for that, has deallocated it"
        if vm.market == "spot":
            by += ", or Azure has evicted it"
        return Termination(StopReason.GONE, f"its VM is {vm.power_state}: {by}")
    return Termination(
        StopReason.EXITED,
        f"its VM is {vm.power_state}: it powered itself off, or somebody stopped it. It is billed "
        f"until it is deleted",
    )


def _deletion_of(market: str) -> str:
    """Return what may have deleted a VM of this market, to end a sentence with."""
    if market == "spot":
        return ": a spot VM is deleted when Azure needs its capacity"
    return ""
