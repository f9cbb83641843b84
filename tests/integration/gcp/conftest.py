from __future__ import annotations

from tests.support.gcp.fixtures import consistent as consistent
from tests.support.gcp.fixtures import gce as gce
from tests.support.gcp.fixtures import run as run
from tests.support.gcp.fixtures import served_gce as served_gce
