from __future__ import annotations

from tests.support.aws.fixtures import aws as aws
from tests.support.aws.fixtures import boxed as boxed
from tests.support.aws.fixtures import served as served
