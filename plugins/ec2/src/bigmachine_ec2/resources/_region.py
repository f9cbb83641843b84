"""A region of EC2, as one user's credentials show it."""

from __future__ import annotations

from ..api._api import Api
from ..catalog._prices import Prices
from ..options._options import Ec2Options
from ._leftovers import Leftovers
from ._vms import Vms


class Region:
    """The region that options name: one `Api`, and what uses it."""

    def __init__(self, options: Ec2Options) -> None:
        self.api = Api(options)
        self.vms = Vms(self.api)
        self.leftovers = Leftovers(self.api)
        self.prices = Prices(self.api, options)
