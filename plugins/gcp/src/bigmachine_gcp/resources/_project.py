"""A project of Google Cloud, as one user's credentials show it."""

from __future__ import annotations

from ..api._api import Api
from ..catalog._prices import Prices
from ..options._options import GcpOptions
from ._leftovers import Leftovers
from ._terminations import Terminations
from ._vms import Vms


class Project:
    """The project that options name: one `Api`, and what uses it."""

    def __init__(self, options: GcpOptions) -> None:
        self.api = Api(options)
        self.vms = Vms(self.api)
        self.leftovers = Leftovers(self.api, options)
        self.terminations = Terminations(self.api, service_account=options.service_account)
        self.prices = Prices(self.api, options)
