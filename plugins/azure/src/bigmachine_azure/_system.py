"""The ``azure`` system: machines as Azure virtual machines."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from bigmachine.cloud import CONTACT_SECONDS, CloudSystem
from bigmachine.errors import BigmachineError
from bigmachine.system import Instance, Termination

from ._options import AzureOptions
from ._session_resources import SessionResources

if TYPE_CHECKING:
    from ._account import Account
    from ._api import Api
    from ._errors import AzureError
    from ._leftovers import Leftovers
    from ._vms import Vms

logger = logging.getLogger("bigmachine.azure")


class AzureSystem(CloudSystem):
    """Machines as Azure virtual machines, on demand or spot."""

    name = "azure"
    Options = AzureOptions
    provider = "Azure"
    # The time limit of a VM whose driver died before its first call, a slow boot, and up to five
    # minutes for its deletion: an interface may be held for three.
    orphan_timeout = CONTACT_SECONDS + 60.0 + 120.0 + 300.0

    options: AzureOptions
    resources: SessionResources

    def __init__(self, options: AzureOptions | None = None) -> None:
        super().__init__(options)
        self.resources = SessionResources(self.options, lambda: self._account)
        self._opened: Account | None = None
        self._markets: dict[str, str] = {}  # by VM, of this session's

    async def keepalive_failed(self, instance: Instance) -> Termination | None:
        """Return why the VM ended, as Azure tells it; None if it runs, or if that is unknown."""
        from ._errors import AzureError
        from ._terminations import explain_ended, explain_missing

        id = self.resources.id_of(instance)
        if not id:
            return None
        with trio.move_on_after(self.keepalive().rpc_timeout):
            try:
                vm = await self._vms.describe(id)
            except AzureError as error:
                logger.warning("%s: the state of its VM is unknown: %s", instance.name, error)
                return None
            if vm is not None:
                return explain_ended(vm) if vm.has_ended else None
            if not self._vms.is_new(id):
                return explain_missing(market=self._markets.get(id, ""))
        return None

    async def stop(self, instance: Instance) -> None:
        """Delete the VM with all that is its, or another resource, and wait until that is done.

        Immortal VMs of this session are left running.
        """
        from ._leftovers import is_leftover

        if self.resources.is_immortal(instance):
            return
        with self.readable():
            if is_leftover(instance):  # one of `instances`
                await self._leftovers.free(await self._leftovers.find_ours(instance))
                return
            id = self.resources.id_of(instance)
            if id not in self.resources.ids.values():
                id = await self._vms.find_ours(instance)
            if id:
                await self.resources.terminate([id])
        self.resources.ids.pop(instance.name, None)

    async def close(self) -> None:
        """Close all connections to Azure."""
        if self._opened is not None:
            await self._api.close()

    def explain(self, error: AzureError) -> BigmachineError:
        """Return the error for the user."""
        from ._advice import explain

        return explain(error)

    async def console(self, instance: Instance) -> str:
        """Return the output of the VM's serial port, as Azure's boot diagnostics have it."""
        from ._console import read_console

        with self.readable():
            await self._api.open()
            return await read_console(self._api, self.resources.id_of(instance))

    async def instances(self) -> Sequence[Instance]:
        """List what is tagged with a session in the subscription: VMs and other resources.

        VMs that have stopped, and are billed all the same, come first.
        """
        with self.readable():
            vms = await self._vms.find()
            leftovers = await self._leftovers.find()
            vms = await self._vms.with_power_states(vms)
            vms = await self._vms.with_addresses(vms)
        vms.sort(key=lambda vm: not vm.is_stopped_and_billed)
        return [*(vm.instance() for vm in vms), *leftovers]

    # -- steps ------------------------------------------------------------------------

    @property
    def _account(self) -> Account:
        if self._opened is None:
            from ._account import Account

            self._opened = Account(self.options)
        return self._opened

    @property
    def _api(self) -> Api:
        return self._account.api

    @property
    def _vms(self) -> Vms:
        return self._account.vms

    @property
    def _leftovers(self) -> Leftovers:
        return self._account.leftovers
