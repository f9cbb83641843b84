"""Buying by RunInstances: one type, on one market, in one subnet."""

from __future__ import annotations

from ._api import Api
from ._machines import Vm
from ._offers import Offer
from ._order import Bought, Order

_MOST = 500  # of the 1,000 that EC2 grants at once: "Request throttling for the Amazon EC2 API"


class Run:
    """A `Way` with one offer."""

    most = _MOST

    def __init__(self, api: Api, order: Order, offer: Offer) -> None:
        self.offers = [offer]
        self._api = api
        self._order = order

    async def buy(self, count: int, *, request: str) -> Bought:
        """Buy as many as there are."""
        reply = await self._api.write(
            "ec2:RunInstances",
            MinCount=1,
            MaxCount=count,
            ClientToken=request,
            **self._order.run_request(self.offers[0], request=request),
        )
        return Bought([Vm.of(raw) for raw in reply["Instances"]])
