"""Names in the emulated AWS, apart from what emulates it, which takes seconds to import."""

from __future__ import annotations

ACCOUNT = "123456789012"
REGION = "us-east-1"
TYPE = "c7i.large"
"""An instance type that is offered in five of the six zones: not in ``us-east-1e``."""
UBUNTU = "/aws/service/canonical/ubuntu/server/{}/stable/current/{}/hvm/ebs-gp3/ami-id"
DEBIAN = "/aws/service/debian/release/{}/latest/{}"
