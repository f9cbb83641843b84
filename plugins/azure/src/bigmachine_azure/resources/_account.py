"""A subscription of Azure, as one user's credentials show it."""

from __future__ import annotations

from ..api._api import Api
from ..catalog._prices import Prices
from ..options._options import AzureOptions
from ._deallocation import Deallocation
from ._leftovers import Leftovers
from ._resources import Resources
from ._vms import Vms


class Account:
    """The subscription that options name: one `Api`, and what uses it."""

    def __init__(self, options: AzureOptions) -> None:
        self.api = Api(options)
        self.resources = Resources(self.api)
        self.vms = Vms(self.api, self.resources)
        self.leftovers = Leftovers(self.api, self.resources, self.vms)
        self.prices = Prices(options)
        self.deallocation = Deallocation(self.api)
