"""Azure Resource Manager from trio: the SDK, called in threads, rate-limited, with retries."""

from __future__ import annotations

import logging
import math
import os
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from bigmachine.cloud import RateLimiter, Retries, backoff

from ._az_cli import other_tenant
from ._credentials import find_cloud, find_credentials
from ._error_parsing import retry_after
from ._errors import AzureError
from ._operations import Operation
from ._polling import outcome
from ._subscription import find_subscription
from ._transport import Answer, Transport

if TYPE_CHECKING:
    from ..options._options import AzureOptions

T = TypeVar("T")

logger = logging.getLogger("bigmachine.azure")

# Each principal has buckets of 250 reads, 200 writes and 200 deletes, refilled at 25 and 10 a
# second ("Understand how Azure Resource Manager throttles requests"); other programs use them, too.
_READ_RATE, _READ_BURST = 20.0, 150
_WRITE_RATE, _WRITE_BURST = 9.0, 120

_THREADS = 24
_TIMEOUT = 60.0
_ATTEMPTS = 8  # with their delays up to a minute
_THROTTLED_ATTEMPTS = 14  # up to three minutes, or as long as Azure wants
_FIRST_ATTEMPTS = 3  # until Azure was reached once: there may be no way to it at all
# The longest Retry-After that is waited for: Compute's buckets are refilled each minute; it is
# known to ask for 20 minutes, which no user would wait for ("Troubleshoot API throttling errors").
_LONGEST_RETRY_AFTER = 90.0
# In which some requests don't find a new resource group (terraform-provider-azurerm issue 18268).
_NEW_GROUP_SECONDS = 60.0


