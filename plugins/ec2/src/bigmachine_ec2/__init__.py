"""The ``ec2`` system of bigmachine: machines as instances of Amazon EC2."""

from ._options import Ec2Options as Ec2Options
from ._system import Ec2System as Ec2System
