from __future__ import annotations

from tests.support.azure.fixtures import arm as arm
from tests.support.azure.fixtures import consistent as consistent
from tests.support.azure.fixtures import run as run
from tests.support.azure.fixtures import served_arm as served_arm