class Api:
    """Azure Resource Manager, with one user's credentials and the options' subscription.

    Methods of Compute and Network are the SDK's, by their groups of operations:
    ``"virtual_machines.get"``, ``"network_interfaces.list_all"``; those that begin an operation are
    named without ``begin_``. Their arguments are the SDK's; ``resource_group_name`` is filled in.
    Bodies and answers are dicts in REST's own names, as in its documentation. `request` is for all
    other services. All methods raise `AzureError`, except `open`, which also raises errors for
    users.
    """

    def __init__(self, options: AzureOptions) -> None:
        self._options = options
        self._threads = trio.CapacityLimiter(_THREADS)
        self._read_limiter = RateLimiter(rate=_READ_RATE, burst=_READ_BURST)
        self._write_limiter = RateLimiter(rate=_WRITE_RATE, burst=_WRITE_BURST)
        self._retries = Retries(self._read_limiter, self._write_limiter, logger=logger)
        self._forbids_changes = False
        self._was_reached = False
        self._group_is_new_until = -math.inf
        self._transport: Transport | None = None
        self._open_lock = trio.Lock()
        self.resource_group = options.resource_group
        """The resource group's name; `find_place` sets it, if no option does."""

    @property
    def subscription(self) -> str:
        """The subscription's ID; only after `open`."""
        assert self._transport is not None
        return self._transport.subscription

    def forbid_changes(self) -> None:
        """From now on, send no request that changes anything.

        A request that would is a `RuntimeError`.
        """
        self._forbids_changes = True

    def note_new_group(self) -> None:
        """Note that the session's resource group was just created: not all will find it at once."""
        self._group_is_new_until = trio.current_time() + _NEW_GROUP_SECONDS

    def group_id(self, resource_group: str = "") -> str:
        """Return the ID of a resource group, by default the session's."""
        group = resource_group or self.resource_group
        return f"/subscriptions/{self.subscription}/resourceGroups/{group}"

    async def open(self) -> None:
        """Find credentials and subscription, where Azure's own tools look for them. Idempotent."""
        async with self._open_lock:
            if self._transport is None:
                self._transport = await self._new_transport()

    async def read(self, method: str, **arguments: Any) -> Any:
        """Call a method that changes nothing; return its answer. Can be cancelled at any time."""
        answer = await self._read(
            lambda transport: transport.call(method, self._filled(arguments), timeout=_TIMEOUT)
        )
        return answer.body

    async def read_all(self, method: str, **arguments: Any) -> list[dict[str, Any]]:
        """Return the items of all pages of a list."""
        items, page = list[dict[str, Any]](), dict[str, str]()
        while True:
            body = await self.read(method, **arguments, **page)
            items += body.get("value") or []
            if not body.get("nextLink"):
                return items
            page = {"continuation_token": body["nextLink"]}

    async def change(
        self, method: str, *, note_unknown: Callable[[], None] | None = None, **arguments: Any
    ) -> Operation:
        """Call a method that changes something; return its operation, which may be done already.

        This waits for the answer even when cancelled, because the caller must know what was
        created. A request whose outcome is unknown is repeated if it names what it changes:
        a PUT or a DELETE of the same resource does nothing twice. When cancelled, that goes on for
        half a minute, unless there is ``note_unknown``: see `Retries`.
        """
        self._guard(method)
        answer = await self._change(
            lambda transport: transport.call(method, self._filled(arguments), timeout=_TIMEOUT),
            is_repeatable=method.partition(".")[2] in ("create_or_update", "delete", "update_tags"),
            note_unknown=note_unknown,
        )
        return _operation(method, answer)

    async def wait(self, operation: Operation) -> dict[str, Any]:
        """Wait until an operation is done; return what it says, of a PUT the resource as it is now.

        Raises the error with which it failed.
        """
        try:
            return await outcome(operation, lambda url: self._get(operation.action, url))
        except AzureError as error:
            error.subscription = self.subscription
            raise

    async def change_and_wait(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Request a change as `change` does, and `wait` for it."""
        return await self.wait(await self.change(method, **arguments))

    async def request(
        self,
        method: str,
        path: str,
        *,
        api_version: str,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Send a request to another service of Azure; wait for its end, and return its JSON.

        ``path`` is relative to the subscription, as ``"locations"``, or begins with a slash, as the
        ID of a resource. A GET may be cancelled at any time. A POST is not repeated when its
        outcome is unknown.
        """
        await self.open()
        url = self._url(path, {**(query or {}), "api-version": api_version})
        action = f"{method} {path}"

        def send(transport: Transport) -> Answer:
            return transport.send(
                action, method, url, body=body, headers=headers or {}, timeout=_TIMEOUT
            )

        if method in ("GET", "HEAD"):
            answer = await self._read(send)
            return answer.body or {}
        self._guard(action)
        answer = await self._change(send, is_repeatable=method != "POST")
        return await self.wait(_operation(action, answer))

    async def request_all(
        self, path: str, *, api_version: str, query: Mapping[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """GET all pages of a list of another service; return their items."""
        items, body = (
            list[dict[str, Any]](),
            await self.request("GET", path, api_version=api_version, query=query),
        )
        while True:
            items += body.get("value") or []
            url = body.get("nextLink")
            if not url:
                return items
            body = (await self._get(f"GET {path}", url)).body or {}

    async def close(self) -> None:
        """Close all connections. Idempotent; a later request opens new ones."""
        if self._transport is not None:
            self._transport.close()
        await trio.lowlevel.checkpoint()

    # -- requests ---------------------------------------------------------------------------

    async def _new_transport(self) -> Transport:
        cloud = find_cloud()
        credentials = await trio.to_thread.run_sync(find_credentials, cloud, abandon_on_cancel=True)
        transport = Transport(credentials, cloud, self._options.endpoint_url)

        async def get(path: str, version: str) -> Any:
            url = f"{path}?api-version={version}"
            send = lambda _: transport.send(f"GET {path}", "GET", url, headers={}, timeout=_TIMEOUT)  # noqa: E731
            return (await self._read(send, transport=transport)).body

        await self._send(
            lambda t: t.sign_in(), self._read_limiter, transport=transport, is_read=True
        )
        transport.subscription = await find_subscription(self._options.subscription, get)
        tenant = other_tenant(transport.subscription)
        if tenant and not os.environ.get("AZURE_CLIENT_ID"):  # a user may be a guest in several
            credentials.tenant = tenant
            credentials.forget()
        return transport

    def _filled(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {"resource_group_name": self.resource_group, **arguments}

    def _url(self, path: str, query: Mapping[str, str]) -> str:
        if not path.startswith("/"):
            path = f"/subscriptions/{self.subscription}/{path}"
        return f"{urllib.parse.quote(path, safe='/')}?{urllib.parse.urlencode(query)}"

    def _guard(self, name: str) -> None:
        if self._forbids_changes:
            raise RuntimeError(f"{name} may change something: it was not sent")

    async def _get(self, action: str, url: str) -> Answer:
        return await self._read(
            lambda transport: transport.send(action, "GET", url, headers={}, timeout=_TIMEOUT)
        )

    async def _read(
        self, send: Callable[[Transport], Answer], *, transport: Transport | None = None
    ) -> Answer:
        """Send a request until it is answered."""
        return await self._retries.read(
            lambda: self._send(send, self._read_limiter, transport=transport, is_read=True),
            delays=backoff(_THROTTLED_ATTEMPTS),
            may_retry=self._may_retry,
        )

    async def _change(
        self,
        send: Callable[[Transport], Answer],
        *,
        is_repeatable: bool,
        note_unknown: Callable[[], None] | None = None,
    ) -> Answer:
        def may_retry(error: AzureError, attempt: int) -> bool:
            may_repeat = is_repeatable or not error.is_outcome_unknown
            return may_repeat and self._may_retry(error, attempt)

        return await self._retries.change(
            lambda: self._send(send, self._write_limiter),
            delays=backoff(_THROTTLED_ATTEMPTS),
            may_retry=may_retry,
            on_unknown=note_unknown,
        )

    async def _send(
        self,
        send: Callable[[Transport], T],
        limiter: RateLimiter,
        *,
        transport: Transport | None = None,
        is_read: bool = False,
    ) -> T:
        if transport is None:
            await self.open()
            transport = self._transport
            assert transport is not None
        await limiter.wait()
        try:
            answer = await trio.to_thread.run_sync(
                send, transport, abandon_on_cancel=is_read, limiter=self._threads
            )
        except AzureError as error:
            self._was_reached = self._was_reached or error.is_response
            raise
        self._was_reached = True
        return answer

    def _may_retry(self, error: AzureError, attempt: int) -> bool:
        """Whether to repeat a request after its attempt of this number, counted from 1."""
        if error.retry_after > _LONGEST_RETRY_AFTER:
            return False
        attempts = _ATTEMPTS
        if error.is_unreachable and not self._was_reached:
            attempts = _FIRST_ATTEMPTS
        if error.is_group_not_found and trio.current_time() < self._group_is_new_until:
            return attempt < attempts
        return error.is_temporary and (attempt < attempts or error.is_throttled)


def _operation(action: str, answer: Answer) -> Operation:
    return Operation(
        action,
        answer.method,
        answer.url,
        answer.status,
        result=answer.body if isinstance(answer.body, Mapping) else {},
        status_url=answer.headers.get("Azure-AsyncOperation") or "",
        location_url=answer.headers.get("Location") or "",
        retry_after=retry_after(answer.headers),
    )
