"""boto3 from trio: AWS's services, called in threads, rate-limited, with retries.

botocore's own retries are off. They would repeat requests that must not be repeated (a zone
without capacity answers with status 500), can't be cancelled, and don't consider the other tasks
that send requests at the same time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from bigmachine.cloud import RateLimiter, Retries, backoff, clock_skew, quiet

from ._configuration import check_region, open_session, price_list_region
from ._errors import AwsError

if TYPE_CHECKING:
    from ..options._options import Ec2Options

Reply = Mapping[str, Any]
"""A response of AWS. Any: its shapes are in AWS's API reference, not in types."""

logger = logging.getLogger("bigmachine.ec2")

# Each is a little below what AWS grants a new account for each action ("Request throttling for
# the Amazon EC2 API"): 20 a second and 100 at once for reading, 2 and 5 for RunInstances.
_READ_RATE, _READ_BURST = 15.0, 50
_WRITE_RATE, _WRITE_BURST = 2.0, 5
_TAGS_RATE, _TAGS_BURST = 8.0, 50  # of 10 and 100

_CONNECTIONS = 16
_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 60.0  # RunInstances of a hundred takes seconds
_PAGE = 500  # the most that some actions give at once is less, by their models:
_PAGES = {
    "ec2:DescribeInstanceTypes": 100,
    "ec2:DescribeLaunchTemplates": 200,
    "ec2:DescribeRouteTables": 100,
}
_READS = ("Describe", "Get")  # what the names of requests that change nothing begin with
_ATTEMPTS = 8  # with their delays up to a minute
_NEW_SECONDS = 120.0  # what is new may be unknown for a while: "Eventual consistency"
_FIRST_ATTEMPTS = 3


