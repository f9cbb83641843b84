from __future__ import annotations

from tests.support.aws.fixtures import aws as aws
from tests.support.aws.fixtures import boxed as boxed
from tests.support.aws.fixtures import consistent as consistent
from tests.support.aws.fixtures import ec2 as ec2
from tests.support.aws.fixtures import one_offer as one_offer
from tests.support.aws.fixtures import run as run
from tests.support.aws.fixtures import served as served
