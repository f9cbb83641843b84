"""boto3 from trio: AWS's services, called in threads, at a pace, and tried again where it helps.

botocore's own retries are off. They would repeat what had better move on (a zone without
capacity answers with status 500), can't be cancelled, and know nothing of the other tasks
that ask at the same time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import trio

from ._configuration import check_region, open_session
from ._errors import AwsError
from ._pace import Pace, pauses

if TYPE_CHECKING:
    from ._options import Ec2Options

Reply = Mapping[str, Any]
"""What AWS answers. Any: its shapes are in AWS's API reference, not in types."""

logger = logging.getLogger("bigmachine.ec2")

# Each a little below what AWS grants a new account for each action ("Request throttling for
# the Amazon EC2 API"): 20 a second and 100 at once for reading, 2 and 5 for RunInstances.
_READ_RATE, _READ_BURST = 15.0, 50
_WRITE_RATE, _WRITE_BURST = 2.0, 5
_TAGS_RATE, _TAGS_BURST = 8.0, 50  # of 10 and 100

_CONNECTIONS = 16
_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 60.0  # RunInstances of a hundred takes seconds
_PAGE = 500
_PRICING_REGION = "us-east-1"  # the Price List API is in few regions, for all, and not in ours
_TRIES = 8  # with their pauses up to a minute
_FIRST_TRIES = 3


class Api:
    """AWS's services as one user sees them, with the options' region and endpoint.

    Actions are named as in an IAM policy: ``"ec2:DescribeInstances"``. All methods raise
    `AwsError`, but `open`, whose errors are for users.
    """

    def __init__(self, options: Ec2Options) -> None:
        self._options = options
        self._limiter = trio.CapacityLimiter(_CONNECTIONS)
        self._reads = Pace(rate=_READ_RATE, burst=_READ_BURST)
        self._writes = Pace(rate=_WRITE_RATE, burst=_WRITE_BURST)
        self._paces = {"ec2:CreateTags": Pace(rate=_TAGS_RATE, burst=_TAGS_BURST)}
        self._session: Any = None  # boto3 has no types of its own
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()  # making a client is not safe in threads, using one is
        self._opening = trio.Lock()

    @property
    def region(self) -> str:
        """The region, once `open`."""
        return str(self._session.region_name)

    async def open(self) -> None:
        """Find credentials and region, where boto3 looks for them. Fine to call again."""
        async with self._opening:
            if self._session is None:
                self._session = await trio.to_thread.run_sync(
                    open_session, self._options.region, abandon_on_cancel=True
                )

    async def identity(self) -> str:
        """Return the ARN of who we are; the first call to make, for it is soon given up.

        Raises `UsageError` if there is no way to the region, and boto3 knows none of that name.
        """
        try:
            reply = await self.read("sts:GetCallerIdentity", tries=_FIRST_TRIES)
        except AwsError as error:
            if error.is_unreachable and not self._options.endpoint_url:
                await trio.to_thread.run_sync(check_region, self._session)
            raise
        return str(reply["Arn"])

    async def read(self, action: str, *, tries: int = _TRIES, **parameters: Any) -> Reply:
        """Ask for something that changes nothing. Prompt when cancelled."""
        for pause in pauses(tries):
            try:
                return await self._once(action, parameters, pace=self._reads, is_reading=True)
            except AwsError as error:
                if not error.is_temporary:
                    raise
                await self._rest(error, pause)
        return await self._once(action, parameters, pace=self._reads, is_reading=True)

    async def read_all(self, action: str, key: str, **parameters: Any) -> list[Any]:
        """Return the lists under ``key`` of all pages."""
        items: list[Any] = []
        page = {"MaxResults": _PAGE, **parameters}
        while True:
            reply = await self.read(action, **page)
            items += reply[key]
            if not reply.get("NextToken"):
                return items
            page["NextToken"] = reply["NextToken"]

    async def write(self, action: str, **parameters: Any) -> Reply:
        """Ask for a change that may be asked for twice, by its nature or by a ``ClientToken``.

        Its answer is waited for, even when this is cancelled: who has made something must
        know it. While it isn't known what became of a request, it is repeated.
        """
        rests = pauses(_TRIES)
        with trio.CancelScope() as scope:
            while True:
                try:
                    pace = self._paces.get(action, self._writes)
                    return await self._once(action, parameters, pace=pace)
                except AwsError as error:
                    pause = next(rests, None)
                    scope.shield = error.is_unknown = scope.shield or error.is_unknown
                    if not error.is_temporary or pause is None:
                        raise
                    await self._rest(error, pause)
        raise AssertionError  # nobody cancels this scope

    async def would_be_allowed(self, action: str, **parameters: Any) -> None:
        """Have AWS check a change and the right to it, without making it."""
        try:
            await self.read(action, DryRun=True, **parameters)
        except AwsError as error:
            if error.code != "DryRunOperation":
                raise

    async def close(self) -> None:
        """Close all connections. Fine to call again; a later call opens new ones."""
        clients, self._clients = [*self._clients.values()], {}
        for client in clients:
            client.close()
        await trio.lowlevel.checkpoint()

    async def _once(
        self, action: str, parameters: Mapping[str, Any], *, pace: Pace, is_reading: bool = False
    ) -> Reply:
        await self.open()
        await pace.turn()
        return await trio.to_thread.run_sync(
            self._call, action, parameters, abandon_on_cancel=is_reading, limiter=self._limiter
        )

    async def _rest(self, error: AwsError, pause: float) -> None:
        if error.is_throttled:
            self._reads.exhaust()
            self._writes.exhaust()
        logger.debug("%s; again in %.1f s", error, pause)
        await trio.sleep(pause)

    def _call(self, action: str, parameters: Mapping[str, Any]) -> Reply:
        """Call AWS once, in a thread."""
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        service, _, operation = action.partition(":")
        try:
            method: Callable[..., Reply] = getattr(self._client(service), xform_name(operation))
            return method(**parameters)
        except ClientError as exc:
            error = exc.response.get("Error", {})
            raise AwsError(
                action,
                str(error.get("Code", "Unknown")),
                str(error.get("Message", exc)),
                region=self.region,
                ahead=_ahead(exc.response),
            ) from exc
        except (BotoCoreError, ResponseParserError) as exc:
            raise AwsError(
                action, type(exc).__name__, str(exc), region=self.region, is_answer=False
            ) from exc

    def _client(self, service: str) -> Any:
        from botocore.config import Config

        with self._making:
            if service not in self._clients:
                self._clients[service] = self._session.client(
                    service,
                    region_name=_PRICING_REGION if service == "pricing" else None,
                    endpoint_url=self._options.endpoint_url or None,
                    config=Config(
                        connect_timeout=_CONNECT_TIMEOUT,
                        read_timeout=_READ_TIMEOUT,
                        max_pool_connections=_CONNECTIONS,
                        retries={"mode": "standard", "total_max_attempts": 1},
                        user_agent_extra="bigmachine",
                    ),
                )
            return self._clients[service]


def _ahead(response: Mapping[str, Any]) -> float:
    """Return how many seconds this computer's clock is ahead of AWS's, by the answer's date."""
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return time.time() - parsedate_to_datetime(date).timestamp() if date else 0.0
    except ValueError:
        return 0.0
