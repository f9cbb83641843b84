from __future__ import annotations

from tests.support.gcp.fixtures import boxed_gce as boxed_gce
from tests.support.gcp.fixtures import consistent as consistent
from tests.support.gcp.fixtures import gce as gce
from tests.support.gcp.fixtures import gce_box as gce_box
from tests.support.gcp.fixtures import run as run
from tests.support.gcp.fixtures import served_gce as served_gce