class Api:
    """AWS's services, with one user's credentials and the options' region and endpoint.

    Actions are named as in an IAM policy: ``"ec2:DescribeInstances"``. All methods raise
    `AwsError`, except `open`, which raises errors for users.
    """

    def __init__(self, options: Ec2Options) -> None:
        self._options = options
        self._threads = trio.CapacityLimiter(_CONNECTIONS)
        self._read_limiter = RateLimiter(rate=_READ_RATE, burst=_READ_BURST)
        self._write_limiter = RateLimiter(rate=_WRITE_RATE, burst=_WRITE_BURST)
        self._write_limiters = {"ec2:CreateTags": RateLimiter(rate=_TAGS_RATE, burst=_TAGS_BURST)}
        self._retries = Retries(self._read_limiter, self._write_limiter, logger=logger)
        self._forbids_changes = False
        self._noted: dict[str, float] = {}  # when, by trio's clock
        self._session: Any = None  # boto3 has no types of its own
        self._clients: dict[str, Any] = {}
        self._client_lock = threading.Lock()  # clients are thread-safe, and their creation is not
        self._open_lock = trio.Lock()

    @property
    def region(self) -> str:
        """The region; only after `open`."""
        return str(self._session.region_name)

    def forbid_changes(self) -> None:
        """From now on, send no request that may change anything, unless it is a dry run.

        A request that would is a `RuntimeError`: each client refuses to send it.
        """
        self._forbids_changes = True

    @property
    def price_list_region(self) -> str:
        """The region whose Price List API has the prices; "" if there is none. After `open`."""
        return price_list_region(self._session)

    async def open(self) -> None:
        """Find credentials and region, where boto3 looks for them. Idempotent."""
        async with self._open_lock:
            if self._session is None:
                self._session = await trio.to_thread.run_sync(
                    open_session,
                    self._options.region,
                    self._options.aws_profile,
                    abandon_on_cancel=True,
                )

    def note_new(self, *names: str) -> None:
        """Remember the ids or names of resources of bigmachine that exist since now at the latest.

        AWS may not find them yet, even if it did a moment ago: its computers learn of them one
        after the other. For a while, requests that don't find them are repeated.
        """
        self._noted.update(dict.fromkeys(names, trio.current_time()))

    def forget(self, name: str) -> None:
        """Forget a resource, because it is deleted."""
        self._noted.pop(name, None)

    def is_new(self, name: str) -> bool:
        """Whether the resource was noted so recently that AWS may not find it yet."""
        return trio.current_time() < self._noted.get(name, -float("inf")) + _NEW_SECONDS

    def is_about_new(self, error: AwsError) -> bool:
        """Whether AWS did not find a resource that is new; its message names what it misses."""
        return error.is_not_found and any(
            name in error.message and self.is_new(name) for name in self._noted
        )

    async def caller_arn(self) -> str:
        """Return the ARN of the credentials. Call it first, because it gives up early.

        Raises `UsageError` if the region can't be reached, and boto3 knows none of that name.
        """
        try:
            reply = await self.read("sts:GetCallerIdentity", attempts=_FIRST_ATTEMPTS)
        except AwsError as error:
            if error.is_unreachable and not self._options.endpoint_url:
                await trio.to_thread.run_sync(check_region, self._session)
            raise
        return str(reply["Arn"])

    async def read(self, action: str, *, attempts: int = _ATTEMPTS, **parameters: Any) -> Reply:
        """Send a request that changes nothing. Can be cancelled at any time."""
        return await self._retries.read(
            lambda: self._send(action, parameters, self._read_limiter, is_read=True),
            delays=backoff(attempts),
            may_retry=lambda error, _: error.is_temporary or self.is_about_new(error),
        )

    async def read_all(self, action: str, key: str, **parameters: Any) -> list[Any]:
        """Return the items under ``key`` of all pages."""
        items: list[Any] = []
        page = {"MaxResults": _PAGES.get(action, _PAGE), **parameters}
        while True:
            reply = await self.read(action, **page)
            items += reply[key]
            if not reply.get("NextToken"):
                return items
            page["NextToken"] = reply["NextToken"]

    async def write(self, action: str, *, waits_for_new: bool = True, **parameters: Any) -> Reply:
        """Request an idempotent change: one that is so by its nature or by a ``ClientToken``.

        This waits for the response even when cancelled, because the caller must know what was
        created. While the outcome is unknown, the request is repeated, see `Retries`; also while
        it names a new resource that is not found, unless ``waits_for_new`` is false.
        """
        limiter = self._write_limiters.get(action, self._write_limiter)
        return await self._retries.change(
            lambda: self._send(action, parameters, limiter),
            delays=backoff(_ATTEMPTS),
            may_retry=lambda error, _: (
                error.is_temporary or (waits_for_new and self.is_about_new(error))
            ),
        )

    async def dry_run(self, action: str, **parameters: Any) -> None:
        """Have AWS check a change and the permission for it, without making it."""
        try:
            await self.read(action, DryRun=True, **parameters)
        except AwsError as error:
            if error.code != "DryRunOperation":
                raise

    async def takes(self, action: str, parameter: str) -> bool:
        """Whether the installed botocore knows this parameter of an action."""
        await self.open()
        return await trio.to_thread.run_sync(self._takes_blocking, action, parameter)

    async def close(self) -> None:
        """Close all connections. Idempotent; a later request opens new ones."""
        clients, self._clients = [*self._clients.values()], {}
        for client in clients:
            client.meta.events.unregister("before-call", self._guard)
            client.close()
        await trio.lowlevel.checkpoint()

    async def _send(
        self,
        action: str,
        parameters: Mapping[str, Any],
        limiter: RateLimiter,
        *,
        is_read: bool = False,
    ) -> Reply:
        await self.open()
        await limiter.wait()
        return await trio.to_thread.run_sync(
            self._send_blocking,
            action,
            parameters,
            abandon_on_cancel=is_read,
            limiter=self._threads,
        )

    def _send_blocking(self, action: str, parameters: Mapping[str, Any]) -> Reply:
        """Send one request, in a thread."""
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        service, _, operation = action.partition(":")
        try:
            method: Callable[..., Reply] = getattr(self._client(service), xform_name(operation))
            return method(**parameters)
        except ClientError as exc:
            error = exc.response.get("Error", {})
            code, message = str(error.get("Code", "Unknown")), str(error.get("Message", exc))
            if exc.operation_name != operation:  # such as AssumeRole, to get credentials first
                code, message = (
                    "CredentialRetrievalError",
                    f"{exc.operation_name}: {code}: {message}",
                )
            raise AwsError(
                action,
                code,
                message,
                region=self.region,
                profile=self._session.profile_name,
                clock_skew=clock_skew(_date_of(exc.response)),
            ) from exc
        except (BotoCoreError, ResponseParserError) as exc:
            raise AwsError(
                action,
                code_of(exc),
                str(exc),
                region=self.region,
                profile=self._session.profile_name,
                is_response=False,
            ) from exc

    def _takes_blocking(self, action: str, parameter: str) -> bool:
        service, _, operation = action.partition(":")
        model = self._client(service).meta.service_model.operation_model(operation)
        return parameter in model.input_shape.members

    def _client(self, service: str) -> Any:
        from botocore.config import Config

        with self._client_lock, quiet("botocore.configprovider"):
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service,
                    region_name=self.price_list_region if service == "pricing" else None,
                    endpoint_url=self._options.endpoint_url or None,
                    config=Config(
                        connect_timeout=_CONNECT_TIMEOUT,
                        read_timeout=_READ_TIMEOUT,
                        max_pool_connections=_CONNECTIONS,
                        retries={"mode": "standard", "total_max_attempts": 1},
                        user_agent_extra="bigmachine",
                    ),
                )
                # The last that botocore calls before it signs and sends a request.
                self._clients[service].meta.events.register_first("before-call", self._guard)
            return self._clients[service]

    def _guard(self, model: Any, params: Mapping[str, Any], **_: Any) -> None:
        """Raise `RuntimeError` for a request that may change something, if that is forbidden."""
        if not self._forbids_changes or model.name.startswith(_READS):
            return
        body = params.get("body")
        if not isinstance(body, Mapping) or body.get("DryRun") != "true":
            raise RuntimeError(f"{model.name} is no dry run: it was not sent")


def code_of(exc: Exception) -> str:
    """Return what failed: an error of the connection, or the name of botocore's class."""
    from botocore import exceptions as e
    from botocore.parsers import ResponseParserError

    codes = {
        e.ProxyConnectionError: "ProxyError",
        e.SSLError: "SSLError",
        e.ConnectTimeoutError: "ConnectionError",
        e.EndpointConnectionError: "ConnectionError",  # these were not sent
        e.ReadTimeoutError: "ReadTimeout",
        e.HTTPClientError: "ConnectionLost",
        ResponseParserError: "InvalidResponse",
    }
    return next((code for cls, code in codes.items() if isinstance(exc, cls)), type(exc).__name__)


def _date_of(response: Mapping[str, Any]) -> str:
    """Return a response's date; "" for none."""
    return response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date") or ""
