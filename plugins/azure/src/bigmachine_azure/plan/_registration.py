"""Whether the subscription is alive, and uses the services that machines are made of."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from bigmachine.cloud import for_each, poll_intervals
from bigmachine.errors import StartError

from ..api._api import Api
from ..api._errors import AzureError

logger = logging.getLogger("bigmachine.azure")

PROVIDERS = ("Microsoft.Compute", "Microsoft.Network")
"""The resource providers that every session needs."""
_SUBSCRIPTIONS_VERSION, _PROVIDERS_VERSION = "2022-12-01", "2024-03-01"

# "Unregistering" ends in "NotRegistered"; while one is "Registering", its resources can be created
# ("Resolve errors for resource provider registration": a location is ready once it is done there).
_USABLE_STATES = ("Registered", "Registering")
_REGISTER_SECONDS = 300.0
# Of the kinds of subscriptions ("Azure offer details"), those that can't have spot VMs: "Spot
# Virtual Machines … the following offer types are currently supported: Enterprise Agreement,
# Pay-as-you-go, Sponsored, Cloud Service Provider"; MicrosoftDocs/azure-docs issue 55435 has
# free trials' attempts. Of other kinds Azure decides at the launch: so of Azure for Students, which
# are not among those types, but have a quota of spot vCPUs, and have been sold spot VMs.
_WITHOUT_SPOT = {
    "FreeTrial": "a free trial",
    "DreamSpark": "Azure for Students Starter",
}


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription. ``kind`` is why it can't have spot VMs, in words for people, or ""."""

    kind: str = ""

    @property
    def has_spot(self) -> bool:
        """Whether it may have spot VMs, as far as is known."""
        return not self.kind

    def keep_markets(self, markets: Sequence[str]) -> tuple[str, ...]:
        """Return those of the markets that it has. Raises `StartError` if there are none."""
        if self.has_spot:
            return tuple(markets)
        if tuple(markets) == ("spot",):
            raise StartError(
                f"market: this subscription is {self.kind}, which has no spot VMs: pass "
                f"market='on-demand', or upgrade the subscription to pay as you go"
            )
        if "spot" in markets:
            logger.info("all VMs are on-demand: this subscription is %s, without spot", self.kind)
        return tuple(market for market in markets if market != "spot")


async def read_subscription(api: Api) -> Subscription:
    """Return the subscription that is used.

    Raises `StartError` if nothing can be created in it, and `AzureError`.
    """
    try:
        raw = await api.request(
            "GET", f"/subscriptions/{api.subscription}", api_version=_SUBSCRIPTIONS_VERSION
        )
    except AzureError as error:
        if not error.is_denied:
            raise
        return Subscription()
    state = raw.get("state") or "Enabled"
    if state in ("Disabled", "Deleted"):
        raise StartError(
            f"subscription: {raw.get('displayName')!r} ({api.subscription}) is {state.lower()}, so "
            f"nothing can be created in it: enable it again (Subscriptions, in the Azure portal: a "
            f"spending limit or a payment is the usual reason), or use another subscription"
        )
    quota = (raw.get("subscriptionPolicies") or {}).get("quotaId") or ""
    kinds = [kind for prefix, kind in _WITHOUT_SPOT.items() if quota.startswith(prefix)]
    return Subscription(kinds[0] if kinds else "")


async def register(api: Api, namespaces: Sequence[str]) -> list[str]:
    """Register these resource providers, and wait until it is done; return those that were not.

    Registering one costs nothing and makes nothing. In some locations it takes longer; they can be
    used elsewhere before. Raises `AzureError`.
    """
    new: list[str] = []

    async def ensure(namespace: str) -> None:
        path = f"providers/{namespace}"
        raw = await api.request("GET", path, api_version=_PROVIDERS_VERSION)
        if raw.get("registrationState") == "Registered":
            return
        new.append(namespace)
        await api.request("POST", f"{path}/register", api_version=_PROVIDERS_VERSION)
        with trio.move_on_after(_REGISTER_SECONDS):
            for delay in poll_intervals():
                await trio.sleep(delay)
                raw = await api.request("GET", path, api_version=_PROVIDERS_VERSION)
                if raw.get("registrationState") == "Registered":
                    return

    await for_each(namespaces, ensure)
    return sorted(new)


async def check_providers(api: Api, namespaces: Sequence[str] = PROVIDERS) -> None:
    """Raise `StartError` if the subscription does not use one of these resource providers yet.

    Azure would refuse all of their resources, by MissingSubscriptionRegistration.
    """
    missing: list[str] = []

    async def check(namespace: str) -> None:
        try:
            raw = await api.request("GET", f"providers/{namespace}", api_version=_PROVIDERS_VERSION)
        except AzureError as error:
            if error.is_denied or error.is_not_found:
                return
            raise
        if raw.get("registrationState") not in _USABLE_STATES:
            missing.append(namespace)

    await for_each(namespaces, check)
    if missing:
        commands = "`, `".join(
            f"az provider register --namespace {name} --wait --subscription {api.subscription}"
            for name in sorted(missing)
        )
        raise StartError(
            f"this subscription does not use {' and '.join(sorted(missing))} yet: register it "
            f"once, which takes a minute and is free (`{commands}`)"
        )
