"""google-cloud-compute from trio: called in threads, rate-limited, with retries.

The SDK's own retries are off. They repeat reads for ten minutes, can't be cancelled, and don't
consider the other tasks that send requests at the same time; mutations they never repeat.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import RateLimiter, Retries, backoff, poll_intervals
from bigmachine.errors import UsageError

from ._credentials import Credentials, find_credentials
from ._error_parsing import error_of_operation
from ._errors import GcpError
from ._gcloud import gcloud_property
from ._operations import Operation
from ._pages import items_of, unseen_scopes
from ._transport import Transport, method_id

if TYPE_CHECKING:
    from ..options._options import GcpOptions

logger = logging.getLogger("bigmachine.gcp")

# A project has 1,500 reads and as many changes a minute ("Compute Engine rate quotas"), and other
# programs use them, too.
_READ_RATE, _READ_BURST = 15.0, 100
_WRITE_RATE, _WRITE_BURST = 8.0, 50

_THREADS = 16
_WAITS = 48  # operations that are waited for at once; each takes a thread and a connection
_PAGE = 500  # "Acceptable values are 0 to 500"; without it, Google gives fewer at once
_TIMEOUT = 60.0
_WAIT_TIMEOUT = 150.0  # Google answers a `wait` after two minutes at the latest
_ATTEMPTS = 8  # with their delays up to a minute
_THROTTLED_ATTEMPTS = 14  # up to three minutes: a quota is refilled at the start of each minute
_FIRST_ATTEMPTS = 3  # until Google was reached once: there may be no way to it at all
_UNREACHABLE_ATTEMPTS = 3  # of a list in which a zone is missing
_POSTED_READS = (":getEffectiveOrgPolicy", ":testIamPermissions")
_READS = ("get", "list", "aggregated_list", "wait", "test_iam_permissions")


class Api:
    """The Compute Engine API, with one user's credentials and the options' project.

    Methods are named as the SDK's clients and their methods: ``"instances.get"``,
    ``"region_instances.bulk_insert"``. A request is given by its fields, in the SDK's snake_case;
    the project is filled in. Answers are the SDK's messages. All methods raise `GcpError`, except
    `open`, which raises errors for users.
    """

    def __init__(self, options: GcpOptions) -> None:
        self._options = options
        self._threads = trio.CapacityLimiter(_THREADS)
        self._wait_threads = trio.CapacityLimiter(_WAITS)
        self._read_limiter = RateLimiter(rate=_READ_RATE, burst=_READ_BURST)
        self._write_limiter = RateLimiter(rate=_WRITE_RATE, burst=_WRITE_BURST)
        self._retries = Retries(self._read_limiter, self._write_limiter, logger=logger)
        self._forbids_changes = False
        self._was_reached = False
        self._transport: Transport | None = None
        self._open_lock = trio.Lock()

    @property
    def project(self) -> str:
        """The project's ID; only after `open`."""
        assert self._transport is not None
        return self._transport.project

    @property
    def account(self) -> str:
        """The service account whose credentials are used; "" for a user. Only after `open`."""
        assert self._transport is not None
        return self._transport.credentials.account

    def forbid_changes(self) -> None:
        """From now on, send no request that changes anything.

        A request that would is a `RuntimeError`.
        """
        self._forbids_changes = True

    async def open(self) -> None:
        """Find credentials and project, where Google's own tools look for them. Idempotent."""
        async with self._open_lock:
            if self._transport is None:
                self._transport = await trio.to_thread.run_sync(
                    _open_blocking, self._options, abandon_on_cancel=True
                )

    async def read(self, method: str, *, attempts: int = _ATTEMPTS, **request: Any) -> Any:
        """Send a request that changes nothing. Can be cancelled at any time."""
        self._guard(method_id(method), is_read=method.partition(".")[2].startswith(_READS))
        return await self._read(
            lambda transport: transport.call(method, request, timeout=_TIMEOUT), attempts
        )

    async def read_all(
        self, method: str, *, allow_unreachable: bool = False, **request: Any
    ) -> list[Any]:
        """Return the items of all pages of a list; of an aggregated list those of all places.

        Google leaves out places that it can't reach, and answers with success all the same. That
        is an error with the code ``UNREACHABLE`` here, unless ``allow_unreachable``.
        """
        if allow_unreachable:
            items, _ = await self._read_pages(method, request)
            return items
        items, unseen = await self.read_reachable(method, **request)
        if unseen:
            raise GcpError(
                method_id(method),
                "UNREACHABLE",
                f"Google could not reach {', '.join(unseen)}, so the list is not complete",
            )
        return items

    async def read_reachable(self, method: str, **request: Any) -> tuple[list[Any], list[str]]:
        """Return the items of all pages of a list, and the places that Google can't reach.

        These, as ``zones/us-central1-a``, are left out in several attempts.
        """
        for delay in backoff(_UNREACHABLE_ATTEMPTS):
            items, unseen = await self._read_pages(method, request)
            if not unseen:
                return items, unseen
            logger.debug("%s: no answer of %s; retrying in %.1f s", method, unseen, delay)
            await trio.sleep(delay)
        return await self._read_pages(method, request)

    async def read_json(
        self, service: str, path: str, *, body: Mapping[str, Any] | None = None, **query: Any
    ) -> Any:
        """Read from another API of Google: ``("cloudbilling", "v1/services")``.

        With a ``body`` it is POSTed: only for methods that change nothing.
        """
        is_read = body is None or path.endswith(_POSTED_READS)
        self._guard(f"{service}/{path}", is_read=is_read)
        return await self._read(
            lambda transport: transport.call_json(service, path, body, query, timeout=_TIMEOUT),
            _ATTEMPTS,
        )

    async def change(self, method: str, *, request_id: str = "", **request: Any) -> Operation:
        """Request a change that has a request id, by default a new one; return its operation.

        This waits for the response even when cancelled, because the caller must know what was
        created. While the outcome is unknown, the request is repeated with the same id, for which
        Google does nothing twice; see `Retries`.
        """
        self._guard(method_id(method), is_read=False)
        request["request_id"] = request_id or str(uuid.uuid4())
        operation = await self._retries.change(
            lambda: self._send(
                lambda transport: transport.call(f"{method}_unary", request, timeout=_TIMEOUT),
                self._write_limiter,
            ),
            delays=backoff(_THROTTLED_ATTEMPTS),
            may_retry=lambda error, attempt: self._may_retry(error, attempt, _ATTEMPTS),
        )
        return Operation.of(method_id(method), operation)

    async def wait(self, operation: Operation) -> Any:
        """Wait until an operation is done; return it as the SDK's message.

        Raises its first error; that has all in `errors`, and the operation in `operation`.
        """
        method = f"{operation.service}.wait"
        for pause in poll_intervals():
            began = trio.current_time()
            reply = await self._read(
                lambda transport: transport.call(method, operation.request, timeout=_WAIT_TIMEOUT),
                _ATTEMPTS,
                threads=self._wait_threads,
                is_new=True,
            )
            if reply.status.name == "DONE":
                error = error_of_operation(operation.action, reply)
                if error is not None:
                    for each in error.errors:
                        each.project, each.account = self.project, self.account
                    raise error
                return reply
            # `wait` "might return before the operation is done", even at once.
            await trio.sleep_until(began + pause)
        raise AssertionError  # polls have no end

    async def change_and_wait(self, method: str, *, request_id: str = "", **request: Any) -> Any:
        """Request a change as `change` does, and `wait` for it."""
        return await self.wait(await self.change(method, request_id=request_id, **request))

    async def close(self) -> None:
        """Close all connections. Idempotent; a later request opens new ones."""
        if self._transport is not None:
            self._transport.close()
        await trio.lowlevel.checkpoint()

    def _guard(self, name: str, *, is_read: bool) -> None:
        if self._forbids_changes and not is_read:
            raise RuntimeError(f"{name} may change something: it was not sent")

    async def _read(
        self,
        send: Callable[[Transport], Any],
        attempts: int,
        *,
        threads: trio.CapacityLimiter | None = None,
        is_new: bool = False,
    ) -> Any:
        """Send a request until it is answered; also until what ``is_new`` is found."""

        def may_retry(error: GcpError, attempt: int) -> bool:
            is_awaited = is_new and error.is_not_found and attempt < attempts
            return is_awaited or self._may_retry(error, attempt, attempts)

        return await self._retries.read(
            lambda: self._send(send, self._read_limiter, threads=threads, is_read=True),
            delays=backoff(_THROTTLED_ATTEMPTS),
            may_retry=may_retry,
        )

    async def _read_pages(
        self, method: str, request: Mapping[str, Any]
    ) -> tuple[list[Any], list[str]]:
        items, unseen = list[Any](), set[str]()
        page_request = {"max_results": _PAGE, **request}
        while True:
            page = await self.read(method, **page_request)
            items += items_of(page)
            unseen.update(unseen_scopes(page))
            if not page.next_page_token:
                return items, sorted(unseen)
            page_request["page_token"] = page.next_page_token

    async def _send(
        self,
        send: Callable[[Transport], Any],
        limiter: RateLimiter,
        *,
        threads: trio.CapacityLimiter | None = None,
        is_read: bool = False,
    ) -> Any:
        await self.open()
        await limiter.wait()
        transport = self._transport
        assert transport is not None
        try:
            answer = await trio.to_thread.run_sync(
                send, transport, abandon_on_cancel=is_read, limiter=threads or self._threads
            )
        except GcpError as error:
            self._was_reached = self._was_reached or error.is_response
            raise
        self._was_reached = True
        return answer

    def _may_retry(self, error: GcpError, attempt: int, attempts: int) -> bool:
        """Whether to repeat a request after its attempt of this number, counted from 1."""
        if error.is_unreachable and not self._was_reached:
            attempts = min(attempts, _FIRST_ATTEMPTS)
        return error.is_temporary and (attempt < attempts or error.is_throttled)


def _open_blocking(options: GcpOptions) -> Transport:
    credentials = find_credentials(is_emulator=bool(options.endpoint_url))
    return Transport(credentials, _find_project(options, credentials), options.endpoint_url)


def _find_project(options: GcpOptions, credentials: Credentials) -> str:
    project = options.project or credentials.project or gcloud_property("core", "project")
    if not project:
        raise UsageError(
            "project: set neither by the option nor by the environment, the credentials or gcloud; "
            "pass one, like project='my-project-123456', or set GOOGLE_CLOUD_PROJECT, or run "
            "`gcloud config set project PROJECT`"
        )
    return project
