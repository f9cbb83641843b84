"""Own addresses of this computer, as others see them: what a firewall must let in."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

from ...errors import BigmachineError, StartError, UsageError

logger = logging.getLogger("bigmachine.system")

_LOOK_UP_TIMEOUT = 15.0
_ANY_PORT = 9  # nothing is sent


class DriverAddresses:
    """The addresses from which this computer reaches its machines, for a firewall: CIDR blocks.

    ``look_up`` finds them again, as they are by then, and may raise any `BigmachineError`.
    Without it they never change, as when the user has named them.
    """

    def __init__(
        self, blocks: Sequence[str], *, look_up: Callable[[], Awaitable[Sequence[str]]] | None
    ) -> None:
        self.blocks = _collapsed(blocks)
        """The fewest blocks that are these addresses, none twice, each with its length."""
        self._look_up = look_up
        self._looked_up = _now()

    async def update(self, *, max_age: float = 0.0) -> bool:
        """Look them up, unless that was done in the last ``max_age`` seconds.

        Returns whether they have changed, which is logged as a warning. A look-up that fails
        is logged, too, and changes nothing: perhaps there is no network for now.
        """
        if self._look_up is None or _now() < self._looked_up + max_age:
            return False
        try:
            found = _collapsed(await self._look_up())
        except BigmachineError as error:
            logger.info("this computer's address can't be looked up again: %s", error)
            return False
        self._looked_up = _now()
        if found == self.blocks:
            return False
        logger.warning(
            "this computer's address has changed from %s to %s, which the firewall of its "
            "machines is to let in",
            ", ".join(self.blocks),
            ", ".join(found),
        )
        self.blocks = found
        return True


async def driver_addresses(
    blocks: Sequence[str], *, is_public: bool, address_service_url: str
) -> list[str]:
    """Return this computer's addresses as VMs in a private network see them, as CIDR blocks.

    ``blocks`` are the network's own. For private addresses of VMs: the source address of packets
    to the network. For public ones, ``is_public``: the address that the service at
    ``address_service_url`` sees; and, within the network, also the private one, because there a
    VM may be reached at its private address.

    Raises `StartError` if the service can't be reached, and `UsageError` without a route.
    """
    if not is_public:
        private = [own for own in map(_source_to, blocks) if own]
        if private:
            return [f"{own}/32" for own in dict.fromkeys(private)]
        raise UsageError(
            f"public_address: this computer has no route to the network's private addresses "
            f"({', '.join(blocks)}): use public ones, or set `allow` to the CIDR blocks "
            f"that may connect"
        )
    try:
        public = await public_address(address_service_url)
    except StartError as exc:
        raise StartError(
            f"{exc}: set `allow` to the CIDR blocks that may connect, like allow=['203.0.113.7/32']"
        ) from exc
    own = [public, *addresses_inside(blocks)]
    return [f"{address}/32" for address in dict.fromkeys(own)]


def addresses_inside(blocks: Sequence[str]) -> list[str]:
    """Return this computer's own addresses in a network's blocks: none if it is outside."""
    networks = [ipaddress.ip_network(block) for block in blocks]
    own = [address for address in map(_source_to, blocks) if address]
    return [a for a in own if any(ipaddress.ip_address(a) in network for network in networks)]


async def public_address(url: str) -> str:
    """Return this computer's public IPv4 address, as the web service at ``url`` sees it.

    The service answers with the address alone, like ``https://checkip.amazonaws.com``. It is
    asked directly, not through a proxy, since machines are reached directly, too. Raises
    `StartError` if it can't be reached, or answers something else.
    """
    import httpx

    try:
        # Not through a client, which logs each request in the user's log.
        async with httpx.AsyncHTTPTransport(trust_env=False) as transport:
            timeout = httpx.Timeout(_LOOK_UP_TIMEOUT).as_dict()
            request = httpx.Request("GET", url, extensions={"timeout": timeout})
            reply = await transport.handle_async_request(request)
            reply.request = request
            await reply.aread()
            reply.raise_for_status()
            return str(ipaddress.IPv4Address(reply.text.strip()))
    except (httpx.HTTPError, ValueError) as exc:
        raise StartError(f"{url} did not return this computer's public address ({exc!r})") from exc


def source_address(host: str) -> str | None:
    """Return the source address of this computer's packets to an IPv4 address.

    None without a route to it. A router on the way, as of a container or a VPN, may translate it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, _ANY_PORT))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def _source_to(block: str) -> str | None:
    return source_address(str(ipaddress.ip_network(block)[1]))


def _collapsed(blocks: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(str, ipaddress.collapse_addresses(map(ipaddress.IPv4Network, blocks))))


def _now() -> float:
    import trio  # late: it takes a backend's import too long

    return trio.current_time()
