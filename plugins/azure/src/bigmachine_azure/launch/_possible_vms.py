"""The VMs that may exist: noted before they are requested, until they are known not to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..resources._vm import Vm


class PossibleVms:
    """The VMs that requests may have created, by the requests' tokens.

    The driver chooses a VM's name, so whatever happens to a request, to its answer or to the task
    that waits for it, the VM is found again. An entry stays until Azure has refused the request, or
    the VM is deleted.
    """

    def __init__(self) -> None:
        self._of_token: dict[str, dict[str, Vm | None]] = {}

    def note_requested(self, token: str, id: str) -> None:
        """Take note of a VM, before it is requested."""
        self._of_token.setdefault(token, {})[id] = None

    def note_accepted(self, token: str, vm: Vm) -> None:
        """Take note that Azure has accepted the request for a VM."""
        self._of_token[token][vm.id] = vm

    def note_gone(self, token: str, id: str) -> None:
        """Take note that a VM does not exist: Azure has refused it, or it is deleted."""
        self._of_token[token].pop(id, None)

    def of(self, tokens: Sequence[str]) -> Mapping[str, Vm | None]:
        """Return the VMs of these requests by their ids; None for one without an answer yet."""
        return {id: vm for token in tokens for id, vm in self._of_token.get(token, {}).items()}

    @property
    def ids(self) -> set[str]:
        """The ids of all of them."""
        return {id for vms in self._of_token.values() for id in vms}
