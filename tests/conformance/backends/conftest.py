from __future__ import annotations

from tests.support.aws.fixtures import aws as aws
from tests.support.aws.fixtures import boxed as boxed
from tests.support.aws.fixtures import served as served
from tests.support.azure.fixtures import arm as arm
from tests.support.azure.fixtures import boxed_arm as boxed_arm
from tests.support.azure.fixtures import served_arm as served_arm
from tests.support.gcp.fixtures import boxed_gce as boxed_gce
from tests.support.gcp.fixtures import gce as gce
from tests.support.gcp.fixtures import served_gce as served_gce
