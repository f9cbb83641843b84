"""All that is in a region of ours, or could be, as one user's credentials show it."""

from __future__ import annotations

from ._api import Api
from ._leftovers import Leftovers
from ._machines import Machines
from ._options import Ec2Options
from ._prices import Prices


class Region:
    """The region of some options: one way to AWS, and what is asked and done over it."""

    def __init__(self, options: Ec2Options) -> None:
        self.api = Api(options)
        self.machines = Machines(self.api)
        self.leftovers = Leftovers(self.api)
        self.prices = Prices(self.api, options)
