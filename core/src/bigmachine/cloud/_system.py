"""The base of systems whose machines are VMs of a cloud: the hooks that are the same on all."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from .._events import Event
from .._identity import Identity
from .._values import Instance, Keepalive
from ..errors import BigmachineError, IncompleteListError
from ..system import Capability, System, VmOptions, check_options
from ._access import Access
from .errors._cloud_error import CloudError
from .guest import GuestError, GuestSetup
from .launch._scope import Refusals
from .resources._session_resources import SessionResources

if TYPE_CHECKING:
    import httpx

CONTACT_SECONDS = 300.0
"""How long a new VM waits for its driver, which calls every second: only a dead one is silent."""

_METAL_BOOT_TIMEOUT = 1800.0  # its firmware takes minutes; no provider documents how many


class CloudSystem(System):
    """A base class of systems: machines are VMs of a cloud, in a session's firewall.

    A subclass overrides `explain` and `close`, sets `resources` when it is created, and `access`
    and `guest_setup` in `setup`; and it has the hooks `setup`, `start`, `keepalive_failed`,
    `instances` and `console`. All that may raise a `CloudError` is done in a ``with
    self.readable()``.
    """

    capabilities = frozenset({Capability.CONSOLE, Capability.INSTANCES})
    ships_environment = True
    is_billed = True
    # The time limit of a VM whose driver died before its first call, a slow boot, and a minute
    # for the termination.
    orphan_timeout = CONTACT_SECONDS + 60.0 + 120.0 + 60.0
    provider: ClassVar[str]
    """Whose VMs these are, for messages: ``"EC2"``."""
    address_service_url: ClassVar[str] = "https://checkip.amazonaws.com"
    """The URL of a service that returns this computer's public address, here AWS's."""
    metadata_url: ClassVar[str] = "http://169.254.169.254"
    """The URL of the metadata service, on a VM."""

    options: VmOptions
    resources: SessionResources[Any]
    """What the session has at the provider."""
    access: Access[Any, Any] | None
    """How the driver reaches machines; None on a machine, and before `setup`."""
    guest_setup: GuestSetup | None
    """What a machine does before it serves: read by `setup`, and applied on the machine."""

    def __init__(self, options: VmOptions | None = None) -> None:
        super().__init__(options)
        self.orphan_timeout += max(0.0, self.options.keepalive_timeout - CONTACT_SECONDS)
        self.access = None
        self.guest_setup = None
        self.refusals = Refusals()
        """What the provider refuses to the account or the caller, for `Launch`."""

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "guest_setup": self.guest_setup}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # On a machine, which gets the options and the guest setup, and no state of the driver.
        type(self).__init__(self, state["options"])
        self.guest_setup = state["guest_setup"]

    @property
    def uses_reaper(self) -> bool:
        """Whether all its resources must be freed when its driver dies."""
        return super().uses_reaper and not self.options.immortal

    # -- what a subclass overrides --------------------------------------------------------

    def explain(self, error: Any) -> BigmachineError:  # Any: its provider's `CloudError`
        """Return the error for the user, which tells what to do."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections to the provider. Idempotent; a later request opens new ones."""

    # -- on the driver --------------------------------------------------------------------

    @contextlib.contextmanager
    def readable(self) -> Iterator[None]:
        """Raise the provider's errors as errors that tell the user what to do."""
        try:
            yield
        except CloudError as error:
            raise self.explain(error) from error

    def report_found(
        self, found: Sequence[Instance], errors: Sequence[CloudError]
    ) -> Sequence[Instance]:
        """Return what was found, for `instances`; ``errors`` are those of lists that have failed.

        What these would have is unknown: raises `IncompleteListError`, with what was found.
        """
        if errors:
            raise IncompleteListError(
                f"more may be left: {self.explain(errors[0])}", found=found
            ) from errors[0]
        return found

    def expect_bare_metal(self) -> None:
        """Wait longer for boots: some machines may be bare metal.

        Raises `UsageError` for a ``lifetime`` that ends before such a boot.
        """
        self.boot_timeout = _METAL_BOOT_TIMEOUT
        check_options(self.options, **self.options.problems(boot_timeout=self.boot_timeout))

    def keepalive(self) -> Keepalive:
        """Return the timings of the options."""
        return self.options.keepalive()

    async def restore_access(self, instances: Sequence[Instance]) -> None:
        """Let the driver in at its present address, as after a change of networks."""
        if self.access is not None:
            await self.access.restore()

    def event(self, event: Event) -> None:
        """Take note of the machines that the driver has ended."""
        self.resources.note(event)

    async def stop(self, instance: Instance) -> None:
        """Terminate the instance, or free another resource, and wait until that is done.

        Immortal instances of this session are left running.
        """
        with self.readable():
            await self.resources.stop(instance)

    async def shutdown(self) -> None:
        """Terminate all VMs of the session, and delete all other resources tagged with it.

        Immortal VMs and their firewall are left.
        """
        session, firewall = self.resources.session, self.resources.firewall
        try:
            if session:
                with self.readable():
                    await self.resources.free()
                if self.access is not None:  # its firewall is deleted, or left to others
                    self.access.firewall = None
        except BigmachineError as error:
            raise BigmachineError(
                f"session {session} may still have instances or a {firewall} on {self.provider}: "
                f"list them with `bigmachine ps {self.name}`, and free them with `bigmachine reap "
                f"{self.name} {session}`. {error}"
            ) from error
        finally:
            await self.close()

    def http_client(self, identity: Identity) -> httpx.AsyncClient:
        """Return a client that reaches machines where this computer can: see `Access.connect`."""
        from ..rpc import http_client

        if self.access is None:  # on a machine
            return http_client(identity)
        return http_client(identity, connect=self.access.connect)

    # -- on the machine -------------------------------------------------------------------

    def main(self, serve: Callable[[], Awaitable[None]]) -> NoReturn:
        """Set the machine up, then serve; log why and exit if the setup fails."""
        try:
            if self.guest_setup is not None:
                self.login_user = self.guest_setup.apply(metadata_url=self.metadata_url)
        except GuestError as error:
            logging.getLogger(f"bigmachine.{self.name}").error(
                "the machine's setup failed: %s", error
            )
            self.exit(1)
        super().main(serve)
