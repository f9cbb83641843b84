"""What happens at random, from a seed: what is new is not seen by all requests at first.

Compute Engine answers a get of an instance with 404 after its insert was accepted
(googleapis/nodejs-compute#377, cloud-barista/cb-spider#1186), and lists lag behind. So does Azure
with new resource groups (hashicorp/terraform-provider-azurerm#18268) and after deletions
(cloudfoundry/bosh-azure-cpi-release#765).
"""

from __future__ import annotations

import os
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SEED = "BIGMACHINE_TEST_SEED"
"""The variable that sets the seed; a test that fails shows which one it had."""

_GIVEN = os.environ.get(SEED)  # now: tests have none of our variables
_LONGEST = 3  # how many requests may miss what is new,
_SECONDS = 1.0  # and how long: tests have our systems believe it for two seconds


@dataclass
class Chance:
    """Which requests don't find what is new; by default some of the first three.

    ``now`` is the clock.
    """

    now: Callable[[], float] = time.time
    seed: str = field(default_factory=lambda: _GIVEN or secrets.token_hex(4))
    probability: float = 0.3
    """That something happens; 0 for a test that counts requests."""
    _young: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        print(f"{SEED}={self.seed}")  # pytest shows it if the test fails
        self._random = random.Random(self.seed)

    def of(self, what: str, probability: float) -> bool:
        """Return whether something happens, which is as probable as that."""
        return self.probability > 0 and self._random.random() < probability

    def born(self, kind: str, name: str) -> None:
        """Have something be new, in one kind of requests."""
        self._young[kind, name] = _LONGEST, self.now() + _SECONDS

    def hides(self, kind: str, name: str) -> bool:
        """Return whether one request of that kind does not find it."""
        left, until = self._young.get((kind, name), (0, 0.0))
        if not left or self.now() > until:
            return False
        self._young[kind, name] = left - 1, until
        return self.of(kind, self.probability)
