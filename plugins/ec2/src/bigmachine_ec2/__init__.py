"""The ``ec2`` system of bigmachine: machines as instances of Amazon EC2."""

from ._system import Ec2System as Ec2System
from .options._options import Ec2Options as Ec2Options
